//! `config.json`: both layouts of RoPE, and what is refused.

mod common;

use common::{config, read, with};
use gcpo_model::config::{ModelConfig, ModelType, RopeScaling};
use gcpo_model::rope::inverse_frequencies;

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
fn two_spellings_of_one_setting_may_not_differ() {
    let linear = |factor: u32| format!(r#"{{"rope_type": "linear", "factor": {factor}, "rope_theta": 500}}"#);
    let llama3 = |more: &str| {
        format!(
            r#"{{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4{more}}}"#
        )
    };
    let original = r#", "original_max_position_embeddings": 64"#;
    for fine in [
        format!(r#", "rope_parameters": {0}, "rope_scaling": {0}"#, linear(4)),
        format!(r#", "rope_parameters": {}, "rope_theta": 500.0"#, linear(4)),
        format!(
            r#", "rope_parameters": {}, "rope_scaling": null, "rope_theta": null"#,
            linear(4)
        ),
        format!(r#", "rope_parameters": {}, "rope_scaling": {{}}"#, linear(4)),
        r#", "rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 4}"#.into(),
        format!(r#", "rope_scaling": {}{original}"#, llama3("")),
        format!(r#", "rope_scaling": {}{original}"#, llama3(original)),
        // Neither is read: weights say their format themselves.
        r#", "dtype": "float32", "torch_dtype": "bfloat16""#.into(),
    ] {
        read(&with("llama", &fine)).unwrap();
    }
    for (pair, one, other) in [
        (
            format!(r#", "rope_parameters": {}, "rope_scaling": {}"#, linear(4), linear(2)),
            "`rope_scaling`",
            "`rope_parameters`",
        ),
        (
            format!(r#", "rope_parameters": {}, "rope_theta": 1e6"#, linear(4)),
            "`rope_parameters.rope_theta` is 500",
            "`rope_theta` is 1000000",
        ),
        (
            // transformers takes the base from beside `rope_scaling`: 10,000 here.
            r#", "rope_parameters": {"rope_theta": 500}, "rope_scaling": {"rope_type": "default"}"#.into(),
            "base 10000",
            "base 500",
        ),
        (
            r#", "rope_parameters": {"rope_theta": 500}, "rope_scaling": {"rope_type": "ntk", "factor": 4}"#.into(),
            "`rope_scaling.rope_type`",
            "ntk",
        ),
        (
            r#", "rope_parameters": {"rope_type": "ntk", "factor": 4}, "rope_scaling": {"rope_type": "default"}"#.into(),
            "`rope_parameters.rope_type`",
            "ntk",
        ),
        (
            r#", "rope_scaling": {"rope_type": "linear", "type": "llama3", "factor": 4}"#.into(),
            "`rope_scaling.rope_type` is linear",
            "`rope_scaling.type` is llama3",
        ),
        (
            r#", "rope_scaling": {"type": "ntk", "factor": 4}"#.into(),
            "`rope_scaling.rope_type`",
            "ntk",
        ),
        (
            format!(r#", "rope_scaling": {}, "original_max_position_embeddings": 128"#, llama3(original)),
            "`rope_scaling.original_max_position_embeddings` is 64",
            "`original_max_position_embeddings` is 128",
        ),
        (
            format!(r#", "rope_scaling": {}"#, llama3("")),
            "`rope_scaling.original_max_position_embeddings`",
            "is missing",
        ),
        (
            r#", "rope_scaling": {"factor": 4}"#.into(),
            "`rope_scaling.factor`",
            "rope_type",
        ),
        (
            r#", "rope_parameters": {"full_attention": {"rope_theta": 500}}"#.into(),
            "`rope_parameters.full_attention`",
            "between layers",
        ),
    ] {
        let message = read(&with("llama", &pair)).unwrap_err();
        assert!(message.contains(one) && message.contains(other), "{pair}: {message}");
    }
    let twice = with("llama", "").replacen('{', r#"{"vocab_size": 62, "#, 1);
    assert!(
        read(&twice)
            .unwrap_err()
            .contains("`vocab_size` stands here twice")
    );
}

#[test]
fn what_is_left_out_is_what_transformers_fills_in() {
    let without = |family, field: &str| with(family, "").replace(field, r#""x""#);
    for (family, positions) in [("llama", 2048), ("qwen2", 32_768), ("qwen3", 32_768)] {
        let config = read(&without(family, r#""max_position_embeddings""#)).unwrap();
        assert_eq!(config.max_position_embeddings, positions);
        let null = with(family, "").replace(r#""num_key_value_heads":2"#, r#""num_key_value_heads":null"#);
        assert_eq!(read(&null).unwrap().num_key_value_heads, 4);
    }
    // Windows that no layer looks through.
    for unused in [
        r#", "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 1"#,
        r#", "sliding_window": 64"#,
        r#", "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 2"#,
        r#", "use_sliding_window": true, "sliding_window": null, "max_window_layers": 0"#,
        r#", "use_sliding_window": true, "max_window_layers": 0, "layer_types": ["full_attention", "full_attention"]"#,
    ] {
        read(&with("qwen2", unused)).unwrap();
    }
    for wrong in [
        r#", "use_sliding_window": true, "max_window_layers": "x""#,
        r#", "layer_types": ["full_attention"]"#,
        r#", "layer_types": {}"#,
        r#", "layer_types": ["full_attention", "sliding_attention"]"#,
        r#", "layer_types": ["full_attention", "chunked_attention"]"#,
    ] {
        read(&with("qwen3", wrong)).unwrap_err();
    }
}

#[test]
fn sizes_that_cannot_be_counted_are_refused() {
    let most = u64::MAX.to_string();
    for field in [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
    ] {
        for value in [
            "0",
            "-1",
            "1.5",
            "null",
            "\"8\"",
            "1e300",
            "18446744073709551616",
            most.as_str(),
            "2147483648",
        ] {
            let json = with("llama", &format!(r#""head_dim": 8, "{field}": {value}"#));
            let message = read(&json).unwrap_err();
            assert!(
                message.contains(&format!("`{field}`")),
                "{field} {value}: {message}"
            );
        }
    }
    let big = |sizes: [u64; 5]| {
        let [d, f, layers, heads, vocab] = sizes;
        read(&format!(
            r#"{{"model_type": "llama", "vocab_size": {vocab}, "hidden_size": {d}, "intermediate_size": {f},
                "num_hidden_layers": {layers}, "num_attention_heads": {heads}, "head_dim": 2}}"#
        ))
    };
    let most = 2_147_483_646;
    assert!(
        big([most, most, 10_000, most, most])
            .unwrap_err()
            .contains("parameters")
    );
    assert!(
        big([2, 2, 10_000_000, 1, 2])
            .unwrap_err()
            .contains("`num_hidden_layers` is 10000000")
    );
    assert!(big([2, 2, 10_000, 1, 2]).is_ok());
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
        (with("mamba", ""), "`model_type`", "qwen3, mistral"),
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
            with("llama", r#", "rms_norm_eps": -1e-6"#),
            "`rms_norm_eps`",
            "> 0",
        ),
        (
            with("llama", r#", "rms_norm_eps": 1e-60"#),
            "`rms_norm_eps`",
            "32 bits",
        ),
        (
            with("llama", r#", "rms_norm_eps": null"#),
            "`rms_norm_eps`",
            "null",
        ),
        (
            with("llama", r#", "rope_theta": 1e39"#),
            "`rope_theta`",
            "32 bits",
        ),
        (with("llama", r#", "rope_theta": null"#), "`rope_theta`", "null"),
        (with("qwen3", r#", "head_dim": null"#), "`head_dim`", "null"),
        (
            with("llama", r#", "initializer_range": 0"#),
            "`initializer_range`",
            "> 0",
        ),
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
            with("llama", r#", "rope_scaling": {"rope_type": "ntk", "factor": 4}"#),
            "`rope_scaling.rope_type`",
            "yarn and longrope",
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
            with(
                "qwen3_moe",
                r#", "num_experts_per_tok": 2, "moe_intermediate_size": 8"#,
            ),
            "`num_experts`",
            "is missing",
        ),
        (
            with(
                "qwen3_moe",
                r#", "num_experts": 4, "num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 8"#,
            ),
            "`num_local_experts`",
            "is 8",
        ),
        (
            with(
                "qwen3_moe",
                r#", "num_experts": 4, "num_experts_per_tok": 5, "moe_intermediate_size": 8"#,
            ),
            "`num_experts_per_tok`",
            "there are 4",
        ),
        (
            with(
                "qwen3_moe",
                r#", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "mlp_only_layers": [-1]"#,
            ),
            "`mlp_only_layers`",
            "list of layers",
        ),
        (
            with("llama", r#", "num_local_experts": 8"#),
            "`num_local_experts`",
            "experts",
        ),
        (
            with("llama", r#", "sliding_window": 64"#),
            "`sliding_window`",
            "no windows",
        ),
        (
            with(
                "qwen2",
                r#", "layer_types": ["sliding_attention", "full_attention"]"#,
            ),
            "`layer_types`",
            "mend one of them",
        ),
        (
            with(
                "mistral",
                r#", "layer_types": ["sliding_attention", "full_attention"]"#,
            ),
            "`layer_types`",
            "of layer 1",
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
