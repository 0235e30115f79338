//! The page: one file of HTML that needs nothing else, neither a network nor another file.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::choice::choose;
use super::figures::{Section, sections};
use super::samples::{MOST_PROBLEMS, Sampled};
use super::seen::Seen;
use super::tables;
use crate::curve::{Line, Panel, escaped, figure, swatch, windowed};

const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// Bytes of samples that a page holds, about.
const MOST_SAMPLES: usize = 6 << 20;

/// The page of some runs, at least one. `steps` are those whose samples it must hold; of the others, it holds as many as fit.
///
/// # Errors
/// The samples cannot be read any more, or no run has any of a step that must be there.
pub fn page(runs: &[Seen], steps: &[usize]) -> Result<String> {
    let sampled: Vec<Sampled> = runs.iter().map(|run| Sampled::read(&run.dir)).collect();
    let (figures, zeros) = sections(runs, &sampled);
    let mut parts: Vec<(&str, String)> = vec![("Runs", tables::runs(runs))];
    for section in &figures {
        let mut body = of_section(section, runs);
        if section.title == "Time" {
            body += &tables::stages(runs);
            body += &stage_figures(runs);
        }
        parts.push((section.title, body));
    }
    if !zeros.is_empty() {
        let (_, body) = parts.last_mut().expect("the runs are there");
        let _ = writeln!(
            body,
            "<p class=\"soft\">Left out, as they are 0 in all steps: {}.</p>",
            escaped(&zeros.join("; "))
        );
    }
    parts.push(("Samples", samples(runs, &sampled, steps)?));
    parts.push(("Evaluations", tables::evaluations(runs)));
    parts.push(("Configuration", tables::configs(runs)));
    parts.retain(|(_, body)| !body.is_empty());
    Ok(whole(runs, &notes(runs, &sampled), &parts))
}

/// What of the runs could not be read.
fn notes(runs: &[Seen], sampled: &[Sampled]) -> String {
    let mut list = String::new();
    for (run, sampled) in runs.iter().zip(sampled) {
        if run.is_live {
            let _ = writeln!(
                list,
                "<li>{} is under way: this is how far it was when the page was written.</li>",
                escaped(&run.name)
            );
        }
        for note in run.notes.iter().chain(&sampled.notes) {
            let _ = writeln!(list, "<li>{}: {}</li>", escaped(&run.name), escaped(note));
        }
    }
    match list.is_empty() {
        true => list,
        false => format!("<aside class=\"notes\" aria-label=\"Notes\"><ul>\n{list}</ul></aside>\n"),
    }
}

fn whole(runs: &[Seen], notes: &str, parts: &[(&str, String)]) -> String {
    let names: Vec<String> = runs.iter().map(|run| escaped(&run.name)).collect();
    let title = names.join(", ");
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
         img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title} – gcpo</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1>\n<p class=\"soft\">Written by gcpo {} on {}.</p>\n",
        env!("CARGO_PKG_VERSION"),
        jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC")
    );
    text += "<nav aria-label=\"Sections\"><ul>\n";
    for (at, (title, _)) in parts.iter().enumerate() {
        let _ = writeln!(text, "<li><a href=\"#part-{at}\">{title}</a></li>");
    }
    text += "</ul></nav></header>\n";
    text += notes;
    text += "<main>\n<ul class=\"legend\" aria-label=\"Runs and their colours\">\n";
    for (at, name) in names.iter().enumerate() {
        let _ = writeln!(text, "<li>{} {name}</li>", swatch(at));
    }
    text += "</ul>\n";
    for (at, (title, body)) in parts.iter().enumerate() {
        let _ = writeln!(
            text,
            "<section aria-labelledby=\"part-{at}\">\n<h2 id=\"part-{at}\">{title}</h2>\n{body}</section>"
        );
    }
    text + "</main>\n</body>\n</html>\n"
}

