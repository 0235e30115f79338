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
