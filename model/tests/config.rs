//! `config.json`: both layouts of RoPE, and what is refused.

mod common;

use std::path::Path;

use common::config;
use gcpo_model::config::{ModelConfig, ModelType, RopeScaling};
use gcpo_model::rope::inverse_frequencies;

fn read(json: &str) -> Result<ModelConfig, String> {
    ModelConfig::from_json(json.as_bytes(), Path::new("dir/config.json")).map_err(|error| error.to_string())
}

fn with(model_type: &str, extra: &str) -> String {
    format!(
        r#"{{"model_type": "{model_type}", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512{extra}}}"#
    )
}

#[test]
fn families_differ_in_biases_norms_and_heads() {
    let llama = read(&with("llama", r#", "attention_bias": true"#)).unwrap();
    assert_eq!((llama.head_dim, llama.groups()), (8, 2));
    assert!(llama.has_qkv_bias() && llama.has_o_bias() && !llama.has_qk_norm());
    let qwen2 = read(&with("qwen2", "")).unwrap();
    assert!(qwen2.has_qkv_bias() && !qwen2.has_o_bias());
    let qwen3 = read(&with("qwen3", "")).unwrap();
    assert_eq!((qwen3.head_dim, qwen3.has_qk_norm()), (128, true));
    assert!(!qwen3.has_qkv_bias());
}

#[test]
fn rope_is_read_in_both_layouts() {
    let scaling = r#"{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": 64"#;
    let new = read(&with(
        "llama",
        &format!(r#", "rope_parameters": {scaling}, "rope_theta": 5e5}}"#),
    ));
    let old = read(&with(
        "llama",
        &format!(r#", "rope_theta": 5e5, "rope_scaling": {scaling}}}"#),
    ));
    assert_eq!(new, old);
    let config = new.unwrap();
    assert_eq!(config.rope_theta, 5e5);
    assert!(matches!(
        config.rope_scaling,
        RopeScaling::Llama3 {
            original_max_position_embeddings: 64,
            ..
        }
    ));
    let linear = read(&with(
        "qwen2",
        r#", "rope_scaling": {"type": "linear", "factor": 4}"#,
    ))
    .unwrap();
    assert_eq!(linear.rope_scaling, RopeScaling::Linear { factor: 4.0 });
    let plain = inverse_frequencies(&read(&with("qwen2", "")).unwrap());
    for (a, b) in inverse_frequencies(&linear).iter().zip(plain) {
        assert_eq!(*a, b / 4.0);
    }
}

#[test]
fn what_is_written_is_read_again() {
    for json in [
        with("qwen2", r#", "eos_token_id": [3, 4], "bos_token_id": null"#),
        with(
            "qwen3",
            r#", "head_dim": 16, "tie_word_embeddings": true, "eos_token_id": 5"#,
        ),
        with(
            "llama",
            r#", "mlp_bias": true, "rope_scaling": {"type": "linear", "factor": 4}"#,
        ),
    ] {
        let config = read(&json).unwrap();
        assert_eq!(read(&config.to_json("float32")).unwrap(), config);
        // And through serde, as part of something larger.
        let value = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<ModelConfig>(value).unwrap(), config);
    }
    assert_eq!(config("").model_type, ModelType::Llama);
}

#[test]
fn errors_name_file_and_field_and_say_what_to_do() {
    for (json, field, hint) in [
        (with("mistral", ""), "`model_type`", "qwen3"),
        (
            with("llama", r#", "num_key_value_heads": 3"#),
            "`num_key_value_heads`",
            "does not divide",
        ),
        (
            with("llama", r#", "hidden_size": 33"#),
            "`hidden_size`",
            "write head_dim",
        ),
        (with("llama", r#", "head_dim": 7"#), "`head_dim`", "even"),
        (
            with("llama", r#", "vocab_size": 0"#),
            "`vocab_size`",
            "at least 1",
        ),
        (
            with("llama", r#", "vocab_size": "many""#),
            "`vocab_size`",
            "whole number",
        ),
        (with("llama", r#", "hidden_act": "gelu""#), "`hidden_act`", "silu"),
        (with("llama", r#", "rms_norm_eps": 0"#), "`rms_norm_eps`", "> 0"),
        (
            with("llama", r#", "eos_token_id": 61"#),
            "`eos_token_id`",
            "beyond vocab_size",
        ),
        (
            with("llama", r#", "eos_token_id": "x""#),
            "`eos_token_id`",
            "whole numbers",
        ),
        (
            with("llama", r#", "rope_scaling": {"rope_type": "yarn", "factor": 4}"#),
            "`rope_scaling.rope_type`",
            "yarn",
        ),
        (
            with("llama", r#", "rope_scaling": {"rope_type": "linear"}"#),
            "`rope_scaling.factor`",
            "missing",
        ),
        (
            with("llama", r#", "partial_rotary_factor": 0.5"#),
            "`partial_rotary_factor`",
            "0.5",
        ),
        (
            with("llama", r#", "num_local_experts": 8"#),
            "`num_local_experts`",
            "experts",
        ),
        (
            with("qwen2", r#", "use_sliding_window": true, "sliding_window": 64"#),
            "`use_sliding_window`",
            "not supported",
        ),
        (
            with("qwen2", r#", "layer_types": ["sliding_attention"]"#),
            "`layer_types`",
            "full_attention",
        ),
        (
            with("qwen3", r#", "quantization_config": {"bits": 4}"#),
            "`quantization_config`",
            "unquantised",
        ),
    ] {
        let message = read(&json).unwrap_err();
        assert!(message.starts_with("dir/config.json: "), "{message}");
        assert!(message.contains(field) && message.contains(hint), "{message}");
    }
    let missing = read(r#"{"model_type": "llama"}"#).unwrap_err();
    assert!(missing.contains("is missing"), "{missing}");
    assert!(read("{").unwrap_err().contains("line 1"));
}
