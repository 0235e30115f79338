//! What a checkpoint is beside its weights comes out as it came in.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::device;
use gcpo_model::checkpoint::{self, Beside, Format};
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;
use serde_json::{Map, Value, json};

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(family)
}

/// A copy of a fixture whose `config.json` `change` may edit.
fn edited(family: &str, change: impl FnOnce(&mut Map<String, Value>)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(family)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let mut map = object(dir.path());
    change(&mut map);
    let text = serde_json::to_string_pretty(&map).unwrap() + "\n";
    fs::write(dir.path().join("config.json"), text).unwrap();
    dir
}

fn object(dir: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
}

/// Reads a checkpoint and writes it into another directory.
fn again(dir: &Path, format: Format) -> tempfile::TempDir {
    let loaded = checkpoint::read(dir, Dtype::F32, &device()).unwrap();
    let generation = GenerationConfig::load(dir, loaded.model.config()).unwrap();
    let beside = Beside {
        config_json: &loaded.config_json,
        generation: &generation,
    };
    let to = tempfile::tempdir().unwrap();
    checkpoint::save_as(&loaded.model, beside, to.path(), format).unwrap();
    to
}

fn foreign() -> Value {
    json!({
        "_name_or_path": "somebody/something", "transformers_version": "4.51.0", "use_cache": false, "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "a.B", "nested": [{"x": null}, [1, 2.5, "é"]]}, "id2label": {"0": "LABEL_0"},
        "pretraining_tp": 1, "task_specific_params": null, "sliding_window": null, "made_up": {"deep": {"er": [true, 1e-9]}},
        "problem_type": "none", "finetuning_task": 12_345_678_901_i64, "layer_norm_eps": 1e-12, "output_attentions": false
    })
}

#[test]
fn keys_that_are_not_used_come_out_as_they_were() {
    for family in ["llama", "llama3_tied", "qwen2", "qwen3"] {
        let from = edited(family, |map| {
            map.extend(foreign().as_object().unwrap().clone());
            map.insert("architectures".into(), json!(["SomethingElseForCausalLM"]));
            map.remove("torch_dtype");
            map.insert("dtype".into(), json!("float32"));
        });
        let to = again(from.path(), Dtype::F32.into());
        let text = |dir: &Path| fs::read_to_string(dir.join("config.json")).unwrap();
        assert_eq!(text(to.path()), text(from.path()), "{family}");

        let to = again(from.path(), Dtype::Bf16.into());
        let mut wanted = object(from.path());
        wanted.insert("dtype".into(), json!("bfloat16"));
        assert_eq!(object(to.path()), wanted, "{family}");

        // Nothing that is not used makes another model of it.
        let config = |dir: &Path| checkpoint::describe(dir).unwrap().config;
        assert_eq!(config(to.path()), config(&fixture(family)), "{family}");
    }
}

#[test]
fn the_format_is_written_under_the_names_that_stand_there() {
    for (said, wanted) in [
        (vec!["torch_dtype"], vec!["torch_dtype"]),
        (vec!["dtype"], vec!["dtype"]),
        (vec!["dtype", "torch_dtype"], vec!["dtype", "torch_dtype"]),
        (vec![], vec!["dtype", "torch_dtype"]),
    ] {
        let from = edited("qwen3", |map| {
            map.retain(|key, _| !key.ends_with("dtype"));
            map.extend(said.iter().map(|key| ((*key).to_owned(), json!("float32"))));
        });
        let map = object(again(from.path(), Dtype::F16.into()).path());
        let found: Vec<&str> = map
            .keys()
            .map(String::as_str)
            .filter(|key| key.ends_with("dtype"))
            .collect();
        assert_eq!(found, wanted);
        assert!(wanted.iter().all(|key| map[*key] == "float16"));
    }
}

#[test]
fn dropout_is_found_under_all_its_names() {
    let dir = edited("qwen3", |map| {
        for (key, rate) in [
            ("attention_dropout", json!(0.1)),
            ("resid_pdrop", json!(0.2)),
            ("embd_pdrop", json!(0.0)),
            ("hidden_dropout_prob", json!(1)),
            ("layerdrop", json!(0)),
            ("activation_dropout", Value::Null),
            ("classifier_dropout", json!(0.5)),
            ("drop_path_rate", json!(0.3)),
        ] {
            map.insert(key.into(), rate);
        }
    });
    let loaded = checkpoint::read(dir.path(), Dtype::F32, &device()).unwrap();
    let wanted = [
        "attention_dropout = 0.1",
        "resid_pdrop = 0.2",
        "hidden_dropout_prob = 1",
        "drop_path_rate = 0.3",
    ];
    assert_eq!(loaded.config_json.dropouts(), wanted);
}

#[test]
fn a_head_that_is_not_the_embedding_after_all_is_said_in_config_json() {
    let untied = edited("untied", |map| {
        map.insert("tie_word_embeddings".into(), json!(true));
    });
    let map = object(again(untied.path(), Dtype::F32.into()).path());
    assert_eq!(map["tie_word_embeddings"], false);
}

#[test]
fn the_format_of_a_checkpoint_is_that_of_most_of_its_numbers() {
    let dtype = |dir: &Path| checkpoint::describe(dir).unwrap().dtype();
    let plain = edited("qwen3", |_| ());
    assert_eq!(dtype(plain.path()), (Dtype::F32, None));
    let short = again(plain.path(), Dtype::Bf16.into());
    assert_eq!(dtype(short.path()), (Dtype::Bf16, None));
    // `config.json` of another opinion does not decide.
    let mut map = object(short.path());
    map.insert("torch_dtype".into(), json!("float16"));
    map.insert("dtype".into(), json!("float16"));
    fs::write(short.path().join("config.json"), Value::Object(map).to_string()).unwrap();
    let (found, doubt) = dtype(short.path());
    assert_eq!(found, Dtype::Bf16);
    assert_eq!(
        doubt.unwrap(),
        "config.json says float16, but the weights are in BF16"
    );
    // float64 is read and not written.
    let (found, doubt) = dtype(&fixture("lenient"));
    assert_eq!(found, Dtype::F32);
    assert!(doubt.unwrap().contains("numbers in F64"));
}

#[test]
fn weights_are_written_in_files_of_the_size_that_is_asked_for() {
    let plain = edited("qwen3", |_| ());
    let format = Format {
        dtype: Dtype::Bf16,
        max_shard_size: 10_000,
    };
    let to = again(plain.path(), format);
    let index: Value =
        serde_json::from_slice(&fs::read(to.path().join("model.safetensors.index.json")).unwrap()).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    let mut files: Vec<&str> = map.values().map(|file| file.as_str().unwrap()).collect();
    files.sort_unstable();
    files.dedup();
    assert!(files.len() > 1);
    for (at, file) in files.iter().enumerate() {
        assert_eq!(
            *file,
            format!("model-{:05}-of-{:05}.safetensors", at + 1, files.len())
        );
    }
    let all = checkpoint::describe(to.path()).unwrap();
    assert_eq!((all.files, all.tensors), (files.len(), map.len()));
    let one = again(to.path(), Dtype::Bf16.into());
    assert!(
        one.path().join("model.safetensors").exists()
            && !one.path().join("model.safetensors.index.json").exists()
    );
}
