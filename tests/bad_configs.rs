//! Configurations of networks that cannot be, in `config.json` and in `[model.shape]`: each ends with one message that names the
//! file and the field, without a panic, without a hang, and before anything is made in proportion to a size.
#![cfg(unix)]

mod program;

use std::fs;

use program::spoil::{GENERATE, Ground, INSPECT, SCORE, WEIGHTS};
use serde_json::{Value, json};

#[test]
fn fields_of_the_config_that_cannot_be() {
    let ground = Ground::new();
    let bad = ground.copy("good").join("config.json");
    let good: Value = serde_json::from_slice(&fs::read(&bad).unwrap()).unwrap();
    let long = "x".repeat(1 << 20);
    let values = [
        json!(null),
        json!(long),
        json!("1"),
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(0.5),
        json!(1e308),
        json!(1e-308),
        json!(10_000_000),
        json!(i32::MAX),
        json!(1u64 << 32),
        json!(u64::MAX),
        json!([]),
        json!({}),
        json!(true),
        json!({"rope_type": "yarn"}),
        json!({"full_attention": {}}),
    ];
    let (mut failed, mut fields) = (0, Vec::from_iter(good.as_object().unwrap().keys()));
    let more = [
        "sliding_window",
        "use_sliding_window",
        "max_window_layers",
        "layer_types",
        "partial_rotary_factor",
    ]
    .map(String::from);
    fields.extend(&more);
    for field in fields {
        for value in &values {
            let mut lie = good.clone();
            lie[field] = value.clone();
            fs::write(&bad, lie.to_string()).unwrap();
            let what = format!(
                "{field} = {}",
                value.to_string().chars().take(40).collect::<String>()
            );
            for command in [INSPECT, SCORE] {
                let (code, text) = ground.run(&what, command);
                // What is wrong of a size may be seen by the weights.
                let seen =
                    text.contains("config.json: `") || text.contains(WEIGHTS) || text.contains("token id");
                let one = text.matches("error: ").count() == 1 && seen;
                let length =
                    text.contains("--length") || text.contains("positions") || text.contains("--batch");
                assert!(code == 0 || one || length, "{what}: {text}");
                failed += usize::from(code != 0);
            }
        }
        let mut lie = good.clone();
        lie.as_object_mut().unwrap().remove(field);
        fs::write(&bad, lie.to_string()).unwrap();
        ground.run(&format!("no {field}"), SCORE);
    }
    assert!(failed > 400, "{failed}");
    let deep = format!("{{\"a\": {}", "[".repeat(1 << 20));
    let twice = good.to_string().replacen('{', "{\"rms_norm_eps\": 1e-5,", 1);
    let nan = good
        .to_string()
        .replacen("\"rms_norm_eps\":", "\"rms_norm_eps\": NaN, \"x\":", 1);
    for text in [
        "[]",
        "null",
        "3",
        "{",
        "{}",
        "{\"model_type\"",
        "\u{feff}{}",
        deep.as_str(),
        &twice,
        &nan,
    ] {
        fs::write(&bad, text).unwrap();
        ground.fails(&text[..text.len().min(20)], &["config.json"]);
    }
    fs::write(&bad, b"{\"model_type\": \"\xff\"}").unwrap();
    ground.fails("no UTF-8", &["config.json"]);
}

#[test]
fn options_that_are_too_large() {
    let ground = Ground::new();
    ground.copy("good");
    let most = u64::MAX;
    for command in [
        format!("inspect bad --batch {most}"),
        format!("inspect bad --batch {} --length 64", most / 1000),
        format!("inspect bad --length {most}"),
        format!("{GENERATE} -n {most}"),
        format!("{GENERATE} -n 1000001"),
        format!(
            "generate --model bad --prompt 1+1 --set rollout.max_completion_length={}",
            i64::MAX
        ),
        format!("{SCORE} --dtype {most}"),
    ] {
        let (code, text) = ground.run(&command, &command);
        assert!(code != 0 && text.starts_with("error: "), "{command}: {text}");
    }
}

#[test]
fn shapes_that_cannot_be_made() {
    let ground = Ground::new();
    let sizes = [
        ("hidden_size", "16"),
        ("intermediate_size", "32"),
        ("num_hidden_layers", "1"),
        ("num_attention_heads", "2"),
    ];
    let most = i64::MAX.to_string();
    for (field, value) in [
        ("hidden_size", "18"),
        ("hidden_size", "0"),
        ("hidden_size", &most),
        ("intermediate_size", "0"),
        ("intermediate_size", &most),
        ("num_hidden_layers", "10000000"),
        ("num_hidden_layers", &most),
        ("num_attention_heads", "0"),
        ("num_attention_heads", &most),
        ("num_key_value_heads", "0"),
        ("num_key_value_heads", "3"),
        ("head_dim", "7"),
        ("head_dim", "0"),
        ("head_dim", &most),
        ("vocab_size", "0"),
        ("vocab_size", "100000000"),
        ("vocab_size", &most),
        ("max_position_embeddings", "0"),
        ("max_position_embeddings", &most),
        ("rope_theta", "nan"),
        ("rope_theta", "inf"),
        ("rope_theta", "0"),
        ("rope_theta", "-1"),
        ("rope_theta", "1e39"),
        ("rms_norm_eps", "nan"),
        ("rms_norm_eps", "-inf"),
        ("rms_norm_eps", "0"),
        ("rms_norm_eps", "1e-60"),
        ("initializer_range", "nan"),
        ("initializer_range", "inf"),
        ("initializer_range", "0"),
        ("initializer_range", "2"),
        ("model_type", "\"mamba\""),
    ] {
        let mut shape: Vec<(&str, &str)> = sizes.iter().copied().filter(|(key, _)| *key != field).collect();
        if (field, value) == ("hidden_size", "18") {
            shape.retain(|(key, _)| *key != "num_attention_heads");
            shape.push(("num_attention_heads", "4"));
        }
        let said = match (field, value) {
            ("hidden_size", value) if value == most => "model.shape.",
            ("num_attention_heads", value) if value == most => "model.shape.",
            _ => field,
        };
        let text = make(&ground, &shape, field, value);
        assert!(
            text.contains(said) && text.contains("a.toml:"),
            "{field} = {value}: {text}"
        );
    }
    for (field, value) in [
        ("intermediate_size", "2000000000"),
        ("num_hidden_layers", "10000"),
    ] {
        let mut shape = sizes
            .map(|(key, size)| (key, if key == "hidden_size" { "4096" } else { size }))
            .to_vec();
        shape.retain(|(key, _)| *key != field);
        let text = make(&ground, &shape, field, value);
        assert!(
            text.contains("parameters") && text.contains("this machine has"),
            "{text}"
        );
    }
}

/// What the program says of a run with such a network.
#[track_caller]
fn make(ground: &Ground, shape: &[(&str, &str)], field: &str, value: &str) -> String {
    let keys = shape.iter().copied().chain([(field, value)]);
    let keys: String = keys.map(|(key, value)| format!("{key} = {value}\n")).collect();
    let config = format!(
        "[model]\ninit = \"random\"\ntokenizer = \"arithmetic\"\n[model.shape]\n{keys}[data]\ngenerator = \"arithmetic\"\n"
    );
    fs::write(ground.path("a.toml"), config).unwrap();
    let what = format!("{field} = {value}");
    let (code, text) = ground.run(&what, "train a.toml --run-dir run --device cpu");
    assert!(
        code != 0 && text.matches("error: ").count() == 1,
        "{what}: {text}"
    );
    assert!(!ground.path("run").exists(), "{what}: a run was begun");
    text
}
