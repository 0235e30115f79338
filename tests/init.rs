//! `gcpo init`: the config that it writes is read, planned and run as it is.

mod program;

use std::fs;
use std::path::Path;

use program::{failure, gcpo, quickstart, success, temp};

/// Problems as TRL has them.
fn rows(path: &Path, with_answers: bool) {
    let row = |n: usize| match with_answers {
        true => format!("{{\"prompt\": \"{n}+{n}\", \"answer\": \"{}\"}}\n", n + n),
        false => format!("{{\"prompt\": \"{n}+{n}\"}}\n"),
    };
    fs::write(path, (11..31).map(row).collect::<String>()).unwrap();
}

#[test]
fn what_is_written_is_planned_and_trained() {
    let dir = temp();
    let dir = dir.path();
    quickstart(&dir.join("model"));
    rows(&dir.join("train.jsonl"), true);
    rows(&dir.join("test.jsonl"), true);
    let args = [
        "init",
        "--model",
        "model",
        "--data",
        "train.jsonl",
        "--eval",
        "test.jsonl",
        "--device",
        "cpu",
    ];
    let (out, _) = success(dir, &args);
    for part in ["gcpo train run.toml", "marks", "problems  20", "at most, of"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let text = fs::read_to_string(dir.join("run.toml")).unwrap();
    assert!(
        text.contains("# 20 problems.") && text.contains("integrations = 2"),
        "{text}"
    );
    assert!(
        !text.contains("[model.lora]") && !text.contains("gradient_checkpointing"),
        "{text}"
    );
    success(dir, &["plan", "run.toml", "--device", "cpu"]);
    let short = [
        "train",
        "run.toml",
        "--device",
        "cpu",
        "--run-dir",
        "run",
        "--set",
        "train.max_steps=1",
        "--set",
        "eval.every=1",
    ];
    success(dir, &short);
    // What is there is not written over.
    let text = failure(dir, &args);
    assert!(
        text.contains("run.toml is there already") && text.contains("--out"),
        "{text}"
    );
    let grpo = [&args[..], &["--objective", "grpo", "--out", "grpo.toml"]].concat();
    success(dir, &grpo);
    assert!(
        !fs::read_to_string(dir.join("grpo.toml"))
            .unwrap()
            .contains("[projection]")
    );
    let text = failure(
        dir,
        &[&args[..], &["--objective", "grp", "--out", "x.toml"]].concat(),
    );
    assert!(text.contains("grp") && text.contains("gspo_token"), "{text}");
}

#[test]
fn completions_have_the_room_that_the_prompts_leave_and_no_more() {
    let dir = temp();
    let dir = dir.path();
    rows(&dir.join("train.jsonl"), true);
    let args = [
        "init",
        "--model",
        "quickstart",
        "--data",
        "train.jsonl",
        "--device",
        "cpu",
    ];
    success(dir, &args);
    let text = fs::read_to_string(dir.join("run.toml")).unwrap();
    assert!(
        text.contains("path = \"quickstart\"") && text.contains("do not fit the model"),
        "{text}"
    );
    let (_, room) = text.split_once("max_completion_length = ").unwrap();
    let room: usize = room.lines().next().unwrap().parse().unwrap();
    let train = |length: usize| {
        let sets = [
            format!("rollout.max_completion_length={length}"),
            "train.max_steps=1".to_owned(),
            "train.prompts_per_step=1".to_owned(),
        ];
        let args = ["train", "run.toml", "--device", "cpu", "--run-dir", "run"];
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        gcpo(dir, &args.into_iter().chain(sets).collect::<Vec<&str>>())
    };
    let said = String::from_utf8(train(room + 1).stderr).unwrap();
    assert!(said.contains("256 positions"), "{said}");
    assert!(train(room).status.success());
    // Nothing fits behind this one; GRPO quotes no candidates, and has room behind the next.
    let long = |digits: usize| {
        let row = format!(
            "{{\"prompt\": \"{}+1\", \"answer\": \"2\"}}\n",
            "1".repeat(digits)
        );
        fs::write(dir.join("long.jsonl"), row).unwrap();
    };
    let args = [
        "init",
        "--model",
        "quickstart",
        "--data",
        "long.jsonl",
        "--device",
        "cpu",
        "--out",
        "long.toml",
    ];
    long(300);
    let said = failure(dir, &args);
    assert!(
        said.contains("no room for a completion") && said.contains("256 positions"),
        "{said}"
    );
    long(250);
    let said = failure(dir, &args);
    assert!(said.contains("--objective grpo"), "{said}");
    success(dir, &[&args[..], &["--objective", "grpo"]].concat());
}

#[test]
fn without_gold_answers_a_reward_must_be_named() {
    let dir = temp();
    let dir = dir.path();
    quickstart(&dir.join("model"));
    rows(&dir.join("train.jsonl"), false);
    let args = [
        "init",
        "--model",
        "model",
        "--data",
        "train.jsonl",
        "--device",
        "cpu",
    ];
    let text = failure(dir, &args);
    for part in [
        "20 of 20 problems have no gold answer",
        "train.jsonl:1",
        "--reward FILE.py:NAME",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!dir.join("run.toml").exists());
    fs::write(
        dir.join("r.py"),
        "def short(completions, **kwargs):\n    return [-len(c) for c in completions]\n",
    )
    .unwrap();
    success(dir, &[&args[..], &["--reward", "r.py:short"]].concat());
    let text = fs::read_to_string(dir.join("run.toml")).unwrap();
    assert!(
        text.contains("name = \"python\"") && text.contains("function = \"r.py:short\""),
        "{text}"
    );
    for (args, part) in [
        (["--model", "nothing", "--data", "train.jsonl"], "nothing"),
        (["--model", "model", "--data", "none.jsonl"], "none.jsonl"),
    ] {
        let text = failure(
            dir,
            &[&["init", "--out", "x.toml", "--device", "cpu"][..], &args].concat(),
        );
        assert!(text.contains(part), "{text}");
    }
}
