//! `gcpo plan` against what a run then takes. Whole processes are measured, so that nothing else is.
#![cfg(target_os = "linux")] // The others do not say what a process held.

mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use program::{failure, success, temp};
use serde_json::Value;

/// 44 MB of weights. Random ones end a completion once in five hundred tokens.
const RUN: &str = r#"
    [model]
    init = "random"
    tokenizer = "arithmetic"
    [model.shape]
    hidden_size = 384
    intermediate_size = 1024
    num_hidden_layers = 6
    num_attention_heads = 6
    vocab_size = 512
    [data]
    generator = "arithmetic"
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 12
    [grader]
    kind = "numbers"
    unfinished = "grade"
    [train]
    max_steps = 4
    prompts_per_step = 2
"#;

/// Most bytes that `gcpo train` held.
fn measured(dir: &Path, args: &[&str]) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args([&["train", "run.toml", "--device", "cpu"], args].concat())
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak
}

fn planned(dir: &Path, args: &[&str]) -> Value {
    let all = [&["plan", "run.toml", "--device", "cpu", "--json"], args].concat();
    let (text, _) = success(dir, &all);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn memory_is_as_predicted() {
    let dir = temp();
    fs::write(dir.path().join("run.toml"), RUN).unwrap();
    let cases: [&[&str]; 6] = [
        &["--set", "recipe=sft"],
        &[
            "--set",
            "recipe=sft",
            "--set",
            "train.per_device_train_batch_size=64",
            "--set",
            "sft.integrate_frac=0.5",
        ],
        &["--set", "recipe=rest", "--set", "rest.threshold=0.0"],
        &["--set", "objective={name = \"grpo\"}"],
        &[
            "--set",
            "objective={name = \"grpo\", beta = 0.04}",
            "--set",
            "train.per_device_train_batch_size=4",
        ],
        &[
            "--set",
            "objective={name = \"gcpo\"}",
            "--set",
            "train.max_tokens_per_micro_batch=300",
        ],
    ];
    let mut wrong = Vec::new();
    for args in cases {
        let plan = planned(dir.path(), args);
        let expected = plan["memory"]["peak_bytes"].as_u64().unwrap();
        let peak = measured(dir.path(), args);
        let ratio = expected as f64 / peak as f64;
        println!("{args:?}: {expected} expected, {peak} measured, {ratio:.3}");
        if !(0.85..1.15).contains(&ratio) {
            wrong.push(format!("{args:?}: {expected} expected, {peak} measured\n{plan}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tokens_are_those_that_are_run() {
    let dir = temp();
    // Nothing ends a completion early, and no two of random digits are alike.
    let run = RUN
        .replace("hidden_size = 384", "hidden_size = 32")
        .replace("intermediate_size = 1024", "intermediate_size = 32")
        .replace("num_attention_heads = 6", "num_attention_heads = 2")
        .replace("num_hidden_layers = 6", "num_hidden_layers = 1");
    fs::write(
        dir.path().join("run.toml"),
        run + "[projection]\nskip_flat_groups = false\n",
    )
    .unwrap();
    let plan = planned(dir.path(), &["--calibrate"]);
    let tokens = |name: &str| {
        let stages = plan["stages"].as_array().unwrap();
        let stage = stages.iter().find(|stage| stage["name"] == name);
        stage.unwrap()["tokens"].as_f64().unwrap()
    };
    assert!(plan["step_secs"].as_f64().unwrap() > 0.0);
    success(
        dir.path(),
        &[
            "train",
            "run.toml",
            "--device",
            "cpu",
            "--run-dir",
            "run",
            "--set",
            "train.max_steps=1",
        ],
    );
    let line = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let near = |what: &str, expected: f64, got: f64| {
        assert!(
            (expected / got - 1.0).abs() < 0.15,
            "{what}: {expected} expected, {got} counted\n{plan}"
        );
    };
    let sampled = tokens("candidates") + tokens("integrations") + tokens("projections");
    near("sampled", sampled, line["rollout/tokens"].as_f64().unwrap());
    let names = [
        "prompts",
        "contexts of integrations",
        "contexts of projections",
        "candidates under them",
        "representations",
    ];
    let prefilled: f64 = names.iter().map(|name| tokens(name)).sum();
    near(
        "prefilled",
        prefilled,
        line["rollout/prefill_tokens"].as_f64().unwrap(),
    );
    let run = line["train/tokens"].as_f64().unwrap() * line["train/tokens_run_frac"].as_f64().unwrap();
    near("trained", tokens("training"), run);
}

#[test]
fn what_cannot_fit_is_refused_before_anything_is_sampled() {
    let dir = temp();
    fs::write(dir.path().join("run.toml"), RUN).unwrap();
    // A pass of a million rows.
    let large = [
        "train",
        "run.toml",
        "--device",
        "cpu",
        "--run-dir",
        "run",
        "--set",
        "train.per_device_train_batch_size=1000000",
        "--set",
        "train.prompts_per_step=1000000",
    ];
    let error = failure(dir.path(), &large);
    assert!(error.contains("train.per_device_train_batch_size"), "{error}");
    assert!(
        error.contains("the run would take about") && error.contains("train.check_memory = false"),
        "{error}"
    );
    assert!(!dir.path().join("run").exists());
    let row = [
        "--run-dir",
        "row",
        "--set",
        "train.max_steps=0",
        "--set",
        "train.max_tokens_per_micro_batch=8",
    ];
    let (_, said) = success(dir.path(), &[&large[..4], &row].concat());
    assert!(said.contains("it is then run alone"), "{said}");
}
