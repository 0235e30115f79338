//! Programs as answers, as a user has them measured and trained on.

#![cfg(target_os = "linux")]

mod program;

use std::fs;
use std::path::Path;

use program::sandbox::{can_run, fixture};
use program::{failure, json, success, temp};
use serde_json::{Value, json};

/// Canonical solutions of the committed rows pass, and their prompts alone fail.
#[test]
fn committed_rows_pass_and_their_prompts_fail() {
    let dir = temp();
    if !can_run(dir.path()) {
        return;
    }
    for name in ["humaneval", "mbpp"] {
        let file = fixture(&format!("{name}.jsonl"));
        let problems = gcpo_data::dataset::load_code(Path::new(&file)).unwrap();
        for right in [true, false] {
            let rows = problems.iter().map(|problem| {
                let completion = match (right, name) {
                    (true, _) => problem.solution.clone(),
                    (false, "mbpp") => problem.prompt.clone(),
                    (false, _) => String::new(),
                };
                json!({"id": problem.id, "completion": completion}).to_string()
            });
            fs::write(dir.path().join("c.jsonl"), rows.collect::<Vec<_>>().join("\n")).unwrap();
            let suite = format!("{name}={file}");
            let args = ["grade", "--suite", &suite, "--completions", "c.jsonl", "--json"];
            let found = json(&success(dir.path(), &args).0);
            assert_eq!(found["passed"], if right { 5 } else { 0 }, "{found}");
        }
    }
}

/// A tiny network that has learnt two programs by heart: they pass where it is asked for their beginnings.
const LEARNT: &str = r#"
    [model]
    init = "random"
    tokenizer = "train"
    [model.shape]
    vocab_size = 300
    hidden_size = 64
    intermediate_size = 128
    num_hidden_layers = 2
    num_attention_heads = 4
    max_position_embeddings = 512
    [data]
    path = "p.jsonl"
    preset = "humaneval"
    [train]
    max_steps = 120
    per_device_train_batch_size = 4
    learning_rate = 0.003
    [eval]
    every = 120
    path = "p.jsonl"
    preset = "humaneval"
    max_completion_length = 48
    temperature = 0.0
    [sft]
    integrate_frac = 0.0
    project_frac = 0.0
"#;

fn small_problems(dir: &Path) {
    let row = |id: &str, name: &str, body: &str, test: &str| {
        json!({"task_id": id, "prompt": format!("def {name}(x):\n"), "entry_point": name, "canonical_solution": format!("    return {body}\n"),
            "test": format!("def check(candidate):\n    assert candidate(1) == {test}\n")})
        .to_string()
    };
    let rows = [row("T/0", "up", "x + 1", "2"), row("T/1", "twice", "2 * x", "2")];
    fs::write(dir.join("p.jsonl"), rows.join("\n")).unwrap();
}

