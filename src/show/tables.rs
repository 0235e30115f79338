//! The tables of a page: runs, evaluations and their differences, seconds by stage, configs.

use std::fmt::Write as _;

use super::evaluations::paired;
use super::seen::{Seen, differences};
use crate::curve::{escaped, swatch};
use crate::eval::stats::Estimate;
use crate::report::duration;

/// The stages of a step, in the order of the flow, with the keys of their seconds.
pub const STAGES: [(&str, &str); 8] = [
    ("rollout", "time/rollout_secs"),
    ("reward", "time/reward_secs"),
    ("project", "time/project_secs"),
    ("score", "time/score_secs"),
    ("train", "time/train_secs"),
    ("eval", "time/eval_secs"),
    // Parts of the projection.
    ("κ term, in project", "time/collider_score_secs"),
    ("features, in project", "time/represent_secs"),
];

/// How many of them are parts of a step that do not hold each other.
const OF_STEP: usize = 5;

/// A table of HTML. Cells are HTML, the caption a text of it; the first cell of each row heads it.
pub fn table(caption: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table><caption>{caption}</caption><thead><tr>"
    );
    for head in heads {
        let _ = write!(text, "<th scope=\"col\">{head}</th>");
    }
    text += "</tr></thead><tbody>\n";
    for row in rows {
        let (first, rest) = row.split_first().expect("a row has a head");
        let _ = write!(text, "<tr><th scope=\"row\">{first}</th>");
        for cell in rest {
            let _ = write!(text, "<td>{cell}</td>");
        }
        text += "</tr>\n";
    }
    text + "</tbody></table></div>\n"
}

