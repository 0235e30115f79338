//! The same adapters as PEFT: logits, gradients and files of random ones, made by `scripts/make_lora_fixtures.py`.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module as _, Param};
use burn::tensor::{DType, Gradients, Tensor};
use common::{config, device, distance, families, projection};
use gcpo_model::checkpoint;
use gcpo_model::dtype::Dtype;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;
use gcpo_model::lora::{self, CONFIG, Lora, Peft, Targets, WEIGHTS};
use gcpo_model::names::{self, ParamPath};
use gcpo_model::tokens::{Padding, Tokens};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// Adapters, and the base that they are of.
const CASES: [(&str, &str); 3] = [
    ("lora_untied", "untied"),
    ("lora_qwen2", "qwen2"),
    ("lora_phi4_mini", "phi4_mini"),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn base(name: &str) -> Llama {
    checkpoint::load(&fixture(name), Dtype::F32, &device()).unwrap()
}

/// Every tensor of a file, its shape and numbers.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = file.tensors().into_iter();
    all.map(|(name, view)| {
        let numbers = match view.dtype() {
            safetensors::Dtype::I64 => {
                let numbers = view.data().as_chunks().0.iter();
                numbers.map(|&b| i64::from_le_bytes(b) as f32).collect()
            }
            _ => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
        };
        (name, (view.shape().to_vec(), numbers))
    })
    .collect()
}

fn rows(expected: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<Vec<u32>> {
    let (shape, ids) = &expected["ids"];
    ids.chunks(shape[1])
        .map(|row| row.iter().map(|&id| id as u32).collect())
        .collect()
}

fn logits(model: &Llama, rows: &[Vec<u32>]) -> Tensor<3> {
    model.lm_head(model.forward(&Tokens::new(rows, Padding::Right, &model.device()), None))
}

fn error(logits: Tensor<3>, expected: &[f32]) -> f32 {
    let got: Vec<f32> = logits.without_autodiff().try_into_vec_as().unwrap();
    assert_eq!(got.len(), expected.len());
    let errors = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
    errors.fold(0.0, |worst, error| if error <= worst { worst } else { error })
}

/// The gradients of a model's parameters, by name and in the module's layout; and how many parameters have none.
struct Collect<'a> {
    grads: &'a Gradients,
    found: BTreeMap<String, Tensor<2>>,
    without: usize,
}

impl names::Visit for Collect<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        match param.val().grad(self.grads) {
            Some(grad) => {
                assert!(at.is_adapter(), "{} is frozen", at.name());
                let shape = grad.dims();
                self.found.insert(at.name(), grad.reshape([shape[0], shape[1]]));
            }
            None => self.without += 1,
        }
    }
}

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
                .replace(".lora_B", ".weight.lora.b");
            let grad = collect.found[&at].clone().transpose();
            assert_eq!(grad.dims().to_vec(), *shape);
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

const LORA: Lora = Lora {
    r: 4,
    alpha: 8.0,
    dropout: 0.0,
    use_rslora: false,
    targets: Targets::AllLinear,
};

/// Numbers that look random, the same every time.
fn draw() -> impl FnMut() -> f64 {
    let mut state = 1u64;
    move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Every factor moved away from where it began.
struct Move(f64);

impl names::Map for Move {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match at.is_adapter() {
            true => names::with_value(param, |value| value + self.0),
            false => param,
        }
    }
}

#[test]
fn a_new_adapter_changes_nothing_and_lies_where_it_is_asked_for() {
    let plain = Llama::init(&config(""), 1, &device());
    let rows = [vec![1, 2, 3, 4, 5]];
    let model = lora::attach(plain.clone().train(), &LORA, &mut draw()).unwrap();
    assert_eq!(lora::places(&model).len(), 2 * 7);
    assert_eq!(
        distance(logits(&model.valid(), &rows), logits(&plain, &rows)),
        0.0
    );
    let adapter = projection(&model, "model.layers.0.mlp.down_proj")
        .weight
        .adapter()
        .unwrap();
    let a = adapter.a.val().inner();
    let largest = a.clone().abs().max().into_scalar::<f32>();
    let bound = 48f32.powf(-0.5);
    assert!(largest <= bound && largest > 0.9 * bound, "{largest} {bound}");
    assert!(a.mean().abs().into_scalar::<f32>() < 0.2 * bound);
    assert_eq!(adapter.b.val().inner().abs().max().into_scalar::<f32>(), 0.0);

    let named = |names: &[&str]| Lora {
        targets: Targets::Named(names.iter().map(|name| (*name).to_owned()).collect()),
        ..LORA
    };
    let some = lora::attach(
        plain.clone(),
        &named(&["q_proj", "layers.1.mlp.up_proj"]),
        &mut draw(),
    )
    .unwrap();
    let places = lora::places(&some).join(" ");
    assert_eq!(
        places,
        "model.layers.0.self_attn.q_proj model.layers.1.self_attn.q_proj model.layers.1.mlp.up_proj"
    );
    for bad in ["lm_head", "embed_tokens", "proj", "attn.q_proj", ""] {
        let error = lora::attach(plain.clone(), &named(&[bad]), &mut draw())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("`{bad}`")) && error.contains("down_proj"),
            "{error}"
        );
    }
    assert_eq!(
        Lora {
            use_rslora: true,
            ..LORA
        }
        .scale(),
        4.0
    );
    assert_eq!(LORA.scale(), 2.0);
}

