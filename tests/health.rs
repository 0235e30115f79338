//! What a run says of its own health: runs that are made to be ill, each in one way.

mod program;

use std::fs;
use std::path::Path;

use program::{json, success, temp};

const RUN: &str = r#"
    [model]
    path = "quickstart"
    [data]
    generator = "arithmetic"
    count = 30
    [prompt]
    style = "marks"
    [run]
    health_steps = 2
    [rollout]
    num_generations = 4
    max_completion_length = 10
    [projection]
    integrations = 2
    samples = 2
    [train]
    max_steps = 3
    prompts_per_step = 3
    learning_rate = 1e-4
    [eval]
    every = 0
"#;

/// The warnings of a run with these settings, each with the step that it was said after.
fn warnings(dir: &Path, name: &str, settings: &[&str]) -> Vec<String> {
    fs::write(dir.join("run.toml"), RUN).unwrap();
    let mut args = vec!["train", "run.toml", "--device", "cpu", "--run-dir", name];
    settings
        .iter()
        .for_each(|setting| args.extend(["--set", *setting]));
    of(&success(dir, &args).1)
}

fn of(stderr: &str) -> Vec<String> {
    let lines = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("warning: step "));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn assert_says(said: &[String], parts: &[&str]) {
    assert_eq!(said.len(), parts.len(), "{said:#?}");
    for part in parts {
        assert!(said.iter().any(|line| line.contains(part)), "{part}: {said:#?}");
    }
}

#[test]
fn a_healthy_run_says_nothing() {
    let dir = temp();
    let said = warnings(dir.path(), "run", &["train.prompts_per_step=12"]);
    assert_says(&said, &[]);
}

#[test]
fn an_ill_run_says_what_is_wrong_and_a_resumed_one_no_more_than_it_would_have() {
    let dir = temp();
    // One token is no answer: everything is cut, wrong and equal, and what is left is κ.
    let cut = ["rollout.max_completion_length=1", "checkpoint.every=1"];
    let said = warnings(dir.path(), "cut", &cut);
    assert_says(
        &said,
        &[
            "2: in 2 steps the candidates of each problem all earned the same (reward/flat_frac 1",
            "2: in 2 steps the whole gradient came from the projected reference",
            "2: in 2 steps nearly all completions were cut",
            "2: reward `accuracy` was 0 for every completion",
        ],
    );
    fs::remove_dir_all(dir.path().join("cut/checkpoints/step-3")).unwrap();
    for (from, count) in [("2", 0), ("1", 4)] {
        if from == "1" {
            fs::remove_dir_all(dir.path().join("cut/checkpoints/step-2")).unwrap();
            fs::remove_dir_all(dir.path().join("cut/checkpoints/step-3")).unwrap();
        }
        let (_, stderr) = success(dir.path(), &["train", "run.toml", "--resume", "cut"]);
        assert_eq!(of(&stderr).len(), count, "from {from}: {stderr}");
    }
    let off = [&cut[..], &["run.health_steps=0"]].concat();
    assert_says(&warnings(dir.path(), "off", &off), &[]);
}

#[test]
fn a_run_that_is_grpo_in_all_but_price_is_told_so() {
    let dir = temp();
    let said = warnings(
        dir.path(),
        "alike",
        &["features.context=in_context", "train.prompts_per_step=12"],
    );
    assert_says(&said, &["2: Υ was nearly constant"]);
    // A constant of the objective is no news.
    let grpo = ["objective={name=\"grpo_alpha\"}", "train.prompts_per_step=12"];
    assert_says(&warnings(dir.path(), "alpha", &grpo), &[]);
}

#[test]
fn a_policy_that_runs_away_is_told_by_its_numbers() {
    let dir = temp();
    let wild = [
        "objective={name=\"grpo\", beta=1e-6}",
        "train.learning_rate=0.03",
        "train.max_steps=12",
        "train.prompts_per_step=12",
    ];
    let said = warnings(dir.path(), "wild", &wild);
    assert!(
        said.iter().any(|line| line.contains("objective/kl_ref")),
        "{said:#?}"
    );
    let metrics = fs::read_to_string(dir.path().join("wild/metrics.jsonl")).unwrap();
    let last = json(metrics.lines().last().unwrap());
    assert!(last["objective/kl_ref"].as_f64().unwrap() > 1.0, "{last}");
}
