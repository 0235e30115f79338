//! Checkpoints: what is written is what is read, and what does not fit is refused by name.

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Tensor;
use common::{config, device, distance, projection};
use gcpo_model::checkpoint::{self, Header, Loaded};
use gcpo_model::config::ModelConfig;
use gcpo_model::device::is_processor;
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;
use gcpo_model::inference::{self, Inference, Logits};
use gcpo_model::llama::Llama;
use gcpo_model::names::parameters;
use gcpo_model::tokens::{Padding, Tokens};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(family)
}

fn generation(model: &Llama) -> GenerationConfig {
    GenerationConfig::from_config(model.config())
}

fn hidden(model: &Llama) -> Tensor<3> {
    let tokens = Tokens::new(&[[5u32, 9, 3, 40], [7, 8, 9, 10]], Padding::Right, &device());
    model.forward(&tokens, None)
}

/// A copy of the qwen3 fixture whose tensors `change` may edit: name to (shape, bytes as f32).
fn edited(change: impl FnOnce(&mut HashMap<String, (Vec<usize>, Vec<u8>)>)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = fixture("qwen3");
    std::fs::copy(from.join("config.json"), dir.path().join("config.json")).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: HashMap<String, (Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, view)| (name.into(), (view.shape().into(), view.data().into())))
        .collect();
    change(&mut tensors);
    let views: Vec<(&String, TensorView)> = tensors
        .iter()
        .map(|(name, (shape, bytes))| {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name, view.unwrap())
        })
        .collect();
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    dir
}

fn error(dir: &Path) -> String {
    checkpoint::load(dir, Dtype::F32, &device())
        .unwrap_err()
        .to_string()
}