#[test]
fn programs_are_learnt_measured_and_trained_on() {
    let dir = temp();
    let dir = dir.path();
    if !can_run(dir) {
        return;
    }
    small_problems(dir);
    fs::write(dir.join("sft.toml"), LEARNT).unwrap();
    let (_, said) = success(dir, &["sft", "sft.toml", "--run-dir", "s", "--device", "cpu"]);
    assert!(said.contains("humaneval is for evaluation only"), "{said}");
    let last = fs::read_to_string(dir.join("s/eval.jsonl")).unwrap();
    let records: Vec<Value> = last.lines().skip(1).map(json).collect();
    assert!(records.iter().all(|record| record["right"] == true), "{last}");
    assert_eq!(records[0]["tests"], json!({"passed": 1, "of": 1}));
    assert!(
        records[0]["gold"]
            .as_str()
            .unwrap()
            .starts_with("1 test, sha256 ")
    );

    // As a suite, with several samples; stopped, and gone on with.
    let model = "s/checkpoints/step-120";
    let base = [
        "eval",
        "--model",
        model,
        "--suite",
        "humaneval=p.jsonl",
        "--device",
        "cpu",
        "--samples",
        "4",
        "--set",
        "eval.max_completion_length=24",
        "--set",
        "eval.temperature=0.8",
        "--json",
    ];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let (text, said) = success(dir, &with(&["--out", "a.jsonl"]));
    let report = json(&text);
    let suite = &report["suites"][0];
    assert_eq!(
        (&suite["problems"], &suite["samples"]),
        (&json!(2), &json!(4)),
        "{report}"
    );
    assert!(
        suite["pass@k"]["4"]["mean"].is_f64() && suite["maj@k"].is_null(),
        "{report}"
    );
    assert!(!said.contains("Reason step by step"), "{said}");
    let whole = fs::read_to_string(dir.join("a.jsonl")).unwrap();
    for record in whole.lines().skip(1).map(json) {
        assert!(record["right"] == true || record["why"].is_string(), "{record}");
        assert_eq!(record["rule"], "continued");
    }
    let lines: Vec<&str> = whole.lines().collect();
    fs::write(dir.join("cut.jsonl"), lines[..5].join("\n") + "\n").unwrap();
    success(dir, &with(&["--out", "cut.jsonl", "--resume"]));
    assert_eq!(fs::read_to_string(dir.join("cut.jsonl")).unwrap(), whole);
    let text = failure(
        dir,
        &with(&["--out", "cut.jsonl", "--resume", "--set", "code.timeout=1"]),
    );
    assert!(text.contains("code.timeout"), "{text}");

    // Run again, and compared.
    let (text, said) = success(dir, &["eval", "--regrade", "a.jsonl", "--json"]);
    assert!(said.contains("0 of 8 verdicts"), "{said}");
    assert_eq!(json(&text)["suites"], report["suites"]);
    let (text, _) = success(dir, &["eval", "--compare", "a.jsonl", "cut.jsonl", "--json"]);
    assert!(text.contains("\"better\":0"), "{text}");
    let spoilt = fs::read_to_string(dir.join("p.jsonl"))
        .unwrap()
        .replace("== 2", "== 3");
    fs::write(dir.join("p.jsonl"), spoilt).unwrap();
    let text = failure(dir, &["eval", "--regrade", "a.jsonl"]);
    assert!(text.contains("other ones now than they were"), "{text}");
    small_problems(dir);

    // What cannot be.
    let text = failure(dir, &with(&["--set", "eval.integrated=true"]));
    assert!(
        text.contains("eval.integrated") && text.contains("prompt.style = \"chat\""),
        "{text}"
    );
    let text = failure(dir, &with(&["--set", "eval.rewards=true"]));
    assert!(text.contains("name = \"code\""), "{text}");
    let text = failure(dir, &with(&["--set", "eval.num_fewshot=1"]));
    assert!(
        text.contains("num_fewshot") && text.contains("fewshot_path"),
        "{text}"
    );
    let args = [
        "--set",
        "eval.num_fewshot=2",
        "--set",
        "eval.fewshot_path=p.jsonl",
    ];
    let text = failure(dir, &with(&args));
    assert!(
        text.contains("behind 2 examples, and there are 1 of others"),
        "{text}"
    );

    // One example: it stands before each prompt, and is not the problem itself.
    let args = [
        "--set",
        "eval.num_fewshot=1",
        "--set",
        "eval.fewshot_path=p.jsonl",
        "--out",
        "shot.jsonl",
    ];
    let (_, said) = success(dir, &with(&args));
    assert!(
        said.contains("1-shot: examples of ") && said.contains("p.jsonl: T/1, T/0"),
        "{said}"
    );

    // Trained on, rewarded by its tests.
    let rl = format!(
        "[model]\npath = \"{model}\"\n[data]\npath = \"p.jsonl\"\npreset = \"humaneval\"\n[rollout]\nnum_generations = 4\nmax_completion_length = 24\n\
         [train]\nmax_steps = 2\nprompts_per_step = 2\n[objective]\nname = \"grpo\"\n[run]\nlog_completions = true\n"
    );
    fs::write(dir.join("rl.toml"), &rl).unwrap();
    let train = ["train", "rl.toml", "--run-dir", "t", "--device", "cpu"];
    let text = failure(dir, &train);
    assert!(
        text.contains("its answer is a program") && text.contains("name = \"code\""),
        "{text}"
    );
    fs::write(dir.join("rl.toml"), rl + "[[reward]]\nname = \"code\"\n").unwrap();
    let (_, said) = success(dir, &train);
    assert!(
        said.contains("a completion ends at one of [\"\\nclass\""),
        "{said}"
    );
    let samples = fs::read_to_string(dir.join("t/samples.jsonl")).unwrap();
    let earned = samples
        .lines()
        .map(json)
        .map(|line| line["components"]["code"].clone());
    let all: Vec<Value> = earned.flat_map(|of| of.as_array().unwrap().clone()).collect();
    assert!(all.contains(&json!(1.0)) && all.len() == 16, "{samples}");
}

