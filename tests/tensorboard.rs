//! `run.report_to = ["tensorboard"]`, as a user meets it: every step is there once, however the run was stopped.

mod program;

use std::fs;
use std::path::Path;

use program::{events, failure, json, success, temp};

const ARGS: [&str; 14] = [
    "--device",
    "cpu",
    "--set",
    "train.prompts_per_step=2",
    "--set",
    "eval.every=2",
    "--set",
    "eval.size=8",
    "--set",
    "projection.samples=2",
    "--set",
    "checkpoint.every=2",
    "--set",
    "projection.integrations=2",
];

const REPORT: [&str; 2] = ["--set", "run.report_to=[\"tensorboard\"]"];

fn steps<'a>(set: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&ARGS[..], &["--set", set], more].concat()
}

/// What metrics.jsonl says, in the precision of event files.
fn metrics(run: &Path) -> Vec<events::Step> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let line = json(line);
            let numbers = line.as_object().unwrap().iter().filter(|(tag, _)| *tag != "step");
            let finite = numbers.filter_map(|(tag, value)| Some((tag.clone(), value.as_f64()? as f32)));
            (line["step"].as_u64().unwrap(), finite.collect())
        })
        .collect()
}

#[test]
fn every_step_is_there_once_however_the_run_went() {
    let dir = temp();
    let run = dir.path().join("run");
    success(
        dir.path(),
        &steps(
            "train.max_steps=3",
            &[&REPORT[..], &["--run-dir", "run"]].concat(),
        ),
    );
    let first = events::read(&run.join("tensorboard"));
    assert_eq!(first, metrics(&run));
    assert_eq!(
        first.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    // From an earlier checkpoint: step 3 is done anew.
    let again = [&REPORT[..], &["--resume", "run/checkpoints/step-2"]].concat();
    success(dir.path(), &steps("train.max_steps=5", &again));
    let second = events::read(&run.join("tensorboard"));
    assert_eq!(second, metrics(&run));
    assert_eq!(second.len(), 6);
    // It is no longer asked for: said, and what is there stays.
    let (_, said) = success(dir.path(), &steps("train.max_steps=6", &["--resume", "run"]));
    assert!(said.contains("no longer names \"tensorboard\""), "{said}");
    assert_eq!(events::read(&run.join("tensorboard")), second);
    // Asked for again: what was missed is there.
    success(
        dir.path(),
        &steps("train.max_steps=7", &[&REPORT[..], &["--resume", "run"]].concat()),
    );
    assert_eq!(events::read(&run.join("tensorboard")), metrics(&run));
    let said = failure(
        dir.path(),
        &["--set", "run.report_to=[\"mlflow\"]", "--device", "cpu"],
    );
    assert!(
        said.contains("\"mlflow\"") && said.contains("\"tensorboard\""),
        "{said}"
    );
}
