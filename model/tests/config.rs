//! `config.json`: both layouts of RoPE, and what is refused.

mod common;

use std::path::Path;

use common::config;
use gcpo_model::config::{ModelConfig, ModelType, RopeScaling};
use gcpo_model::rope::inverse_frequencies;
use serde_json::{Value, json};

fn read(json: &str) -> Result<ModelConfig, String> {
    ModelConfig::from_json(json.as_bytes(), Path::new("dir/config.json")).map_err(|error| error.to_string())
}

/// A small `config.json` with some fields added or replaced.
fn with(model_type: &str, fields: &str) -> String {
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

fn config_of(family: &str) -> ModelConfig {
    read(&with(family, "")).unwrap()
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

/// Frequencies and attention's factor that transformers 5.23 works out (`ROPE_INIT_FUNCTIONS`) for a base of 10000, heads of 16
/// and 512 positions.
#[test]
fn stretched_frequencies_are_those_of_transformers() {
    let short = "[1, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 2]";
    let longrope = |more: &str| {
        format!(r#""longrope", "short_factor": {short}, "long_factor": [2, 2, 2, 2, 2, 2, 2, 2]{more}"#)
    };
    let of_longrope = [
        1.0,
        3.162278e-1,
        9.090909e-2,
        2.635231e-2,
        7.692308e-3,
        2.258770e-3,
        6.666667e-4,
        1.581139e-4,
    ];
    for (scaling, expected, factor) in [
        (
            r#""yarn", "factor": 4, "original_max_position_embeddings": 128"#.into(),
            [1.0, 2.371708e-1, 5e-2, 7.905695e-3, 2.5e-3, 7.905695e-4, 2.5e-4, 7.905695e-5],
            1.138629436111989,
        ),
        (
            r#""yarn", "factor": 40, "mscale": 1, "mscale_all_dim": 0.707, "beta_fast": 16, "beta_slow": 2, "truncate": false"#
                .into(),
            [1.0, 3.162278e-1, 6.836372e-2, 4.548109e-3, 2.5e-4, 7.905695e-5, 2.5e-5, 7.905694e-6],
            1.0857263992561355,
        ),
        (
            r#""yarn", "factor": 4, "attention_factor": 1.5"#.into(),
            [1.0, 2.569351e-1, 6.25e-2, 1.383497e-2, 2.5e-3, 7.905695e-4, 2.5e-4, 7.905695e-5],
            1.5,
        ),
        (
            longrope(r#", "factor": 4, "original_max_position_embeddings": 128"#),
            of_longrope,
            1.1338934190276817,
        ),
        (
            longrope(r#", "original_max_position_embeddings": 64"#),
            of_longrope,
            1.224744871391589,
        ),
    ] {
        let json = format!(r#", "head_dim": 16, "rope_scaling": {{"rope_type": {scaling}}}"#);
        let config = read(&with("llama", &json)).unwrap();
        assert_eq!(read(&config.to_json("float32")).unwrap(), config);
        for (got, expected) in inverse_frequencies(&config).into_iter().zip(expected) {
            assert!((got / expected - 1.0).abs() < 1e-6, "{scaling}: {got} {expected}");
        }
        assert!((config.attention_factor() - factor).abs() < 1e-12, "{scaling}");
        assert!(!config.is_plain_llama());
    }
}

#[test]
fn a_text_that_would_turn_otherwise_in_transformers_is_too_long() {
    let phi = |more: &str| {
        let json = r#", "rope_scaling": {"type": "longrope", "short_factor": [1, 2, 3, 4], "long_factor": [1, 2, 3, 4]}"#;
        read(&with("phi3", &format!("{json}{more}")))
    };
    let config = phi(r#", "original_max_position_embeddings": 64"#).unwrap();
    assert_eq!((config.positions(), config.max_position_embeddings), (64, 512));
    // transformers' class says 4096 where the file does not.
    assert_eq!(phi("").unwrap().positions(), 512);
    for (wrong, key, hint) in [
        (r#", "partial_rotary_factor": 0.5"#, "short_factor", "2 pairs"),
        (
            r#", "partial_rotary_factor": 0.1"#,
            "partial_rotary_factor",
            "even",
        ),
        (
            r#", "rope_parameters": {"type": "linear", "factor": 2}"#,
            "rope_type",
            "default and longrope",
        ),
        (
            r#", "rope_parameters": {"type": "longrope", "long_factor": [1]}"#,
            "short_factor",
            "missing",
        ),
        (
            r#", "rope_parameters": {"type": "longrope", "short_factor": [0], "long_factor": [1]}"#,
            "short_factor",
            "above 0",
        ),
    ] {
        let message = phi(wrong).unwrap_err();
        assert!(message.contains(key) && message.contains(hint), "{message}");
    }
    let dynamic = r#", "rope_scaling": {"rope_type": "dynamic", "factor": 4}"#;
    let dynamic = read(&with("llama", dynamic)).unwrap();
    assert_eq!(dynamic.positions(), 512);
    assert!(dynamic.is_plain_llama());
    assert_eq!(
        inverse_frequencies(&dynamic),
        inverse_frequencies(&config_of("llama"))
    );
}

#[test]
fn gemma_3_turns_by_two_bases() {
    let old = r#", "head_dim": 8, "rope_theta": 5e5, "rope_local_base_freq": 5e3, "rope_scaling": {"factor": 8, "rope_type": "linear"}"#;
    let new = r#", "head_dim": 8, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 5e5},
        "sliding_attention": {"rope_theta": 5e3}}"#;
    let (old, new) = (read(&with("gemma3_text", old)), read(&with("gemma3_text", new)));
    let config = old.unwrap();
    assert_eq!(Ok(config.clone()), new);
    assert_eq!(read(&config.to_json("float32")).unwrap(), config);
    assert_eq!((config.rope_theta, config.rope_local_base_freq), (5e5, Some(5e3)));
    let default = config_of("gemma3_text");
    assert_eq!(
        (default.rope_theta, default.rope_local_base_freq),
        (1e6, Some(1e4))
    );
    let seven = read(&with("gemma3_text", r#", "num_hidden_layers": 7"#)).unwrap();
    let windows = [4, 5, 6].map(|layer| seven.layers.window(layer));
    assert_eq!(windows, [Some(4096), None, Some(4096)]);
    for (wrong, key) in [
        (
            r#""rope_parameters": {"rope_theta": 5}"#,
            "rope_parameters.rope_theta",
        ),
        (
            r#""rope_parameters": {"full_attention": 5}"#,
            "rope_parameters.full_attention",
        ),
        (
            r#""rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2}}"#,
            "rope_parameters.sliding_attention.rope_type",
        ),
        (
            r#""rope_parameters": {"sliding_attention": {"rope_theta": 2}}, "rope_local_base_freq": 3"#,
            "rope_parameters.sliding_attention.rope_theta",
        ),
        (r#""attn_logit_softcapping": 50"#, "attn_logit_softcapping"),
        (
            r#""use_bidirectional_attention": true"#,
            "use_bidirectional_attention",
        ),
        (r#""sliding_window": null"#, "sliding_window"),
        (r#""hidden_activation": "relu""#, "hidden_activation"),
        (
            r#""hidden_activation": "silu", "hidden_act": "gelu""#,
            "hidden_act",
        ),
        (r#""query_pre_attn_scalar": null"#, "query_pre_attn_scalar"),
    ] {
        let message = read(&with("gemma3_text", wrong)).unwrap_err();
        assert!(message.contains(&format!("`{key}`")), "{message}");
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
fn windows_are_those_of_transformers() {
    let windows = |family, fields: &str| {
        let config = read(&with(family, fields)).unwrap();
        assert_eq!(read(&config.to_json("float32")).unwrap(), config);
        [0, 1].map(|layer| config.layers.window(layer))
    };
    let on = r#", "use_sliding_window": true, "sliding_window": 64"#;
    for (family, fields, expected) in [
        (
            "qwen2",
            format!(r#"{on}, "max_window_layers": 1"#),
            [None, Some(64)],
        ),
        (
            "qwen3",
            r#", "use_sliding_window": true, "max_window_layers": 0"#.into(),
            [Some(4096); 2],
        ),
        // From layer 28 on, where nothing is said.
        ("qwen3", on.into(), [None; 2]),
        (
            "qwen3",
            format!(r#"{on}, "layer_types": ["sliding_attention", "full_attention"]"#),
            [Some(64), None],
        ),
        ("mistral", String::new(), [Some(4096); 2]),
        ("mistral", r#", "sliding_window": null"#.into(), [None; 2]),
        ("mistral", r#", "sliding_window": 7"#.into(), [Some(7); 2]),
        ("smollm3", on.into(), [None; 2]),
        (
            "smollm3",
            format!(r#"{on}, "no_rope_layers": [0, 1, 1]"#),
            [Some(64), None],
        ),
        (
            "smollm3",
            format!(r#"{on}, "layer_types": ["full_attention", "sliding_attention"]"#),
            [None, Some(64)],
        ),
    ] {
        assert_eq!(windows(family, &fields), expected, "{family} {fields}");
    }
}

#[test]
fn layers_without_rotary_positions_are_named() {
    let rotates = |fields: &str| {
        let config = read(&with("smollm3", fields)).unwrap();
        assert_eq!(read(&config.to_json("float32")).unwrap(), config);
        [0, 1, 2, 3].map(|layer| config.layers.rotates(layer))
    };
    let four = r#", "num_hidden_layers": 4"#;
    assert_eq!(rotates(four), [true, true, true, false]);
    let every_second = format!(r#"{four}, "no_rope_layer_interval": 2"#);
    assert_eq!(rotates(&every_second), [true, false, true, false]);
    let listed = format!(r#"{every_second}, "no_rope_layers": [0, 0, 1, 1]"#);
    assert_eq!(rotates(&listed), [false, false, true, true]);
    for wrong in [
        r#""no_rope_layers": [1]"#,
        r#""no_rope_layers": [1, 2]"#,
        r#""no_rope_layer_interval": 0"#,
    ] {
        read(&with("smollm3", wrong)).unwrap_err();
    }
}

#[test]
fn families_have_the_defaults_of_transformers() {
    let of = config_of;
    let (mistral, smollm3, olmo2, granite) = (of("mistral"), of("smollm3"), of("olmo2"), of("granite"));
    assert_eq!(olmo2.rms_norm_eps, 1e-5);
    assert_eq!(smollm3.rope_theta, 2e6);
    assert!(smollm3.tie_word_embeddings && !mistral.tie_word_embeddings);
    assert_eq!(granite.attention_scale(), 1.0);
    assert_eq!(olmo2.attention_scale(), 8f64.powf(-0.5));
    for plain in [
        of("llama"),
        of("qwen2"),
        of("qwen3"),
        read(&with("mistral", r#", "sliding_window": null"#)).unwrap(),
    ] {
        assert!(plain.is_plain_llama(), "{:?}", plain.model_type);
    }
    for other in [
        mistral,
        olmo2,
        granite,
        read(&with("smollm3", r#", "no_rope_layers": [1, 0]"#)).unwrap(),
    ] {
        assert!(!other.is_plain_llama(), "{:?}", other.model_type);
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