#[test]
fn mbpp_is_divided_as_its_authors_do() {
    let dir = temp();
    let dir = dir.path();
    let row = |id: usize| {
        json!({"task_id": id, "text": format!("Write a function to add {id}."), "code": format!("def f(x):\r\n  return x + {id}"),
            "test_list": [format!("assert f(0) == {id}")], "test_setup_code": ""})
        .to_string()
    };
    fs::write(
        dir.join("mbpp.jsonl"),
        (1..=974).map(row).collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let load = |text: &str| {
        let config = gcpo::config::Config::from_str(text, "test.toml", &[]).unwrap();
        config
            .problems()
            .map(|problems| problems.iter().map(|p| p.id.clone()).collect::<Vec<_>>())
    };
    let place = format!("[data]\npreset = \"mbpp\"\npath = {:?}\n", dir.join("mbpp.jsonl"));
    let reward = "[[reward]]\nname = \"code\"\n";
    let train = load(&format!("{place}{reward}")).unwrap();
    assert_eq!((train.len(), train[0].as_str()), (374, "601"));
    let validation = load(&format!("{place}split = \"validation\"\n{reward}")).unwrap();
    assert_eq!((validation.len(), validation[0].as_str()), (90, "511"));
    let all = load(&format!("{place}split = \"all\"\n{reward}")).unwrap();
    assert_eq!(all.len(), 974);
    let error = load(&format!("{place}split = \"dev\"\n{reward}")).unwrap_err();
    assert!(
        format!("{error:#}").contains("MBPP has no split \"dev\""),
        "{error:#}"
    );

    // Three-shot: the authors' three, with their marks.
    let text = format!(
        "[eval]\nnum_fewshot = 3\n[[eval.suite]]\nname = \"mbpp\"\npath = {:?}\n",
        dir.join("mbpp.jsonl")
    );
    let config = gcpo::config::Config::from_str(&text, "test.toml", &[]).unwrap();
    let set = config.eval.sets().unwrap().remove(0);
    assert_eq!(set.loaded.problems.len(), 500);
    let code = set.loaded.problems[0].code.as_ref().unwrap();
    let shots: Vec<&str> = code.shots.iter().map(|shot| shot.id.as_str()).collect();
    assert_eq!((code.id.as_str(), shots), ("11", vec!["2", "3", "4"]));
    let asked = code.continuation();
    let head = "You are an expert Python programmer, and here is your task: Write a function to add 2. Your code should pass these \
                tests:\n\nassert f(0) == 2\n[BEGIN]\ndef f(x):\n  return x + 2\n[DONE]\n\nYou are an expert";
    assert!(asked.starts_with(head), "{asked}");
    assert!(
        asked.ends_with("add 11. Your code should pass these tests:\n\nassert f(0) == 11\n[BEGIN]\n"),
        "{asked}"
    );
}