#[test]
fn what_is_saved_is_read_again_to_the_bit() {
    for family in [
        "llama",
        "llama3_tied",
        "qwen2",
        "qwen3",
        "mistral",
        "qwen2_window",
        "smollm3",
        "olmo2",
        "granite",
        "llama_yarn",
        "qwen2_dynamic",
        "phi3",
        "phi4_mini",
        "gemma",
        "gemma2",
        "gemma3",
        "qwen3_moe",
        "qwen3_moe_step",
    ] {
        let model = checkpoint::load(&fixture(family), Dtype::F32, &device()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        checkpoint::save(&model, &generation(&model), dir.path(), Dtype::F32).unwrap();
        // For `scripts/make_model_fixtures.py --read DIR`, in which transformers reads them.
        if let Some(kept) = std::env::var_os("GCPO_SAVED") {
            checkpoint::save(
                &model,
                &generation(&model),
                &Path::new(&kept).join(family),
                Dtype::F32,
            )
            .unwrap();
        }
        let again = checkpoint::load(dir.path(), Dtype::F32, &device()).unwrap();
        assert_eq!(again.config(), model.config());
        assert_eq!(distance(hidden(&model), hidden(&again)), 0.0, "{family}");
        let bytes = std::fs::read(dir.path().join("model.safetensors")).unwrap();
        let json = std::fs::read(dir.path().join("config.json")).unwrap();
        let embedded = checkpoint::read_bytes(&json, &bytes, Dtype::F32, &device())
            .unwrap()
            .model;
        assert_eq!(distance(hidden(&model), hidden(&embedded)), 0.0);
        // And the same bytes.
        checkpoint::save(&again, &generation(&again), dir.path(), Dtype::F32).unwrap();
        assert_eq!(
            bytes,
            std::fs::read(dir.path().join("model.safetensors")).unwrap()
        );
    }
}

#[test]
fn bf16_is_read_as_it_was_written() {
    let model = checkpoint::load(&fixture("qwen2"), Dtype::F32, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    checkpoint::save(&model, &generation(&model), dir.path(), Dtype::Bf16).unwrap();
    let again = checkpoint::load(dir.path(), Dtype::F32, &device()).unwrap();
    assert_eq!(distance(hidden(&model), hidden(&again)), 0.0);
    let f16 = tempfile::tempdir().unwrap();
    checkpoint::save(&model, &generation(&model), f16.path(), Dtype::F16).unwrap();
    let again = checkpoint::load(f16.path(), Dtype::F32, &device()).unwrap();
    assert!(distance(hidden(&model), hidden(&again)) < 1e-2);
}

#[test]
fn bfloat16_that_is_only_generated_from_is_read_in_it_and_gives_the_bits_of_f32() {
    for (family, expected) in [
        ("llama", Dtype::Bf16),
        ("gemma2", Dtype::Bf16),
        // Experts are run by tensor operations, which would compute in it.
        ("qwen3_moe", Dtype::F32),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let read_in = |dir: &Path, dtype| {
            let described = checkpoint::describe(dir).unwrap();
            inference::read_in(&described, dtype, &device())
        };
        assert_eq!(read_in(&fixture(family), Dtype::F32), Dtype::F32, "{family}");
        let model = checkpoint::load(&fixture(family), Dtype::F32, &device()).unwrap();
        checkpoint::save(&model, &generation(&model), dir.path(), Dtype::Bf16).unwrap();
        let expected = if is_processor(&device()) {
            expected
        } else {
            Dtype::F32
        };
        assert_eq!(read_in(dir.path(), Dtype::F32), expected, "{family}");
        assert_eq!(read_in(dir.path(), Dtype::F16), Dtype::F16, "{family}");
        let logits = |dtype| {
            let model = checkpoint::load(dir.path(), dtype, &device()).unwrap();
            let inference = Inference::of(model);
            inference.logits(inference.read(&[&[5, 9, 3], &[7, 8]]))
        };
        if let (Logits::Host(wide), Logits::Host(short)) = (logits(Dtype::F32), logits(expected)) {
            assert_eq!(wide, short, "{family}");
        }
    }
}

#[test]
fn shards_hold_what_one_file_holds() {
    let model = checkpoint::load(&fixture("llama"), Dtype::F32, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let generation = generation(&model);
    let config_json = &checkpoint::ConfigJson::default();
    let beside = checkpoint::Beside {
        config_json,
        generation: &generation,
    };
    let format = checkpoint::Format {
        dtype: Dtype::F32,
        max_shard_size: 20_000,
    };
    checkpoint::save_as(&model, beside, dir.path(), format).unwrap();
    assert!(!dir.path().join("model.safetensors").exists());
    assert!(dir.path().join("model-00003-of-00003.safetensors").exists());
    let again = checkpoint::load(dir.path(), Dtype::F32, &device()).unwrap();
    assert_eq!(distance(hidden(&model), hidden(&again)), 0.0);

    std::fs::copy(
        dir.path().join("model-00001-of-00003.safetensors"),
        dir.path().join("model-00002-of-00003.safetensors"),
    )
    .unwrap();
    let message = error(dir.path());
    assert!(
        message.contains("index.json") && message.contains("model-00002"),
        "{message}"
    );
    std::fs::remove_file(dir.path().join("model-00002-of-00003.safetensors")).unwrap();
    assert!(error(dir.path()).contains("model-00002-of-00003.safetensors"));
}

#[test]
fn a_missing_tensor_is_named() {
    let dir = edited(|tensors| {
        tensors.remove("model.layers.1.self_attn.k_norm.weight");
    });
    let message = error(dir.path());
    assert!(
        message.contains("model.layers.1.self_attn.k_norm.weight"),
        "{message}"
    );
    assert!(message.contains("model.safetensors lacks"), "{message}");
}

#[test]
fn an_extra_tensor_is_named() {
    let dir = edited(|tensors| {
        let bias = (vec![32], vec![0; 128]);
        tensors.insert("model.layers.0.self_attn.q_proj.bias".into(), bias);
    });
    let message = error(dir.path());
    assert!(
        message.contains("holds the tensor model.layers.0.self_attn.q_proj.bias"),
        "{message}"
    );
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let dir = edited(|tensors| {
        tensors
            .get_mut("model.layers.0.self_attn.q_proj.weight")
            .unwrap()
            .0 = vec![24, 32];
    });
    let message = error(dir.path());
    assert!(message.contains("q_proj.weight has shape [24, 32]"), "{message}");
    assert!(message.contains("[32, 24]"), "{message}");
}

/// A copy of the qwen3 fixture in which the head is said to be the embedding.
fn tied(change: impl FnOnce(&mut HashMap<String, (Vec<usize>, Vec<u8>)>)) -> tempfile::TempDir {
    let dir = edited(change);
    let path = dir.path().join("config.json");
    let json = std::fs::read_to_string(&path).unwrap();
    let json = json.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    std::fs::write(&path, json).unwrap();
    dir
}

fn read(dir: &Path) -> Loaded {
    checkpoint::read(dir, Dtype::F32, &device()).unwrap()
}

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

#[test]
fn a_head_beside_a_tied_embedding_counts_where_it_differs() {
    let differs = read(tied(|_| ()).path());
    assert_eq!(differs.warnings.len(), 1);
    assert!(differs.warnings[0].contains("model.safetensors: lm_head.weight differs"));
    let untied = checkpoint::load(&fixture("qwen3"), Dtype::F32, &device()).unwrap();
    assert_eq!(differs.model.config(), untied.config());
    let logits = |model: &Llama| model.lm_head(hidden(model));
    assert_eq!(distance(logits(&differs.model), logits(&untied)), 0.0);
    // What is saved says so, and is no contradiction any more.
    let dir = tempfile::tempdir().unwrap();
    checkpoint::save(&differs.model, &generation(&untied), dir.path(), Dtype::F32).unwrap();
    let again = read(dir.path());
    assert_eq!(distance(logits(&again.model), logits(&untied)), 0.0);
    assert!(again.warnings.is_empty() && !again.model.config().tie_word_embeddings);

    // One number is enough, and none is nothing to speak of.
    let mut equal = tied(|tensors| drop(tensors.insert(HEAD.into(), tensors[EMBEDDING].clone())));
    let loaded = read(equal.path());
    assert!(loaded.warnings.is_empty() && loaded.model.lm_head.is_none());
    equal = tied(|tensors| {
        let mut head = tensors[EMBEDDING].clone();
        let last = head.1.len() - 2;
        head.1[last] ^= 1;
        tensors.insert(HEAD.into(), head);
    });
    assert!(read(equal.path()).model.lm_head.is_some());
    // A head alone is both, too.
    let alone = read(
        tied(|tensors| {
            let embedding = tensors.remove(EMBEDDING).unwrap();
            tensors.insert(HEAD.into(), embedding);
        })
        .path(),
    );
    assert!(alone.warnings.is_empty() && alone.model.lm_head.is_none());
    assert_eq!(distance(hidden(&alone.model), hidden(&loaded.model)), 0.0);
    // And it must be one.
    let misshapen = tied(|tensors| tensors.get_mut(HEAD).unwrap().0 = vec![24, 64]);
    assert!(error(misshapen.path()).contains("lm_head.weight has shape [24, 64]"));
}

#[test]
fn rotary_buffers_are_looked_at() {
    let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    let with = |shape: Vec<usize>, values: Vec<f32>| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        read(edited(|tensors| drop(tensors.insert(name.into(), (shape, bytes)))).path())
    };
    let right: Vec<f32> = (0..4)
        .map(|i| 10_000f32.powf(-f32::from(i as u8) / 4.0))
        .collect();
    assert!(with(vec![4], right.clone()).warnings.is_empty());
    for (shape, values) in [
        (vec![4], vec![0.0; 4]),
        (vec![4], vec![f32::NAN; 4]),
        (vec![2], right[..2].to_vec()),
        (vec![4, 1], right.clone()),
    ] {
        let loaded = with(shape, values);
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].contains(name), "{}", loaded.warnings[0]);
        let plain = checkpoint::load(&fixture("qwen3"), Dtype::F32, &device()).unwrap();
        assert_eq!(distance(hidden(&loaded.model), hidden(&plain)), 0.0);
    }
}