#[test]
fn generation_runs_the_adapters_as_they_are_now_and_the_base_stays() {
    let plain = Llama::init(&config(""), 1, &device());
    let text: &[u32] = &[1, 2, 3, 4, 5];
    let read = |inference: Inference| match inference.logits(inference.read(&[text])) {
        gcpo_model::inference::Logits::Device(logits) => logits.try_into_vec_as::<f32>().unwrap(),
        gcpo_model::inference::Logits::Host(logits) => logits.to_vec(),
    };
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    let mut model = lora::attach(plain.clone().train(), &LORA, &mut draw()).unwrap();
    let mut before = read(Inference::new(&model));
    for _ in 0..3 {
        model = names::map(model, &mut Move(0.05));
        let last = logits(&model, &[text.to_vec()]).inner().slice([0..1, 4..5]);
        let forward: Vec<f32> = last.try_into_vec_as().unwrap();
        let (fused, run) = (read(Inference::new(&model)), read(Inference::plain(&model)));
        assert!(far(&fused, &forward) < 1e-4 && far(&run, &forward) < 1e-4);
        assert!(far(&fused, &before) > 1e-2, "an old adapter was run");
        before = fused;
    }
    let off = lora::detach(&model);
    assert_eq!(
        distance(
            logits(&off.valid(), &[text.to_vec()]),
            logits(&plain, &[text.to_vec()])
        ),
        0.0
    );
    // Another device's copy takes the numbers and keeps its own parameters.
    let other = lora::attach(plain.train(), &LORA, &mut || 0.5).unwrap();
    let id_of = |model: &Llama| {
        let projection = projection(model, "model.layers.1.self_attn.v_proj");
        projection.weight.adapter().unwrap().b.id
    };
    let id = id_of(&other);
    let other = lora::follow(other, &model);
    assert_eq!(id_of(&other), id);
    assert_eq!(
        distance(logits(&other, &[text.to_vec()]), logits(&model, &[text.to_vec()])),
        0.0
    );
}

#[test]
fn every_family_has_adapters_under_its_own_names() {
    let text = [vec![3, 1, 4, 1, 5]];
    for config in families() {
        let plain = Llama::init(&config, 1, &device());
        if config.experts.is_some() {
            // In PEFT it means the experts too.
            let message = lora::attach(plain, &LORA, &mut draw()).unwrap_err().to_string();
            assert!(
                message.contains("experts") && message.contains("k_proj, o_proj, q_proj"),
                "{message}"
            );
            continue;
        }
        let model = lora::attach(plain.clone().train(), &LORA, &mut draw()).unwrap();
        let model = names::map(model, &mut Move(0.02)).valid();
        let name = config.model_type.name();
        assert_eq!(lora::places(&model).len(), model.projections().len(), "{name}");
        assert!(
            distance(logits(&model, &text), logits(&plain, &text)) > 1e-3,
            "{name}"
        );
        let dir = tempfile::tempdir().unwrap();
        let peft = Peft {
            lora: LORA,
            base: String::new(),
        };
        peft.save(&model, dir.path()).unwrap();
        let (again, _) = Peft::load(plain, dir.path()).unwrap();
        assert_eq!(
            distance(logits(&again, &text), logits(&model, &text)),
            0.0,
            "{name}"
        );
        let names: Vec<String> = tensors(&dir.path().join(WEIGHTS)).into_keys().collect();
        let fused = names
            .iter()
            .any(|name| name.contains("self_attn.qkv_proj.lora_A"));
        assert_eq!(fused, name == "phi3", "{names:?}");
    }
    let phi = Llama::init(&families()[6], 1, &device());
    let split = Lora {
        targets: Targets::Named(vec!["q_proj".into()]),
        ..LORA
    };
    let message = lora::attach(phi, &split, &mut draw()).unwrap_err().to_string();
    assert!(
        message.contains("q_proj") && message.contains("gate_up_proj, o_proj, qkv_proj"),
        "{message}"
    );
}

#[test]
fn factors_stay_in_f32_over_a_base_of_16_bits() {
    let plain = Llama::init(&config(""), 1, &device());
    let model = lora::attach(plain.train(), &LORA, &mut draw()).unwrap();
    let model = names::map(model, &mut Move(0.02));
    let exact = logits(&model, &[vec![1, 2, 3]]).inner();
    let half = model.cast(Dtype::Bf16);
    let adapter = projection(&half, "model.layers.0.self_attn.q_proj")
        .weight
        .adapter()
        .unwrap();
    assert_eq!(adapter.a.val().dtype(), DType::F32);
    assert_eq!(half.dtype(), DType::BF16);
    let off = distance(logits(&half, &[vec![1, 2, 3]]).inner().cast(DType::F32), exact);
    assert!(off < 0.3, "{off}");
    let grads = logits(&half, &[vec![1, 2, 3]])
        .cast(DType::F32)
        .square()
        .mean()
        .backward();
    let grad = adapter.a.val().grad(&grads).unwrap();
    assert_eq!(grad.dtype(), DType::F32);
    assert!(grad.abs().max().into_scalar::<f32>() > 0.0);
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
        ("use_dora", json!(true)),
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
