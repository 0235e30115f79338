//! What a run writes is what programs that serve models read: the base model's format and keys, and no file too many.

mod program;

use std::fs;
use std::path::Path;

use gcpo_model::checkpoint;
use gcpo_model::dtype::Dtype;
use program::{files, gcpo, json, success, temp};
use serde_json::{Value, json as js};

const RUN: &str = r#"
    [model]
    path = "base"
    [data]
    generator = "arithmetic"
    count = 8
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 8
    [objective]
    name = "grpo"
    [train]
    max_steps = 2
    prompts_per_step = 2
    learning_rate = 1e-4
    lr_scheduler_type = "constant"
    [checkpoint]
    every = 1
"#;

/// A base model in bfloat16, of whose `config.json` most keys mean nothing here.
fn base(dir: &Path) {
    program::checkpoint(&dir.join("base"));
    let path = dir.join("base/config.json");
    let mut config = object(&path);
    config.insert(
        "auto_map".into(),
        js!({"AutoConfig": "a.B", "list": [1, {"b": null}]}),
    );
    config.insert("transformers_version".into(), js!("4.51.0"));
    config.insert("use_cache".into(), js!(true));
    config.insert("attention_dropout".into(), js!(0.1));
    config.insert("architectures".into(), js!(["LlamaForCausalLM", "Other"]));
    fs::write(&path, Value::Object(config).to_string()).unwrap();
    let quick = gcpo::config::Draft::new("test").finish().unwrap().prompts();
    let device = gcpo_model::device::of_tests();
    let policy = gcpo::policy::Policy::load(&dir.join("base"), &quick, Dtype::F32, &device).unwrap();
    policy.save(&dir.join("base"), Dtype::Bf16).unwrap();
    fs::write(dir.join("run.toml"), RUN).unwrap();
}

fn object(path: &Path) -> serde_json::Map<String, Value> {
    let value: Value = json(&fs::read_to_string(path).unwrap());
    value.as_object().unwrap().clone()
}

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "run.toml", "--device", "cpu"], more].concat()
}

fn dtypes(dir: &Path) -> Vec<String> {
    checkpoint::describe(dir).unwrap().numbers.into_keys().collect()
}

#[test]
fn a_checkpoint_has_the_format_and_the_keys_of_its_base_model_and_resumes_to_the_bit() {
    let dir = temp();
    let dir = dir.path();
    base(dir);
    let (_, stderr) = success(dir, &train(&["--run-dir", "whole"]));
    assert_eq!(
        stderr
            .matches("attention_dropout = 0.1: dropout is not computed")
            .count(),
        1,
        "{stderr}"
    );
    let last = dir.join("whole/checkpoints/step-2");
    assert_eq!(dtypes(&last), ["BF16"]);
    assert_eq!(dtypes(&last.join("trainer")), ["F32"]);
    assert_eq!(
        object(&last.join("config.json")),
        object(&dir.join("base/config.json"))
    );
    let text = fs::read_to_string(dir.join("whole/config.toml")).unwrap();
    assert!(text.contains("save_dtype = \"bfloat16\""), "{text}");

    // It goes on without its base, which is gone.
    success(dir, &train(&["--run-dir", "parts", "--set", "train.max_steps=1"]));
    fs::rename(dir.join("base"), dir.join("moved")).unwrap();
    success(dir, &train(&["--resume", "parts"]));
    let weights = |run: &str| {
        let mut files = files(&dir.join(run).join("checkpoints/step-2"));
        // How far the logs go is in there, with their seconds.
        files.retain(|name, _| !name.ends_with("state.json") && !name.ends_with("SHA256SUMS"));
        files
    };
    assert!(weights("whole") == weights("parts"));
    fs::rename(dir.join("moved"), dir.join("base")).unwrap();

    // What is said goes before what came.
    success(
        dir,
        &train(&["--run-dir", "said", "--set", "model.save_dtype=float16"]),
    );
    let said = dir.join("said/checkpoints/step-2");
    assert_eq!(dtypes(&said), ["F16"]);
    assert_eq!(object(&said.join("config.json"))["torch_dtype"], "float16");
}

