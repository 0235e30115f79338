//! Adapters as PEFT has them: logits, gradients, files, and what is refused of them.

use gcpo_model::lora::CONFIG;
use serde_json::{Value, json};

use super::*;

/// Adapters, and the base that they are of.
const CASES: [(&str, &str); 5] = [
    ("lora_untied", "untied"),
    ("lora_qwen2", "qwen2"),
    ("lora_phi4_mini", "phi4_mini"),
    ("lora_dora", "untied"),
    ("lora_dora_qwen2", "qwen2"),
];

#[test]
fn logits_and_gradients_are_those_of_peft() {
    for (name, of) in CASES {
        let expected = tensors(&fixture(name).join("expected.safetensors"));
        let rows = rows(&expected);
        let plain = base(of);
        assert!(
            error(logits(&plain, &rows), &expected["logits"].1) > 0.1,
            "{name}: the adapter does nothing"
        );
        let (model, _) = Peft::load(plain.train(), &fixture(name)).unwrap();
        let off = error(logits(&model, &rows), &expected["logits"].1);
        assert!(off < 1e-4, "{name}: {off}");
        let merged = model.valid().materialize();
        assert!(lora::places(&merged).is_empty());
        let off = error(logits(&merged, &rows), &expected["logits_merged"].1);
        assert!(off < 1e-4, "{name}, merged: {off}");

        let pairs: Vec<(&[u32], &[u32])> = rows.iter().map(|row| row.split_at(1)).collect();
        let loss = completion_logp(&model, &pairs, 1.0).logp_bt.mean().neg();
        let value = loss.clone().into_scalar::<f32>();
        assert!(
            (value - expected["loss"].1[0]).abs() < 1e-4,
            "{name}: loss {value}"
        );
        let grads = loss.backward();
        let mut collect = Collect {
            grads: &grads,
            found: BTreeMap::new(),
            without: 0,
        };
        names::visit(&model, &mut collect);
        let of_peft: Vec<_> = expected
            .iter()
            .filter(|(key, _)| key.starts_with("grad."))
            .collect();
        assert_eq!(collect.found.len(), of_peft.len());
        assert!(collect.without > 0);
        for (key, (shape, expected)) in of_peft {
            let at = key.trim_start_matches("grad.");
            let at = at
                .replace(".lora_A", ".weight.lora.a")
                .replace(".lora_B", ".weight.lora.b")
                .replace(".lora_magnitude_vector", ".weight.lora.magnitude");
            let grad = collect.found[&at].clone().transpose();
            assert_eq!(
                grad.dims().iter().product::<usize>(),
                shape.iter().product::<usize>()
            );
            assert!(shape.len() == 1 || grad.dims().to_vec() == *shape);
            let grad: Vec<f32> = grad.try_into_vec_as().unwrap();
            let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
            let off = grad
                .iter()
                .zip(expected)
                .fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(
                largest > 0.0 && off <= 1e-3 * largest,
                "{name} {key}: {off} of {largest}"
            );
        }
    }
}

#[test]
fn files_come_out_as_they_went_in() {
    for (name, of) in CASES {
        let (model, peft) = Peft::load(base(of), &fixture(name)).unwrap();
        assert_eq!(peft.base, of);
        let dir = tempfile::tempdir().unwrap();
        peft.save(&model, dir.path()).unwrap();
        assert_eq!(
            tensors(&dir.path().join(WEIGHTS)),
            tensors(&fixture(name).join(WEIGHTS))
        );
        let config =
            |dir: &Path| -> Value { serde_json::from_slice(&fs::read(dir.join(CONFIG)).unwrap()).unwrap() };
        let (ours, theirs) = (config(dir.path()), config(&fixture(name)));
        for (key, value) in ours
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| *key != "target_modules")
        {
            assert_eq!(*value, theirs[key], "{name}: {key}");
        }
        // PEFT writes some as whole paths.
        let (_, again) = Peft::load(base(of), dir.path()).unwrap();
        let places = |peft: &Peft| peft.lora.targets.paths(&model).unwrap();
        assert_eq!(places(&again), places(&peft));
    }
}

