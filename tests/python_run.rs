//! Whole runs with Python functions as rewards: what is measured of them, resumed and kept where one fails. Without a Python 3.8 or
//! later they say so and do nothing.
#![cfg(unix)]

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn has_python() -> bool {
    let code = "import sys; sys.exit(sys.version_info < (3, 8))";
    let found = Command::new("python3").args(["-c", code]).output();
    let has = found.is_ok_and(|found| found.status.success());
    if !has {
        eprintln!("skipped: there is no python3 here, or an old one");
    }
    has
}

/// A `[[reward]]` that is one of the functions of `rewards.py`, which lies beside the config.
fn entry(name: &str) -> String {
    format!("[[reward]]\nname = \"python\"\nfunction = \"rewards.py:{name}\"\n")
}

/// A quickstart run in a directory, with these rewards.
fn config_in(dir: &Path, rewards: &str) {
    let text = format!(
        "[model]\npath = \"quickstart\"\n[data]\ngenerator = \"arithmetic\"\ncount = 64\n[prompt]\nstyle = \"marks\"\n\
         [rollout]\nnum_generations = 4\nmax_completion_length = 16\n[train]\nmax_steps = 4\nprompts_per_step = 4\n\
         [objective]\nname = \"grpo\"\n[eval]\nevery = 2\nsize = 6\nrewards = true\n[checkpoint]\nevery = 1\n{rewards}"
    );
    fs::write(dir.join("a.toml"), text).unwrap();
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reward/rewards.py");
    fs::copy(functions, dir.join("rewards.py")).unwrap();
}

/// The lines of a run's metrics without what is measured in seconds.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<Value> = text.lines().map(program::json).collect();
    for line in &mut lines {
        line.as_object_mut()
            .unwrap()
            .retain(|key, _| !key.ends_with("_secs"));
    }
    lines
}

#[test]
fn a_run_is_measured_and_resumed_with_its_functions() {
    if !has_python() {
        return;
    }
    let dir = program::temp();
    config_in(
        dir.path(),
        &(entry("in_a_run") + "[[reward]]\nname = \"accuracy\"\nweight = 2"),
    );
    let whole = ["train", "a.toml", "--run-dir", "whole", "--device", "cpu"];
    let (_, said) = program::success(dir.path(), &whole);
    assert!(said.contains("pass@1") && said.contains(", reward "), "{said}");
    let lines = metrics(&dir.path().join("whole"));
    for (step, line) in lines.iter().enumerate().skip(1) {
        assert_eq!(line["reward/in_a_run/progress"], (step - 1) as f64 / 4.0);
        assert!(
            line["reward/in_a_run/drawn"].is_f64() && line["reward/in_a_run_mean"].is_f64(),
            "{line}"
        );
    }
    for step in [0, 2, 4] {
        let line = &lines[step];
        for key in ["mean", "in_a_run_mean", "accuracy_mean", "in_a_run/drawn"] {
            assert!(line[format!("eval/reward/{key}")].is_f64(), "{key} of {line}");
        }
        assert_eq!(line["eval/reward/accuracy_mean"], line["eval/pass@1"]);
    }
    let kept = fs::read_to_string(dir.path().join("whole/eval.jsonl")).unwrap();
    let record = program::json(kept.lines().nth(1).unwrap());
    let sum = record["rewards"]["in_a_run"].as_f64().unwrap()
        + 2.0 * record["rewards"]["accuracy"].as_f64().unwrap();
    assert_eq!(record["reward"].as_f64().unwrap(), sum);
    // From the checkpoint of step 3 of the whole run.
    let copy = |name: &str| {
        let copied = Command::new("cp")
            .args(["-r", "whole", name])
            .current_dir(dir.path())
            .status();
        assert!(copied.unwrap().success());
    };
    copy("again");
    let last = dir.path().join("again/checkpoints/step-4");
    fs::remove_dir_all(last).unwrap();
    program::success(
        dir.path(),
        &["train", "a.toml", "--resume", "again", "--device", "cpu"],
    );
    assert_eq!(metrics(&dir.path().join("again")), lines);
    let samples = |run: &str| fs::read(dir.path().join(run).join("samples.jsonl")).unwrap();
    assert_eq!(samples("again"), samples("whole"));
    let more = [
        "train",
        "a.toml",
        "--resume",
        "again",
        "--device",
        "cpu",
        "--set",
        "train.max_steps=5",
    ];
    let file = dir.path().join("rewards.py");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "# another\n").unwrap();
    let (_, said) = program::success(dir.path(), &more);
    assert!(said.contains("the reward in_a_run/rewards.py changed"), "{said}");

    let eval = [
        "eval",
        "a.toml",
        "--model",
        "quickstart",
        "--device",
        "cpu",
        "--out",
        "e.jsonl",
    ];
    let (text, said) = program::success(dir.path(), &[&eval[..], &["--json"]].concat());
    let suite = &program::json(&text)["suites"][0];
    assert_eq!(suite["rewards"][0][0], "in_a_run");
    assert!(
        suite["reward"]["mean"].is_f64() && suite["pass@1"]["mean"].is_f64(),
        "{suite}"
    );
    assert!(said.contains("in_a_run/drawn"), "{said}");
    let (text, said) = program::success(dir.path(), &["eval", "--regrade", "e.jsonl"]);
    assert!(
        text.contains("weighted sum") && said.contains("rewards stay"),
        "{text}{said}"
    );
}

#[test]
fn supervised_training_is_judged_by_rewards_too() {
    if !has_python() {
        return;
    }
    let dir = program::temp();
    config_in(dir.path(), &entry("brief"));
    let text = fs::read_to_string(dir.path().join("a.toml")).unwrap();
    let text = text.replace("prompts_per_step = 4\n[objective]\nname = \"grpo\"\n", "");
    fs::write(dir.path().join("a.toml"), text).unwrap();
    program::success(
        dir.path(),
        &["sft", "a.toml", "--run-dir", "run", "--device", "cpu"],
    );
    let lines = metrics(&dir.path().join("run"));
    for step in [0, 2, 4] {
        assert!(
            lines[step]["eval/reward/brief_mean"].as_f64().unwrap() < 0.0,
            "{}",
            lines[step]
        );
    }
}

#[test]
fn a_run_whose_function_fails_keeps_what_it_has() {
    if !has_python() {
        return;
    }
    let dir = program::temp();
    config_in(dir.path(), &entry("fails_in_step_2"));
    let train = [
        "train",
        "a.toml",
        "--run-dir",
        "run",
        "--device",
        "cpu",
        "--set",
        "eval.every=0",
    ];
    let said = program::failure(dir.path(), &train);
    for part in [
        "step 2",
        "reward `fails_in_step_2`",
        "raised ValueError: enough of this",
        "in fails_in_step_2: raise",
        "of step 1, is in",
    ] {
        assert!(said.contains(part), "{said}\n  lacks {part}");
    }
    assert!(
        dir.path()
            .join("run/checkpoints/step-1/model.safetensors")
            .exists()
    );
    // An environment that has no Python.
    let output = Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(train.map(|word| if word == "run" { "other" } else { word }))
        .current_dir(dir.path())
        .env("VIRTUAL_ENV", dir.path().join("venv"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("(of VIRTUAL_ENV)"),
        "{said}"
    );
}
