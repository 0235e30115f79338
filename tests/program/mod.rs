//! Runs the program as a user does.

#![allow(dead_code)] // each test takes what it needs

pub mod events;
pub mod html;
pub mod sandbox;
#[cfg(unix)]
pub mod spoil;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the program in a directory.
pub fn gcpo(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gcpo"))
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Standard error of a run that must fail with one message and no panic.
#[track_caller]
pub fn failure(dir: &Path, args: &[&str]) -> String {
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

pub fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A model directory whose weights file has a header only.
pub fn model(dir: &Path) {
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

/// A small checkpoint of random weights with the arithmetic tokenizer and 64 positions.
pub fn checkpoint(dir: &Path) {
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
    let policy = config.policy(Vec::new, &opened.device).unwrap();
    fs::create_dir_all(dir).unwrap();
    policy.save(dir, gcpo_model::dtype::Dtype::F32).unwrap();
}

/// The model in the binary as a directory, which the commands that take directories only need.
pub fn quickstart(dir: &Path) {
    use gcpo_model::quickstart::{CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS};
    fs::create_dir(dir).unwrap();
    for (name, bytes) in [
        ("config.json", CONFIG),
        ("generation_config.json", GENERATION_CONFIG),
        ("model.safetensors", WEIGHTS),
        ("tokenizer.json", TOKENIZER),
        ("tokenizer_config.json", TOKENIZER_CONFIG),
    ] {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// Standard output of a run that must succeed.
#[track_caller]
pub fn success(dir: &Path, args: &[&str]) -> (String, String) {
    let output = gcpo(dir, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "gcpo {args:?}: {stderr}");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

pub fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Every file below a directory, by its path from there.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}
