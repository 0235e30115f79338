//! `gcpo eval`: pass@1 of a model on a set of problems.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use gcpo_data::Preset;
use serde::Serialize;

use super::args::EvalArgs;
use super::run::{open_device, print_line};
use crate::config::{Config, ModelPath};
use crate::eval::{Accuracy, EvalReport, evaluate};
use crate::report::{Progress, columns, thousands};
use crate::reward::Reward;
use crate::session::eval_plan;
use crate::{open, source};

/// Rows left out of a file that are named one by one; the rest is counted.
const SKIPPED_NAMED: usize = 5;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    model: String,
    data: String,
    #[serde(flatten)]
    report: &'a EvalReport,
    tok_per_sec: f64,
}

/// Evaluates a model and prints what was found.
///
/// # Errors
/// A mistake in the config or an option; the model or the problems cannot be read, or do not fit each other.
pub fn run(args: &EvalArgs) -> Result<()> {
    let config = config(args)?;
    let loaded = source::held_out(&config)?;
    ensure!(
        !loaded.problems.is_empty(),
        "{} names no problems to evaluate on: set eval.path and eval.preset, or give --data and --preset",
        args.config
            .as_deref()
            .unwrap_or(Path::new("the command"))
            .display()
    );
    let data = match &config.eval.path {
        Some(path) => path.display().to_string(),
        None => "arithmetic (built in, held out)".to_owned(),
    };
    for row in loaded.skipped.iter().take(SKIPPED_NAMED) {
        eprintln!("{data}:{}: left out: {}", row.line, row.reason);
    }
    if loaded.skipped.len() > SKIPPED_NAMED {
        eprintln!("{data}: {} rows left out in all", loaded.skipped.len());
    }

    let dtype = config.train.dtype;
    let opened = open_device(&args.device.device, dtype)?;
    let policy = open::load(&args.model, &open::prompt_choice(&config), dtype, &opened.device)?;
    let reward = Reward::accuracy(&config.grader);
    let problems = loaded.problems;
    eprintln!(
        "{} on {}: {} problems of {data}",
        name(&args.model),
        opened.name,
        problems.len()
    );
    let progress = Progress::new(problems.len(), 0);
    let (mut right, mut answers) = (0, 0);
    let report = evaluate(
        &policy,
        &policy.model,
        &problems,
        &reward,
        &eval_plan(&config),
        |done, rows| {
            let rows: Vec<_> = rows.iter().filter(|row| row.kind == "answer").collect();
            right += rows.iter().filter(|row| row.right).count();
            answers += rows.len();
            progress.count(
                done,
                "problems",
                &format!("pass@1 {:.3}", right as f64 / answers as f64),
            );
        },
    )?;
    progress.finish();

    let model = name(&args.model);
    let tok_per_sec = report.tokens as f64 / report.secs;
    if args.json {
        return print_line(serde_json::to_string(&Output {
            model,
            data,
            report: &report,
            tok_per_sec,
        })?);
    }
    print_line(table(&model, &data, &report).trim_end())
}

/// The run's config, or one of the data file's with everything else as it is by default.
fn config(args: &EvalArgs) -> Result<Config> {
    let mut sets = args.sets.clone();
    sets.extend(args.samples.map(|samples| format!("eval.samples={samples}")));
    let (Some(data), Some(preset)) = (&args.data, &args.preset) else {
        let path = args
            .config
            .as_deref()
            .context("give a CONFIG.toml, or --data and --preset")?;
        return Ok(Config::load(path, &sets)?);
    };
    Preset::named(preset)?;
    let mut text = toml::Table::new();
    let mut eval = toml::Table::new();
    eval.insert("path".into(), data.to_string_lossy().into_owned().into());
    eval.insert("preset".into(), preset.as_str().into());
    // The whole file: whoever names a file means all of it.
    eval.insert("size".into(), 0.into());
    text.insert("eval".into(), eval.into());
    if !sets.iter().any(|set| set.trim_start().starts_with("prompt.")) {
        let (style, why) = open::prompt_style(&open::tokenizer(&args.model)?);
        eprintln!("prompts in the style \"{style}\": {why} (`--set prompt.style=…` takes another)");
        let mut prompt = toml::Table::new();
        prompt.insert("style".into(), style.to_string().into());
        text.insert("prompt".into(), prompt.into());
    }
    Ok(Config::from_str(&text.to_string(), "gcpo eval", &sets)?)
}

fn name(model: &ModelPath) -> String {
    match model {
        ModelPath::Quickstart => "quickstart".into(),
        ModelPath::Dir(dir) => dir.display().to_string(),
    }
}

/// What was found, for people.
fn table(model: &str, data: &str, report: &EvalReport) -> String {
    let accuracy = |of: Accuracy| format!("{:.4} ± {:.4}", of.mean, of.stderr);
    let mut rows = vec![("model", model.to_owned()), ("data", data.to_owned())];
    rows.push(("problems", thousands(report.problems as f64)));
    if report.too_long > 0 {
        rows.push((
            "too long",
            format!("{}, counted as wrong", thousands(report.too_long as f64)),
        ));
    }
    rows.push(("answers to each", report.samples.to_string()));
    rows.push(("pass@1", accuracy(report.pass_at_1)));
    if let (Some(y), Some(y_n)) = (report.candidates, report.integrated) {
        rows.push(("pass@1 of y_i", format!("{}, the candidates of y_n", accuracy(y))));
        rows.push(("pass@1 of y_n", format!("{}, integrated answers", accuracy(y_n))));
    }
    rows.push(("length", format!("{:.1} tokens", report.length_mean)));
    rows.push(("truncated", format!("{:.1} %", 100.0 * report.truncated_frac)));
    let speed = report.tokens as f64 / report.secs;
    rows.push((
        "time",
        format!("{:.1} s, {} tok/s", report.secs, thousands(speed)),
    ));
    columns(
        &rows
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> EvalReport {
        let half = Accuracy {
            mean: 0.5,
            stderr: 0.025,
        };
        EvalReport {
            problems: 1319,
            samples: 2,
            pass_at_1: half,
            integrated: Some(half),
            candidates: Some(Accuracy { mean: 0.25, ..half }),
            length_mean: 31.25,
            truncated_frac: 0.125,
            too_long: 7,
            tokens: 12_000,
            secs: 2.0,
        }
    }

    #[test]
    fn the_table_says_what_was_found() {
        let text = table("m", "d.jsonl", &report());
        for part in [
            "1,319",
            "7, counted as wrong",
            "0.5000 ± 0.0250",
            "0.2500 ± 0.0250, the candidates",
            "31.2 tokens",
            "12.5 %",
            "6,000 tok/s",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(
            !table(
                "m",
                "d",
                &EvalReport {
                    too_long: 0,
                    ..report()
                }
            )
            .contains("too long")
        );
    }

    #[test]
    fn json_is_the_report_with_names() {
        let report = report();
        let output = Output {
            model: "m".into(),
            data: "d".into(),
            report: &report,
            tok_per_sec: 6000.0,
        };
        let value = serde_json::to_value(&output).unwrap();
        assert_eq!(value["pass@1"]["mean"], 0.5);
        assert_eq!((&value["model"], &value["too_long"]), (&"m".into(), &7.into()));
    }
}
