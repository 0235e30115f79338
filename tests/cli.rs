//! What a user sees of the program: its messages, its exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a directory.
fn gcpo(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Standard error of a run that must fail with one message and no panic.
#[track_caller]
fn failure(dir: &Path, args: &[&str]) -> String {
    let output = gcpo(dir, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "gcpo {args:?} succeeded");
    assert_ne!(output.status.code(), Some(101), "gcpo {args:?} panicked: {text}");
    assert!(
        output.status.code().is_some() && !text.contains("panicked"),
        "{text}"
    );
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    text
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn help_and_version_are_there() {
    let dir = temp();
    let output = gcpo(dir.path(), &["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for command in [
        "train",
        "sft",
        "eval",
        "generate",
        "score",
        "inspect",
        "bench",
        "--set",
        "--run-dir",
        "--resume",
        "--device",
    ] {
        assert!(text.contains(command), "{command} is not in\n{text}");
    }
    let version = String::from_utf8(gcpo(dir.path(), &["--version"]).stdout).unwrap();
    assert_eq!(version.trim(), format!("gcpo {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_typed_wrong_is_said_with_the_usage() {
    let dir = temp();
    let text = failure(dir.path(), &["fly"]);
    assert!(text.contains("fly") && text.contains("Usage"), "{text}");
    let text = failure(dir.path(), &["score", "--model", "m"]);
    assert!(text.contains("--input"), "{text}");
    let text = failure(dir.path(), &["--device", "gpu"]);
    assert!(text.contains("there is no device `gpu`"), "{text}");
}

#[test]
fn a_wrong_config_names_file_line_and_field_and_writes_nothing() {
    let dir = temp();
    let config = "[model]\npath = \"quickstart\"\n\n[train]\nmax_step = 3\n";
    fs::write(dir.path().join("a.toml"), config).unwrap();
    for command in ["train", "sft"] {
        let text = failure(dir.path(), &[command, "a.toml", "--run-dir", "r"]);
        assert_eq!(
            text,
            "error: a.toml:5: `train.max_step`: no such key; did you mean `train.max_steps`?\n"
        );
    }
    fs::write(
        dir.path().join("a.toml"),
        config.replace("max_step ", "learning_rate "),
    )
    .unwrap();
    let text = failure(dir.path(), &["train", "a.toml", "--set", "objective.name=gcpa"]);
    assert!(
        text.starts_with("error: --set objective.name=gcpa: `objective.name`: \"gcpa\" is not"),
        "{text}"
    );
    let text = failure(dir.path(), &["train", "none.toml"]);
    assert!(text.starts_with("error: none.toml: cannot be read: "), "{text}");
    let text = failure(dir.path(), &["--set", "rollout.top_p=2", "--device", "cpu"]);
    assert!(
        text.starts_with("error: --set rollout.top_p=2: `rollout.top_p`: 2 is impossible"),
        "{text}"
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "something was written"
    );
}

#[test]
fn a_run_overwrites_nothing_and_resumes_only_a_run() {
    let dir = temp();
    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/thesis.txt"), "words").unwrap();
    let text = failure(dir.path(), &["--run-dir", "mine", "--device", "cpu"]);
    assert!(text.contains("not empty") && text.contains("--run-dir"), "{text}");
    let text = failure(dir.path(), &["--resume", "mine", "--device", "cpu"]);
    assert!(text.contains("no run directory"), "{text}");
    let text = failure(dir.path(), &["--resume", "--device", "cpu"]);
    assert!(text.contains("no run to resume"), "{text}");
    assert_eq!(fs::read_dir(dir.path().join("mine")).unwrap().count(), 1);
}

/// A model directory whose weights file has a header only.
fn model(dir: &Path) {
    let config = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true}"#;
    fs::write(dir.join("config.json"), config).unwrap();
    let header = r#"{"model.norm.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&[0; 16]);
    fs::write(dir.join("model.safetensors"), file).unwrap();
}

#[test]
fn inspect_describes_a_model() {
    let dir = temp();
    model(dir.path());
    let output = gcpo(dir.path(), &["inspect", ".", "--batch", "2", "--length", "8"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in ["LlamaForCausalLM", "F32", "2 rows of 8 tokens"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let text = failure(dir.path(), &["inspect", ".", "--length", "17"]);
    assert!(text.contains("16 positions"), "{text}");
}

#[test]
fn what_is_no_model_is_said_so() {
    let dir = temp();
    let text = failure(dir.path(), &["inspect", "nowhere"]);
    assert!(text.contains("nowhere"), "{text}");
    model(dir.path());
    fs::write(dir.path().join("in.jsonl"), "{\"ids\": [1, 2]}\n").unwrap();
    let text = failure(
        dir.path(),
        &["score", "--model", ".", "--input", "in.jsonl", "--device", "cpu"],
    );
    assert!(text.contains("model.embed_tokens.weight"), "{text}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_built_says_how_to_build_it() {
    let dir = temp();
    model(dir.path());
    let text = failure(
        dir.path(),
        &["score", "--model", ".", "--input", "in.jsonl", "--device", "cuda"],
    );
    assert!(text.contains("--features cuda"), "{text}");
}

/// A small checkpoint of random weights with the arithmetic tokenizer and 64 positions.
fn checkpoint(dir: &Path) {
    let config = r#"
        [model]
        init = "random"
        tokenizer = "arithmetic"
        [model.shape]
        hidden_size = 16
        intermediate_size = 32
        num_hidden_layers = 2
        num_attention_heads = 2
        num_key_value_heads = 1
        max_position_embeddings = 64
        initializer_range = 0.3
    "#;
    let config = gcpo::config::Config::from_str(config, "test.toml", &[]).unwrap();
    let opened = gcpo_model::device::open(&"cpu".parse().unwrap()).unwrap();
    let policy = gcpo::open::policy(&config, Vec::new, &opened.device).unwrap();
    fs::create_dir_all(dir).unwrap();
    policy.save(dir, gcpo_model::dtype::Dtype::F32).unwrap();
}

/// Standard output of a run that must succeed.
#[track_caller]
fn success(dir: &Path, args: &[&str]) -> (String, String) {
    let output = gcpo(dir, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "gcpo {args:?}: {stderr}");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn generate_answers_in_order_and_the_same_whatever_the_waves() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let prompts = ["<q>12+19<a>", "<q>1<a>", "<q>55-17<a>", "7"];
    let rows: String = prompts
        .iter()
        .map(|prompt| format!("{{\"prompt\": \"{prompt}\"}}\n"))
        .collect();
    fs::write(dir.path().join("in.jsonl"), rows).unwrap();
    let common = [
        "generate",
        "--model",
        "m",
        "--device",
        "cpu",
        "-n",
        "3",
        "--json",
        "--set",
        "rollout.max_completion_length=9",
    ];
    let with = |more: &[&str]| success(dir.path(), &[&common, more].concat());
    let (text, stderr) = with(&["--input", "in.jsonl"]);
    assert!(stderr.contains("4/4 prompts"), "{stderr}");
    let lines: Vec<_> = text.lines().map(json).collect();
    assert_eq!(lines.len(), 4);
    for (line, prompt) in lines.iter().zip(prompts) {
        assert_eq!(line["prompt"], prompt);
        let completions = line["completions"].as_array().unwrap();
        assert_eq!(completions.len(), 3);
        for completion in completions {
            assert!(completion["logprob_sum"].as_f64().unwrap() < 0.0, "{completion}");
            assert_eq!(
                completion["ids"].as_array().unwrap().len() as u64,
                completion["tokens"].as_u64().unwrap()
            );
            assert!(completion["finish"] == "length" || completion["finish"] == "eos");
        }
    }
    let ids = |text: &str| -> Vec<serde_json::Value> {
        let lines = text.lines().map(json);
        lines
            .flat_map(|line| line["completions"].as_array().unwrap().clone())
            .map(|c| c["ids"].clone())
            .collect()
    };
    let (waves, _) = with(&["--input", "in.jsonl", "--set", "rollout.max_rows=4"]);
    assert_eq!(ids(&waves), ids(&text));
    let (again, _) = with(&["--prompt", prompts[0]]);
    assert_eq!(ids(&again), ids(&text)[..3]);
    let (seeded, _) = with(&["--prompt", prompts[0], "--set", "seed=1"]);
    assert_ne!(ids(&seeded), ids(&again));
}

#[test]
fn generate_says_which_row_is_wrong() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let common = ["generate", "--model", "m", "--device", "cpu"];
    let with = |more: &[&str]| failure(dir.path(), &[&common, more].concat());
    assert!(with(&["--input", "nowhere.jsonl"]).contains("nowhere.jsonl"));
    let input = |text: &str| fs::write(dir.path().join("in.jsonl"), text).unwrap();
    input("{\"prompt\": \"1\"}\n\n{\"prmpt\": \"2\"}\n");
    let text = with(&["--input", "in.jsonl"]);
    assert!(text.contains("in.jsonl:3: a row is {\"prompt\""), "{text}");
    input("{\"prompt\": \"1\"}\n{\"prompt\": \"\"}\n");
    let text = with(&["--input", "in.jsonl", "--set", "rollout.max_completion_length=8"]);
    assert!(text.contains("in.jsonl:2: the prompt has no tokens"), "{text}");
    input("\n");
    assert!(with(&["--input", "in.jsonl"]).contains("no prompt in it"));
    let too_long = ["--set", "rollout.max_completion_length=64"];
    let text = with(&[&["--prompt", "<q>1<a>"], &too_long[..]].concat());
    assert!(text.contains("rollout.max_completion_length=61"), "{text}");
    let text = with(&["--prompt", "1", "--set", "rollout.temperatur=1"]);
    assert!(text.contains("did you mean `rollout.temperature`"), "{text}");
}

#[test]
fn eval_measures_a_file_and_says_what_does_not_fit() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let long = "1".repeat(60);
    write(
        "d.jsonl",
        &format!(
            "{{\"problem\": \"12+19\", \"answer\": \"31\"}}\n{{\"problem\": \"{long}\", \"answer\": \"2\", \"unique_id\": \"long\"}}\n\
             {{\"problem\": \"1+1\", \"answer\": \"2\"}}\n"
        ),
    );
    let common = [
        "eval",
        "--model",
        "m",
        "--data",
        "d.jsonl",
        "--preset",
        "math",
        "--device",
        "cpu",
        "--samples",
        "2",
    ];
    let with = |more: &[&'static str]| -> Vec<&'static str> { [&common, more].concat() };
    let text = failure(dir.path(), &with(&["--set", "eval.max_completion_length=8"]));
    assert!(
        text.contains("problem `long`") && text.contains("64 positions"),
        "{text}"
    );
    assert!(
        text.contains("eval.max_completion_length=2`") && text.contains("eval.skip_too_long=true"),
        "{text}"
    );
    assert!(text.contains("style \"marks\""), "{text}");
    let skip = [
        "--set",
        "eval.skip_too_long=true",
        "--set",
        "eval.max_completion_length=8",
    ];
    let (text, stderr) = success(dir.path(), &with(&[&skip[..], &["--json"][..]].concat()));
    assert!(stderr.contains("3/3 problems"), "{stderr}");
    let report = json(&text);
    assert_eq!(report["model"], "m");
    let suite = &report["suites"][0];
    assert_eq!(
        (
            &suite["suite"],
            &suite["problems"],
            &suite["samples"],
            &suite["too_long"]
        ),
        (&"math".into(), &3.into(), &2.into(), &1.into())
    );
    assert!(suite["pass@1"]["mean"].as_f64().unwrap() <= 2.0 / 3.0, "{report}");
    let (text, _) = success(dir.path(), &with(&skip));
    assert!(
        text.contains("avg@k = pass@1") && text.contains("1 problems too long, counted as wrong"),
        "{text}"
    );
}

/// Two suites, stopped, resumed, graded again and compared.
#[test]
fn eval_keeps_every_completion_and_goes_on_where_it_was_stopped() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let rows = |numbers: std::ops::Range<usize>| -> String {
        let row = |i: usize| {
            format!(
                "{{\"problem\": \"{i}+1\", \"answer\": \"{}\", \"level\": \"{}\"}}\n",
                i + 1,
                i % 2
            )
        };
        numbers.map(row).collect()
    };
    fs::write(dir.path().join("a.jsonl"), rows(1..8)).unwrap();
    fs::write(dir.path().join("b.jsonl"), rows(10..15)).unwrap();
    let base = [
        "eval",
        "--model",
        "m",
        "--device",
        "cpu",
        "--suite",
        "math500=a.jsonl",
        "--suite",
        "aime24=b.jsonl",
        "--samples",
        "3",
        "--set",
        "eval.max_completion_length=6",
        "--set",
        "rollout.max_rows=6",
    ];
    let with = |more: &[&'static str]| -> Vec<&'static str> { [&base, more].concat() };
    let (text, _) = success(dir.path(), &with(&["--out", "whole.jsonl", "--json"]));
    let report = json(&text);
    let names: Vec<_> = report["suites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["suite"].clone())
        .collect();
    assert_eq!(names, ["math500", "aime24"]);
    assert_eq!(report["suites"][0]["levels"][1]["problems"], 4);
    assert!(report["mean"]["pass@1"]["stderr"].is_f64() && report["suites"][0]["maj@k"]["mean"].is_f64());
    let whole = fs::read(dir.path().join("whole.jsonl")).unwrap();
    assert_eq!(whole.iter().filter(|&&b| b == b'\n').count(), 1 + 3 * 12);

    // Stopped in the middle of the second suite: the same bytes in the end, also with other batches.
    fs::write(dir.path().join("cut.jsonl"), &whole[..whole.len() * 4 / 5]).unwrap();
    let text = failure(dir.path(), &with(&["--out", "cut.jsonl"]));
    assert!(
        text.contains("cut.jsonl is there already") && text.contains("--resume"),
        "{text}"
    );
    let other = ["--out", "cut.jsonl", "--resume", "--set", "eval.temperature=0.5"];
    assert!(failure(dir.path(), &with(&other)).contains("another `eval.temperature`"));
    let (_, stderr) = success(
        dir.path(),
        &with(&["--out", "cut.jsonl", "--resume", "--set", "rollout.max_rows=64"]),
    );
    assert!(stderr.contains("7 of them were answered before"), "{stderr}");
    let of = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&fs::read(dir.path().join("cut.jsonl")).unwrap()), of(&whole));

    let (text, stderr) = success(dir.path(), &["eval", "--regrade", "whole.jsonl", "--json"]);
    assert!(stderr.contains("0 of 36 verdicts"), "{stderr}");
    assert_eq!(json(&text)["suites"], report["suites"]);

    // A completion that was right is made wrong: one verdict changes, and the comparison sees it.
    let mut lines: Vec<String> = of(&whole);
    let header = String::from_utf8(whole.clone())
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let mut first = json(&lines[0]);
    first["completion"] = "it is \\boxed{2}".into();
    lines[0] = first.to_string();
    fs::write(
        dir.path().join("better.jsonl"),
        format!("{header}\n{}\n", lines.join("\n")),
    )
    .unwrap();
    let args = [
        "eval",
        "--regrade",
        "better.jsonl",
        "--out",
        "regraded.jsonl",
        "--json",
    ];
    let (text, _) = success(dir.path(), &args);
    assert_eq!(json(&text)["changed"], 1, "{text}");
    let (text, _) = success(
        dir.path(),
        &["eval", "--compare", "whole.jsonl", "regraded.jsonl", "--json"],
    );
    let compared = json(&text);
    assert_eq!(
        (&compared[0]["better"], &compared[0]["worse"]),
        (&1.into(), &0.into())
    );
    assert!((compared[0]["difference"]["mean"].as_f64().unwrap() - 1.0 / 21.0).abs() < 1e-9);
    assert_eq!(compared[2]["suite"], "mean");
    let (text, _) = success(
        dir.path(),
        &["eval", "--compare", "whole.jsonl", "regraded.jsonl"],
    );
    assert!(
        text.contains("second − first") && text.contains("+0.0476"),
        "{text}"
    );
}

#[test]
fn a_suite_that_cannot_be_had_says_what_to_do() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let eval = |suite: &str| {
        failure(
            dir.path(),
            &["eval", "--model", "m", "--device", "cpu", "--suite", suite],
        )
    };
    assert!(eval("math5000=f.jsonl").contains("did you mean \"math500\""));
    let text = eval("minerva");
    assert!(
        text.contains("`--suite minerva=FILE`") && text.contains("minerva_math/test.jsonl"),
        "{text}"
    );
    let text = eval("humaneval=h.jsonl");
    assert!(
        text.contains("programs, which must be run to be graded"),
        "{text}"
    );
    // Without the feature `hub` there is no downloading.
    let text = eval("aime25");
    assert!(text.contains("features hub"), "{text}");
    let text = failure(dir.path(), &["eval", "--regrade", "none.jsonl"]);
    assert!(text.contains("none.jsonl"), "{text}");
}

#[test]
fn eval_says_what_is_wrong_with_its_input() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    let eval = |data: &str, preset: &str| {
        failure(
            dir.path(),
            &[
                "eval", "--model", "m", "--device", "cpu", "--data", data, "--preset", preset,
            ],
        )
    };
    assert!(eval("nowhere.jsonl", "gsm8k").contains("nowhere.jsonl"));
    let text = eval("nowhere.jsonl", "gsm9k");
    assert!(text.contains("did you mean \"gsm8k\""), "{text}");
    let rows = "{\"question\": \"1+1\", \"answer\": \"#### 2\"}\n{\"question\": \"1+2\"}\n";
    fs::write(dir.path().join("d.jsonl"), rows).unwrap();
    let text = eval("d.jsonl", "gsm8k");
    assert!(text.contains("d.jsonl:2: no field `answer`"), "{text}");
    fs::write(dir.path().join("e.toml"), "seed = 1\n").unwrap();
    let text = failure(dir.path(), &["eval", "--model", "m", "--device", "cpu", "e.toml"]);
    assert!(text.contains("e.toml") && text.contains("eval.path"), "{text}");
}

#[test]
fn bench_prints_its_contract() {
    let dir = temp();
    let common = [
        "bench",
        "--shape",
        "tiny",
        "--work",
        "decode",
        "--repeats",
        "1",
        "--device",
        "cpu",
    ];
    let (text, _) = success(dir.path(), &[&common[..], &["--json"]].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    let report = json(&text);
    assert_eq!(report["secs"].as_array().unwrap().len(), 1);
    assert_eq!(report["secs"][0], report["secs_median"]);
    let expected = 32.0 * 64.0 / report["secs_median"].as_f64().unwrap();
    assert!(
        (report["tok_per_sec"].as_f64().unwrap() / expected - 1.0).abs() < 1e-9,
        "{report}"
    );
    assert!(report["threads"].as_u64().unwrap() > 0 && report["device"].as_str().unwrap().contains("cpu"));
    assert_eq!(
        (&report["shape"], &report["work"]),
        (&"tiny".into(), &"decode".into())
    );
    let (text, _) = success(dir.path(), &common);
    assert!(text.contains("tiny decode") && text.contains("tok/s"), "{text}");
    let text = failure(
        dir.path(),
        &["bench", "--shape", "tiny", "--work", "step", "--objective", "grp"],
    );
    assert!(text.contains("`gcpo`, `grpo`, `grpo_alpha`"), "{text}");
}

/// The steps in a run's `metrics.jsonl`.
#[cfg(unix)]
fn steps(run: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let line = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line)
            .ok()?
            .get("step")?
            .as_u64()
    };
    text.lines().filter_map(line).collect()
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_go_on() {
    let dir = temp();
    let run = dir.path().join("run");
    let small = ["--set", "train.prompts_per_step=2", "--set", "eval.every=0"];
    let child = Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .current_dir(dir.path())
        .args(small)
        .args(["--set", "train.max_steps=10000", "--run-dir", "run"])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        if !steps(&run).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("--resume run"), "{said}");
    let done = *steps(&run).last().unwrap();
    assert!(
        run.join(format!("checkpoints/step-{done}/model.safetensors"))
            .is_file()
    );

    let last = format!("train.max_steps={}", done + 1);
    let resumed = gcpo(
        dir.path(),
        &[&small[..], &["--set", &last, "--resume", "run"]].concat(),
    );
    assert!(
        resumed.status.success(),
        "{}",
        String::from_utf8_lossy(&resumed.stderr)
    );
    assert_eq!(steps(&run), (1..=done + 1).collect::<Vec<_>>());
}
