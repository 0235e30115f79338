//! What the tests share.
#![allow(dead_code)]

use std::path::Path;

use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use gcpo_model::config::ModelConfig;
use gcpo_model::llama::Llama;
use serde_json::{Value, json};

/// The device that every test runs on.
pub fn device() -> Device {
    gcpo_model::device::of_tests()
}

/// A small model's shape: grouped queries, `extra` fields added.
pub fn config(extra: &str) -> ModelConfig {
    family("llama", extra)
}

/// [`config`] of a family.
pub fn family(model_type: &str, extra: &str) -> ModelConfig {
    let json = format!(
        r#"{{"model_type": "{model_type}", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512, "initializer_range": 0.3{extra}}}"#
    );
    ModelConfig::from_json(json.as_bytes(), Path::new("config.json")).unwrap()
}

/// A small model's shape of each family whose decoder has parts of its own, Llama's first. Windows are short.
pub fn families() -> Vec<ModelConfig> {
    let window = r#", "use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1"#;
    vec![
        config(""),
        family("qwen2", window),
        family("mistral", r#", "sliding_window": 6"#),
        family("smollm3", r#", "no_rope_layer_interval": 2"#),
        family("olmo2", ""),
        family(
            "granite",
            r#", "residual_multiplier": 0.4, "attention_multiplier": 0.3, "embedding_multiplier": 3, "logits_scaling": 2"#,
        ),
        family("phi3", r#", "partial_rotary_factor": 0.5, "sliding_window": 6"#),
        family("gemma", r#", "head_dim": 8"#),
        family(
            "gemma2",
            r#", "head_dim": 8, "sliding_window": 5, "attn_logit_softcapping": 2, "final_logit_softcapping": 3"#,
        ),
        family(
            "gemma3_text",
            r#", "head_dim": 8, "sliding_window": 5, "sliding_window_pattern": 2, "query_pre_attn_scalar": 12"#,
        ),
        family(
            "qwen3_moe",
            r#", "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [1]"#,
        ),
    ]
}

/// Reads the text of a `config.json`; errors as they are shown.
pub fn read(json: &str) -> Result<ModelConfig, String> {
    ModelConfig::from_json(json.as_bytes(), Path::new("dir/config.json")).map_err(|error| error.to_string())
}

/// A small `config.json` with some fields added or replaced.
pub fn with(model_type: &str, fields: &str) -> String {
    let mut config = json!({
        "model_type": model_type, "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512
    });
    let fields: Value = serde_json::from_str(&format!("{{{}}}", fields.trim_start_matches(','))).unwrap();
    for (field, value) in fields.as_object().unwrap() {
        config[field] = value.clone();
    }
    config.to_string()
}

/// [`with`] nothing more, read.
pub fn config_of(family: &str) -> ModelConfig {
    read(&with(family, "")).unwrap()
}

/// The linear layer at a path.
pub fn projection<'a>(model: &'a Llama, path: &str) -> &'a Linear {
    let mut all = model.projections().into_iter();
    all.find(|(at, _)| at == path).unwrap().1
}

/// Largest absolute difference.
pub fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b).abs().max().into_scalar::<f32>()
}