#[test]
fn what_transformers_reads_is_read_without_a_word() {
    let lenient = read(&fixture("lenient"));
    assert_eq!(lenient.warnings, [""; 0]);
    assert_eq!(lenient.model.config().max_position_embeddings, 2048);
    let described = checkpoint::describe(&fixture("lenient")).unwrap();
    assert_eq!((described.files, described.tensors), (2, 13));
    let untied = checkpoint::describe(&fixture("untied")).unwrap();
    assert!(!untied.config.tie_word_embeddings && untied.warnings.len() == 1);
}

#[test]
fn headers_and_configs_of_any_bytes_are_errors_and_no_more() {
    let whole = std::fs::read(fixture("untied").join("model.safetensors")).unwrap();
    assert_eq!(Header::parse(&whole).unwrap().tensors.len(), 15);
    let json = std::fs::read(fixture("lenient").join("config.json")).unwrap();
    // A generator of numbers (Marsaglia, 2003), so that a failure repeats.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..3000 {
        let (mut header, mut config) = (whole.clone(), json.clone());
        for _ in 0..1 + random(3) {
            let at = random(1600);
            header[at] = random(256) as u8;
            let at = random(config.len());
            config[at] = b"0123456789\"{}[],:-.enu"[random(22)];
        }
        let _ = Header::parse(&header);
        let _ = Header::parse(&header[..random(header.len())]);
        let _ = ModelConfig::from_json(&config, Path::new("c"));
        let _ = checkpoint::read_bytes(&config, &header, Dtype::F32, &device());
    }
}

