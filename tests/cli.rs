//! What a user sees of the program: its messages, its exit codes.

mod program;

use std::fs;

use program::{checkpoint, failure, gcpo, json, model, success, temp};

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
    let version = concat!("gcpo ", env!("CARGO_PKG_VERSION"));
    assert_eq!(success(dir.path(), &["-V"]).0.trim(), version);
    // Every build has the processor.
    let (long, _) = success(dir.path(), &["--version"]);
    assert!(
        long.starts_with(version) && long.contains("\nfeatures: "),
        "{long}"
    );
}

#[test]
fn shells_and_man_know_every_command() {
    let dir = temp();
    let (help, _) = success(dir.path(), &["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .map_while(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (script, _) = success(dir.path(), &["completions", shell]);
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("run-dir"), "{shell}");
    }
    let text = failure(dir.path(), &["completions", "cmd"]);
    assert!(text.contains("possible values: bash"), "{text}");

    success(dir.path(), &["man", "--out", "man1"]);
    let page = |name: &str| fs::read_to_string(dir.path().join("man1").join(name)).unwrap();
    for command in &commands {
        let page = page(&format!("gcpo-{command}.1"));
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{page}");
        assert!(page.contains("SYNOPSIS"), "{command}");
    }
    assert_eq!(page("gcpo.1").trim(), success(dir.path(), &["man"]).0.trim());
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(failure(dir.path(), &["man", "--out", "file"]).contains("file"));
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

#[test]
fn generate_writes_conversations_by_the_checkpoints_chat_template() {
    let dir = temp();
    checkpoint(&dir.path().join("m"));
    fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let common = "generate --model m --device cpu --json --set rollout.max_completion_length=4 --set rollout.temperature=0";
        common.split(' ').chain(more.iter().copied()).collect()
    }
    let error = failure(dir.path(), &run(&["--chat", "--prompt", "1+2"]));
    assert!(error.contains("chat template"), "{error}");
    let template = "{% for m in messages %}{{ '<q>' + m.content }}{% endfor %}{% if hint %}+{% endif %}<a>";
    fs::write(dir.path().join("m/chat_template.jinja"), template).unwrap();
    let rows = "{\"messages\": [{\"role\": \"user\", \"content\": \"1\"}, {\"role\": \"user\", \"content\": \"2\"}]}\n\
                {\"prompt\": \"3\"}\n";
    fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
    let hint = ["--set", "prompt.chat_template_kwargs={hint = true}"];
    let chat = [&["--chat", "--input", "rows.jsonl"], &hint[..]].concat();
    let (out, _) = success(dir.path(), &run(&chat));
    let lines: Vec<serde_json::Value> = out.lines().map(json).collect();
    let prompts: Vec<&str> = lines
        .iter()
        .map(|line| line["prompt"].as_str().unwrap())
        .collect();
    assert_eq!(prompts, ["<q>1<q>2+<a>", "<q>3+<a>"]);
    // Greedy: the same tokens whatever the seed, and as for the text itself.
    let (again, _) = success(dir.path(), &run(&[&chat[..], &["--set", "seed=7"]].concat()));
    assert_eq!(out, again);
    let (plain, _) = success(dir.path(), &run(&["--prompt", "<q>3+<a>"]));
    assert_eq!(json(plain.trim())["completions"], lines[1]["completions"]);
    let error = failure(dir.path(), &run(&["--input", "rows.jsonl"]));
    assert!(
        error.contains("rows.jsonl:1") && error.contains("--chat"),
        "{error}"
    );
}

#[test]
fn a_quiet_run_says_what_it_is_asked_for_only() {
    let dir = temp();
    let args = |more: &[&'static str]| {
        let sets = [
            "train.max_steps=2",
            "train.prompts_per_step=2",
            "eval.every=2",
            "eval.size=8",
        ];
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        sets.chain(["--device", "cpu"])
            .chain(more.iter().copied())
            .collect::<Vec<&str>>()
    };
    let (out, said) = success(dir.path(), &args(&["--quiet", "--run-dir", "a"]));
    assert!(said.is_empty() && out.contains("pass@1"), "{said}{out}");
    let completions = [
        "--set",
        "run.log_completions=true",
        "--set",
        "run.logging_steps=2",
        "--run-dir",
        "b",
        "--quiet",
    ];
    let (_, said) = success(dir.path(), &args(&completions));
    assert!(
        said.starts_with("step 2: 4 of 8 completions\n")
            && said.contains("advantage")
            && said.contains(", 2  "),
        "{said}"
    );
    let sft = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/quickstart_sft.toml");
    let said = failure(
        dir.path(),
        &["sft", sft, "--device", "cpu", "--set", "run.log_completions=true"],
    );
    assert!(
        said.contains("run.log_completions") && said.contains("samples nothing"),
        "{said}"
    );
}

#[test]
fn more_or_less_is_said_and_in_colours_where_they_are_asked_for() {
    let dir = temp();
    let said = |args: &[&str]| String::from_utf8(gcpo(dir.path(), args).stderr).unwrap();
    for args in [
        ["--color", "always", "train", "none.toml"],
        ["train", "none.toml", "--color", "always"],
    ] {
        assert!(
            said(&args).starts_with("\u{1b}[1;31merror:\u{1b}[0m none.toml"),
            "{args:?}"
        );
    }
    assert!(said(&["--color", "always", "trian"]).contains("\u{1b}["));
    for args in [
        &["train", "none.toml"][..],
        &["trian"],
        &["--color", "never", "trian"],
    ] {
        assert!(!said(args).contains('\u{1b}'), "{args:?}");
    }
    assert!(said(&["--seed", "1", "--color", "sometimes"]).contains("error:"));
    let run = [
        "--verbose",
        "--device",
        "cpu",
        "--run-dir",
        "run",
        "--set",
        "train.max_steps=1",
        "--set",
        "eval.every=0",
        "--set",
        "train.prompts_per_step=1",
    ];
    let said = said(&run);
    for part in [
        "for 1 step: ",
        "generations sampled; learning rate",
        "saved run/checkpoints/step-1",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