fn of_section(section: &Section, runs: &[Seen]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let figures: String = section
        .panels
        .iter()
        .map(|panel| framed(panel, &names, false))
        .collect();
    let about = "<p class=\"soft\">Where a line is a mean of several steps, its band goes from the least of them to the greatest.</p>\n";
    let figures = format!("<div class=\"figures\">\n{figures}</div>\n");
    match section.title {
        "Learning" => about.to_owned() + &figures,
        "Other numbers" => format!(
            "<details><summary>Numbers of metrics.jsonl that no figure above shows</summary>\n{figures}</details>\n"
        ),
        _ => figures,
    }
}

/// A figure with its title.
fn framed(panel: &Panel, names: &[&str], with_legend: bool) -> String {
    let title = escaped(&panel.title);
    let drawn = figure(panel, names, with_legend);
    format!("<figure><figcaption>{title}</figcaption>{drawn}</figure>\n")
}

/// A figure of each run: the seconds of its stages, step by step.
fn stage_figures(runs: &[Seen]) -> String {
    let mut text = String::new();
    for run in runs {
        let of_step = tables::STAGES.iter().filter(|(_, key)| *key != "time/eval_secs");
        let lines: Vec<Line> = of_step
            .map(|(stage, key)| {
                let series = run.series(key);
                Line {
                    name: (*stage).to_owned(),
                    points: windowed(&series, series.len().div_ceil(20), 300),
                }
            })
            .filter(|line| line.points.iter().any(|point| point.y > 0.0))
            .collect();
        if lines.is_empty() {
            continue;
        }
        let panel = Panel {
            title: format!("Seconds of a step by stage: {}", run.name),
            x: "step".to_owned(),
            y: "seconds".to_owned(),
            lines: lines.clone(),
        };
        let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
        text += &framed(&panel, &names, true);
    }
    match text.is_empty() {
        true => text,
        false => format!("<div class=\"figures\">\n{text}</div>\n"),
    }
}

/// The samples of some steps, and the script that shows those that are chosen.
fn samples(runs: &[Seen], sampled: &[Sampled], asked: &[usize]) -> Result<String> {
    let all: BTreeSet<usize> = sampled
        .iter()
        .flat_map(|run| &run.entries)
        .map(|entry| entry.step)
        .collect();
    if let Some(step) = asked.iter().find(|step| !all.contains(step)) {
        let last = all.last().map_or("there are none".to_owned(), |last| {
            format!("the last are of step {last}")
        });
        bail!("--step {step}: no run has samples of this step; {last}");
    }
    let steps = choose(sampled, asked, MOST_SAMPLES);
    if steps.is_empty() {
        return Ok(String::new());
    }
    let mut rows: Vec<(usize, Value)> = Vec::new();
    for (at, sampled) in sampled.iter().enumerate() {
        let lines = sampled
            .lines(&steps)
            .with_context(|| format!("the samples of {}", runs[at].name))?;
        rows.extend(lines.into_iter().map(|line| (at, line)));
    }
    let lines: usize = sampled.iter().map(|run| run.entries.len()).sum();
    let kept = rows.len();
    rows.sort_by_key(|(run, line)| (line["step"].as_u64(), *run));
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    // Nothing in a text ends the script or begins a comment of HTML.
    let data = json!({ "runs": names, "rows": rows })
        .to_string()
        .replace('<', "\\u003c");
    let left_out = match lines - kept {
        0 => "All samples of all steps are here.".to_owned(),
        _ => format!(
            "{kept} of {lines} samples are here, of {} of {} steps and at most {MOST_PROBLEMS} problems of a step; the others are in each run's samples.jsonl, \
             and <code>gcpo report --step N</code> puts a step in.",
            steps.len(),
            all.len()
        ),
    };
    Ok(format!(
        "<p class=\"soft\">{left_out}</p>\n<noscript><p>The samples are shown by a script of this page, and scripts are off.</p></noscript>\n\
         <div class=\"choice\"><label>Step <select id=\"step\"></select></label> <label>Problem <select id=\"problem\"></select></label></div>\n\
         <div class=\"runs\" id=\"shown\"></div>\n\
         <script type=\"application/json\" id=\"samples\">{data}</script>\n<script>\n{JS}</script>\n"
    ))
}