/// What is said of an adapter whose configuration has a key of another value.
fn refused(key: &str, value: Value) -> String {
    let dir = tempfile::tempdir().unwrap();
    let from = fixture("lora_untied");
    fs::copy(from.join(WEIGHTS), dir.path().join(WEIGHTS)).unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(from.join(CONFIG)).unwrap()).unwrap();
    config[key] = value;
    fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
    match Peft::load(base("untied"), dir.path()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_peft_may_say_and_is_not_computed_is_refused_by_name() {
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("peft_type", json!(null)),
        ("modules_to_save", json!(["lm_head"])),
        ("bias", json!("all")),
        ("fan_in_fan_out", json!(true)),
        ("rank_pattern", json!({"q_proj": 4})),
        ("alpha_pattern", json!({"q_proj": 4})),
        ("init_lora_weights", json!("pissa")),
        ("layer_replication", json!([[0, 1]])),
        ("trainable_token_indices", json!([1])),
        ("use_qalora", json!(true)),
        ("lora_bias", json!(true)),
        ("something_new", json!(0.5)),
        ("r", json!(0)),
        ("r", json!(null)),
        ("lora_alpha", json!("8")),
        ("target_modules", json!(null)),
    ] {
        let error = refused(key, value.clone());
        assert!(
            error.contains(CONFIG) && error.contains(&format!("`{key}`")),
            "{key} {value}: {error:?}"
        );
    }
    for (key, value) in [
        ("something_new", json!(null)),
        ("something_new", json!({})),
        ("init_lora_weights", json!("gaussian")),
        ("target_modules", json!("all-linear")),
        ("target_modules", json!(".*q_proj|.*v_proj")),
        ("lora_dropout", json!(0.1)),
    ] {
        assert_eq!(refused(key, value), "", "{key}");
    }
    let error = refused("r", json!(3));
    assert!(
        error.contains(WEIGHTS) && error.contains("has shape [2, 16]"),
        "{error}"
    );
    let error = refused("target_modules", json!(["q_proj", "v_proj", "k_proj"]));
    assert!(
        error.contains("lacks") && error.contains("k_proj.lora_A"),
        "{error}"
    );
}

#[test]
fn tensors_of_another_model_are_refused_by_name() {
    let of = |base_of: &str, adapter: &Path| Peft::load(base(base_of), adapter).unwrap_err().to_string();
    let error = of("untied", &fixture("lora_qwen2"));
    assert!(
        error.contains("has shape") || error.contains("belongs to no projection"),
        "{error}"
    );
    let dir = tempfile::tempdir().unwrap();
    let from = fixture("lora_untied");
    fs::copy(from.join(CONFIG), dir.path().join(CONFIG)).unwrap();
    assert!(of("untied", dir.path()).contains(WEIGHTS));
    fs::write(dir.path().join("adapter_model.bin"), "").unwrap();
    assert!(of("untied", dir.path()).contains("adapter_model.bin is not read"));
    let bytes = fs::read(from.join(WEIGHTS)).unwrap();
    fs::write(dir.path().join(WEIGHTS), &bytes[..bytes.len() - 4]).unwrap();
    assert!(of("untied", dir.path()).contains(WEIGHTS));
    let head = b"layers.0.self_attn.q_proj.lora_A".as_slice();
    let at = bytes.windows(head.len()).position(|part| part == head).unwrap();
    let mut other = bytes.clone();
    other[at + 7] = b'9';
    fs::write(dir.path().join(WEIGHTS), &other).unwrap();
    let error = of("untied", dir.path());
    assert!(
        error.contains("lacks") && error.contains("q_proj.lora_A"),
        "{error}"
    );
    let mut bad = bytes.clone();
    let end = bad.len();
    bad[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(dir.path().join(WEIGHTS), &bad).unwrap();
    assert!(of("untied", dir.path()).contains("NaN"));
    let error = checkpoint::load(&from, Dtype::F32, &device())
        .unwrap_err()
        .to_string();
    assert!(error.contains("--adapter"), "{error}");
}