/// A run's name with its colour.
pub fn named(at: usize, run: &Seen) -> String {
    format!("{} {}", swatch(at), escaped(&run.name))
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// What each run is and came to.
pub fn runs(runs: &[Seen]) -> String {
    let row = |(at, run): (usize, &Seen)| {
        let result = &run.result;
        let objective = run.config.as_ref().map(|config| {
            let values = config.values();
            let of = |key: &str| {
                values
                    .iter()
                    .find(|(known, _)| known == key)
                    .map(|(_, value)| value.replace('"', ""))
            };
            match of("recipe").as_deref() {
                Some(recipe @ ("sft" | "rest")) => recipe.to_owned(),
                _ => of("objective.name").unwrap_or_default(),
            }
        });
        vec![
            named(at, run),
            escaped(&objective.unwrap_or_else(|| "–".to_owned())),
            result.seed.to_string(),
            format!("{} ({})", result.steps, run.state()),
            cell(result.before, 3),
            cell(result.after, 3),
            result
                .gain()
                .map_or_else(|| "–".to_owned(), |gain| format!("{gain:+.3}")),
            cell(result.reward, 3),
            cell(result.loss, 4),
            duration(result.secs),
            cell(Some(result.tokens).filter(|tokens| *tokens > 0.0), 0),
            escaped(&run.dir.display().to_string()),
        ]
    };
    let heads = [
        "run",
        "objective",
        "seed",
        "steps",
        "pass@1 before",
        "pass@1 after",
        "gain",
        "reward, last tenth",
        "loss, last tenth",
        "time of steps",
        "tokens sampled",
        "directory",
    ];
    let rows: Vec<Vec<String>> = runs.iter().enumerate().map(row).collect();
    table("The runs", &heads, &rows)
}

fn estimate(of: Estimate) -> String {
    format!("{:.4} ± {:.4}", of.mean, of.stderr)
}

/// The last evaluations with their intervals, and how they differ from the first one's; nothing where there is none.
pub fn evaluations(runs: &[Seen]) -> String {
    let mut rows = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let Some(evaluated) = &run.evaluated else { continue };
        for report in &evaluated.reports {
            let at_k = report
                .pass_at_k
                .get(&report.samples)
                .filter(|_| report.samples > 1);
            rows.push(vec![
                named(at, run),
                escaped(evaluated.step()),
                escaped(&report.suite),
                report.problems.to_string(),
                report.samples.to_string(),
                report.pass_at_1.map_or_else(|| cell(None, 4), estimate),
                report
                    .interval
                    .map_or_else(|| cell(None, 4), |[low, high]| format!("{low:.4} to {high:.4}")),
                cell(at_k.map(|of| of.mean), 4),
                cell(report.majority.map(|of| of.mean), 4),
                cell(report.candidates.map(|of| of.mean), 4),
                cell(report.integrated.map(|of| of.mean), 4),
                format!("{:.1}", report.length_mean),
                format!("{:.1} %", 100.0 * report.truncated_frac),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let heads = [
        "run",
        "after",
        "suite",
        "problems",
        "k",
        "pass@1 ± standard error",
        "95 % interval",
        "pass@k",
        "maj@k",
        "candidates",
        "integrated",
        "tokens",
        "truncated",
    ];
    table("The last evaluation of each run", &heads, &rows) + &of_pairs(runs)
}

fn of_pairs(runs: &[Seen]) -> String {
    let (mut rows, mut remarks) = (Vec::new(), String::new());
    let mut evaluated = runs.iter().enumerate().filter(|(_, run)| run.evaluated.is_some());
    let Some((_, first)) = evaluated.next() else {
        return String::new();
    };
    for (at, run) in evaluated {
        match paired(first, run) {
            Some(Ok(found)) => rows.extend(found.into_iter().map(|of| {
                vec![
                    named(at, run),
                    escaped(&of.suite),
                    of.problems.to_string(),
                    format!("{:+.4} ± {:.4}", of.difference.mean, of.difference.stderr),
                    format!("{:+.4} to {:+.4}", of.interval[0], of.interval[1]),
                    of.better.to_string(),
                    of.worse.to_string(),
                ]
            })),
            Some(Err(why)) => {
                let _ = writeln!(
                    remarks,
                    "<p>{} is not paired by problem: {}</p>",
                    escaped(&run.name),
                    escaped(&why)
                );
            }
            None => {}
        }
    }
    if rows.is_empty() {
        return remarks;
    }
    let heads = [
        "run",
        "suite",
        "problems",
        "difference",
        "95 % interval",
        "better",
        "worse",
    ];
    let caption = format!("pass@1 less that of {}, paired by problem", escaped(&first.name));
    table(&caption, &heads, &rows) + &remarks
}

/// Seconds by stage of each run: numbers and bars.
pub fn stages(runs: &[Seen]) -> String {
    let sum = |run: &Seen, key: &str| run.series(key).iter().map(|(_, secs)| secs).sum::<f64>();
    let mut rows = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let (step, mut secs) = (sum(run, "time/step_secs"), Vec::new());
        secs.extend(STAGES.iter().map(|(_, key)| sum(run, key)));
        let (parts, eval) = (&secs[..OF_STEP], secs[OF_STEP]);
        let rest = (step - parts.iter().sum::<f64>()).max(0.0);
        let total = step + eval;
        if total == 0.0 {
            continue;
        }
        let mut bar = String::from("<div class=\"bar\" aria-hidden=\"true\">");
        for (stage, part) in parts.iter().chain([&eval, &rest]).enumerate() {
            let _ = write!(
                bar,
                "<i class=\"b{stage}\" style=\"width:{:.2}%\"></i>",
                100.0 * part / total
            );
        }
        let mut row = vec![named(at, run), bar + "</div>"];
        let share = |secs: f64| match secs {
            0.0 => "–".to_owned(),
            secs => format!("{} ({:.0} %)", duration(secs), 100.0 * secs / total),
        };
        row.extend(parts.iter().map(|secs| share(*secs)));
        row.extend([share(eval), share(rest)]);
        row.extend(secs[OF_STEP + 1..].iter().map(|secs| share(*secs)));
        row.push(duration(total));
        rows.push(row);
    }
    if rows.is_empty() {
        return String::new();
    }
    let key = |at: usize, name: &str| format!("<i class=\"key b{at}\" aria-hidden=\"true\"></i>{name}");
    let mut heads = vec!["run".to_owned(), "share".to_owned()];
    let in_bar = STAGES[..=OF_STEP].iter().map(|(name, _)| *name).chain(["other"]);
    heads.extend(in_bar.enumerate().map(|(at, name)| key(at, name)));
    heads.extend(STAGES[OF_STEP + 1..].iter().map(|(name, _)| (*name).to_owned()));
    heads.push("all".to_owned());
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    table("Time by stage", &heads, &rows)
}

/// In what the configs differ, and each of them whole.
pub fn configs(runs: &[Seen]) -> String {
    let mut text = String::new();
    if runs.len() > 1 {
        let found = differences(runs);
        let row = |(key, values): &(String, Vec<Option<String>>)| {
            let mut row = vec![format!("<code>{}</code>", escaped(key))];
            row.extend(values.iter().map(|value| match value {
                Some(value) => format!("<code>{}</code>", escaped(value)),
                None => "–".to_owned(),
            }));
            row
        };
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        let mut heads = vec!["key".to_owned()];
        heads.extend(runs.iter().enumerate().map(|(at, run)| named(at, run)));
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        text += &match rows.is_empty() {
            true => "<p>The configs are the same.</p>\n".to_owned(),
            false => table("Keys in which the runs are not alike", &heads, &rows),
        };
    }
    for run in runs {
        if let Some(config) = &run.config {
            let _ = writeln!(
                text,
                "<details><summary>The whole config of {}</summary><pre tabindex=\"0\">{}</pre></details>",
                escaped(&run.name),
                escaped(&config.to_toml())
            );
        }
    }
    text
}
