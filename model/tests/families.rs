//! `config.json` of each family: defaults, windows, layers, rotary positions.

mod common;

use std::path::Path;

use common::{config_of, read, with};
use gcpo_model::rope::inverse_frequencies;
use serde_json::json;

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
    let (gemma, gemma2) = (of("gemma"), of("gemma2"));
    assert_eq!((gemma.head_dim, gemma.attention_scale()), (256, 0.0625));
    assert!(gemma.tie_word_embeddings && gemma.scales.embedding_multiplier == 32f64.sqrt());
    assert_eq!(gemma2.scales.attn_logit_softcapping, Some(50.0));
    assert_eq!(gemma2.scales.final_logit_softcapping, Some(30.0));
    let windows = [0, 1].map(|layer| gemma2.layers.window(layer));
    assert_eq!(windows, [Some(4096), None]);
    for plain in [
        of("llama"),
        of("qwen2"),
        of("qwen3"),
        read(&with("mistral", r#", "sliding_window": null"#)).unwrap(),
    ] {
        assert!(plain.is_plain_llama(), "{:?}", plain.model_type);
    }
    let wide = read(&with("mistral", r#", "sliding_window": 512"#)).unwrap();
    assert!(wide.is_plain_llama());
    let narrow = read(&with("mistral", r#", "sliding_window": 511"#)).unwrap();
    for other in [
        narrow,
        olmo2,
        granite,
        gemma,
        gemma2,
        of("phi3"),
        of("gemma3_text"),
        read(&with("smollm3", r#", "no_rope_layers": [1, 0]"#)).unwrap(),
    ] {
        assert!(!other.is_plain_llama(), "{:?}", other.model_type);
    }
}

/// What is read of a file that was spoilt somewhere is written as it was read, whatever it says now.
#[test]
fn spoilt_files_are_errors_or_say_what_they_say() {
    // A generator of numbers (Marsaglia, 2003), so that a failure repeats.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut accepted = 0;
    for family in [
        "gemma2",
        "gemma3",
        "granite",
        "llama_yarn",
        "phi3",
        "phi4_mini",
        "qwen2_window",
        "qwen3_moe",
        "smollm3",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(family);
        let json = std::fs::read(path.join("config.json")).unwrap();
        for _ in 0..800 {
            let mut spoilt = json.clone();
            for _ in 0..1 + random(2) {
                let at = random(spoilt.len());
                spoilt[at] = b"0123456789\"{}[],:-.enu"[random(22)];
            }
            let Ok(spoilt) = String::from_utf8(spoilt) else {
                continue;
            };
            if let Ok(config) = read(&spoilt) {
                accepted += 1;
                assert_eq!(read(&config.to_json("float32")).as_ref(), Ok(&config), "{spoilt}");
                assert!(config.parameters() > 0 && config.positions() > 0);
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// Shapes of well-known models with the keys of their files, and how many parameters transformers makes of them.
#[test]
fn models_of_the_hub_have_as_many_parameters_as_in_transformers() {
    let ones = json!(vec![1.0; 48]);
    let shape = |sizes: [usize; 7]| {
        let [vocab, d, f, layers, heads, kv, head_dim] = sizes;
        json!({
            "vocab_size": vocab, "hidden_size": d, "intermediate_size": f, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head_dim,
        })
    };
    for (sizes, family, count) in [
        (
            [32_000, 4096, 14_336, 32, 32, 8, 128],
            json!({ "model_type": "mistral", "sliding_window": 4096, "rope_theta": 10000.0, "hidden_act": "silu" }),
            7_241_732_096usize,
        ),
        (
            [128_256, 2048, 11_008, 36, 16, 4, 128],
            json!({
                "model_type": "smollm3", "no_rope_layer_interval": 4, "max_window_layers": 28, "use_sliding_window": false,
                "sliding_window": null, "rope_theta": 5e6, "rope_scaling": null, "max_position_embeddings": 65536,
            }),
            3_075_098_624,
        ),
        (
            [100_352, 4096, 11_008, 32, 32, 32, 128],
            json!({ "model_type": "olmo2", "rms_norm_eps": 1e-6, "rope_theta": 500000, "tie_word_embeddings": false }),
            7_298_617_344,
        ),
        (
            [49_159, 2048, 8192, 40, 32, 8, 64],
            json!({
                "model_type": "granite", "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "logits_scaling": 8.0,
                "residual_multiplier": 0.22, "tie_word_embeddings": true,
            }),
            2_533_539_840,
        ),
        (
            [32_064, 3072, 8192, 32, 32, 32, 96],
            json!({
                "model_type": "phi3", "sliding_window": 2047, "rope_scaling": null, "original_max_position_embeddings": 4096,
            }),
            3_821_079_552,
        ),
        (
            [200_064, 3072, 8192, 32, 24, 8, 128],
            json!({
                "model_type": "phi3", "sliding_window": 262144, "partial_rotary_factor": 0.75, "tie_word_embeddings": true,
                "rope_scaling": { "type": "longrope", "short_factor": ones, "long_factor": ones },
                "original_max_position_embeddings": 4096, "max_position_embeddings": 131072,
            }),
            3_836_021_760,
        ),
        (
            [256_000, 2048, 16_384, 18, 8, 1, 256],
            json!({ "model_type": "gemma", "hidden_act": "gelu", "hidden_activation": null }),
            2_506_172_416,
        ),
        (
            [256_000, 3584, 14_336, 42, 16, 8, 256],
            json!({
                "model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
                "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
            }),
            9_241_705_984,
        ),
        (
            [262_144, 1152, 6912, 26, 4, 1, 256],
            json!({
                "model_type": "gemma3_text", "sliding_window": 512, "sliding_window_pattern": 6, "rope_theta": 1000000,
                "rope_local_base_freq": 10000, "rope_scaling": null, "attn_logit_softcapping": null,
            }),
            999_885_952,
        ),
        (
            [151_936, 2048, 6144, 48, 32, 4, 128],
            json!({
                "model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
                "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [], "max_window_layers": 48,
                "use_sliding_window": false, "sliding_window": null,
            }),
            30_532_122_624,
        ),
    ] {
        let mut json = shape(sizes);
        for (key, value) in family.as_object().unwrap() {
            json[key] = value.clone();
        }
        let config = read(&json.to_string()).unwrap();
        assert_eq!(config.parameters(), count, "{family}");
        assert_eq!(read(&config.to_json("bfloat16")).unwrap(), config);
    }
}