#[test]
fn damaged_and_absent_files_are_named() {
    let dir = edited(|_| ());
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    assert!(error(dir.path()).contains("not a whole safetensors file"));
    std::fs::remove_file(&path).unwrap();
    assert!(error(dir.path()).contains("model.safetensors.index.json"));
    assert!(error(Path::new("/nowhere")).contains("/nowhere/config.json"));
}

#[test]
fn a_model_learns_wherever_it_came_from() {
    let loaded = checkpoint::load(&fixture("qwen3"), Dtype::F32, &device()).unwrap();
    assert!(!loaded.device().is_autodiff());
    for model in [loaded.train(), Llama::init(&config(""), 1, &device().autodiff())] {
        assert!(model.device().is_autodiff());
        let grads = hidden(&model).sum().backward();
        let up = projection(&model, "model.layers.0.mlp.up_proj");
        assert!(up.weight.val().grad(&grads).is_some());
        assert!(!model.valid().device().is_autodiff());
        // Not to the bit: softmax is one operation without autodiff and five with it.
        assert!(distance(hidden(&model).inner(), hidden(&model.valid())) < 1e-5);
    }
}

#[test]
fn a_seed_is_a_model() {
    let (a, b, c) = (
        Llama::init(&config(""), 1, &device()),
        Llama::init(&config(""), 1, &device()),
        Llama::init(&config(""), 2, &device()),
    );
    assert_eq!(distance(hidden(&a), hidden(&b)), 0.0);
    assert!(distance(hidden(&a), hidden(&c)) > 0.1);
    assert_eq!(parameters(&a)[0].name, "model.embed_tokens.weight");
    let spread = projection(&a, "model.layers.0.mlp.up_proj").weight.val();
    let std = spread.var(0).mean().sqrt().into_scalar::<f32>();
    assert!((std - 0.3).abs() < 0.03, "{std}");
}

#[test]
fn every_end_token_of_the_generation_config_counts() {
    let config = ModelConfig::load(&fixture("qwen3")).unwrap();
    let path = Path::new("generation_config.json");
    let read = |json: &str| GenerationConfig::from_json(json.as_bytes(), path, &config);
    let list = read(r#"{"eos_token_id": [2, 7], "temperature": 0.6}"#).unwrap();
    assert_eq!(list.eos_token_id, [2, 7]);
    assert_eq!(list.pad_token_id, Some(0));
    // What is not understood is kept.
    let again = read(&list.to_json()).unwrap();
    assert!(again.to_json().contains("0.6"));
    assert_eq!(again.eos_token_id, [2, 7]);
    assert_eq!(read("{}").unwrap().eos_token_id, config.eos_token_id);
    let absent = GenerationConfig::load(Path::new("/nowhere"), &config).unwrap();
    assert_eq!(absent.eos_token_id, [2]);
    let message = read(r#"{"eos_token_id": [2, 640]}"#).unwrap_err().to_string();
    assert!(
        message.contains("generation_config.json: `eos_token_id` holds 640"),
        "{message}"
    );
}