#[test]
fn at_the_root_of_a_checkpoint_are_the_files_of_a_model_only() {
    let dir = temp();
    let dir = dir.path();
    base(dir);
    let names = |path: &str| {
        let entries = fs::read_dir(dir.join(path)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let usual = gcpo::config::Config::default().format();
    assert_eq!(usual.max_shard_size, checkpoint::MAX_SHARD_SIZE);
    let shards = [
        "--run-dir",
        "run",
        "--set",
        "checkpoint.max_shard_size=6KB",
        "--set",
        "train.max_steps=1",
    ];
    success(dir, &train(&shards));
    let found = names("run/checkpoints/step-1");
    let (weights, others): (Vec<String>, Vec<String>) =
        found.into_iter().partition(|name| name.ends_with(".safetensors"));
    let wanted = [
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "trainer",
    ];
    assert_eq!(others, wanted);
    // Each file of weights is one that the index names, and the other way round.
    let index = object(&dir.join("run/checkpoints/step-1/model.safetensors.index.json"));
    let mut named: Vec<&str> = index["weight_map"]
        .as_object()
        .unwrap()
        .values()
        .map(|file| file.as_str().unwrap())
        .collect();
    named.sort_unstable();
    named.dedup();
    assert!(named.len() > 1);
    assert_eq!(weights, named);

    let lora = [
        "--run-dir",
        "lora",
        "--set",
        "model.lora.r=2",
        "--set",
        "train.max_steps=1",
    ];
    success(dir, &train(&lora));
    let wanted = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "trainer",
    ];
    assert_eq!(names("lora/checkpoints/step-1"), wanted);
    assert_eq!(
        names("lora/checkpoints/step-1/trainer"),
        ["SHA256SUMS", "optimizer.safetensors", "state.json"]
    );

    let adapter = "lora/checkpoints/step-1";
    let merge = [
        "merge",
        "--model",
        "base",
        "--adapter",
        adapter,
        "--out",
        "merged",
    ];
    let (said, _) = success(dir, &merge);
    assert!(said.contains("in bfloat16"), "{said}");
    assert_eq!(dtypes(&dir.join("merged")), ["BF16"]);
    assert_eq!(
        object(&dir.join("merged/config.json")),
        object(&dir.join("base/config.json"))
    );
    success(
        dir,
        &[&merge[..6], &["shards", "--max-shard-size", "6KB"]].concat(),
    );
    assert!(names("shards").contains(&"model.safetensors.index.json".to_owned()));
    let zero = gcpo(dir, &[&merge[..6], &["zero", "--max-shard-size", "0"]].concat());
    assert!(
        String::from_utf8(zero.stderr)
            .unwrap()
            .contains("give a size above 0")
    );
}

#[test]
fn formats_that_are_mixed_are_said() {
    let dir = temp();
    let dir = dir.path();
    base(dir);
    // The norms in float32, all else in bfloat16, as some write it.
    let path = dir.join("base/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, view)| {
            let data = view.data();
            let wide = || {
                data.as_chunks()
                    .0
                    .iter()
                    .flat_map(|&[low, high]| [0, 0, low, high])
                    .collect()
            };
            match name.contains("norm") {
                true => (
                    name.to_owned(),
                    safetensors::Dtype::F32,
                    view.shape().to_vec(),
                    wide(),
                ),
                false => (
                    name.to_owned(),
                    view.dtype(),
                    view.shape().to_vec(),
                    data.to_vec(),
                ),
            }
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (
            name,
            safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    let (_, stderr) = success(dir, &train(&["--run-dir", "run", "--set", "train.max_steps=1"]));
    assert!(
        stderr.contains("numbers in BF16") && stderr.contains("what is saved is in bfloat16"),
        "{stderr}"
    );
    assert_eq!(dtypes(&dir.join("run/checkpoints/step-1")), ["BF16"]);
    let (stdout, _) = success(dir, &["inspect", "base"]);
    assert!(stdout.contains("saved again in bfloat16"), "{stdout}");
}
