//! The same adapters as PEFT: logits, gradients and files of random ones, made by `scripts/make_lora_fixtures.py`.

#[path = "../common/mod.rs"]
mod common;
mod peft;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module as _, Param};
use burn::tensor::{DType, Gradients, Tensor, TensorData};
use common::{config, device, distance, families, projection};
use gcpo_model::checkpoint;
use gcpo_model::dropout::Dropout;
use gcpo_model::dtype::Dtype;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;
use gcpo_model::lora::{self, Lora, Peft, Targets, WEIGHTS};
use gcpo_model::names::{self, ParamPath};
use gcpo_model::tokens::{Padding, Tokens};
use safetensors::SafeTensors;

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
                // A magnitude is a column of its own.
                let shape = [shape[0], shape.get(1).copied().unwrap_or(1)];
                self.found.insert(at.name(), grad.reshape(shape));
            }
            None => self.without += 1,
        }
    }
}

const LORA: Lora = Lora {
    r: 4,
    alpha: 8.0,
    dropout: 0.0,
    use_rslora: false,
    use_dora: false,
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
    // Magnitudes begin as the lengths that they are of.
    let dora = lora::attach(plain.clone().train(), &DORA, &mut draw()).unwrap();
    let off = distance(logits(&dora.valid(), &rows), logits(&plain, &rows));
    assert!(off < 1e-6, "{off}");
    let adapter = lora::adapter(projection(&model, "model.layers.0.mlp.down_proj")).unwrap();
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

const DORA: Lora = Lora {
    use_dora: true,
    ..LORA
};

#[test]
fn generation_runs_the_adapters_as_they_are_now_and_the_base_stays() {
    for lora in [LORA, DORA] {
        generation_runs_them(&lora);
    }
}

fn generation_runs_them(lora: &Lora) {
    let plain = Llama::init(&config(""), 1, &device());
    let text: &[u32] = &[1, 2, 3, 4, 5];
    let read = |inference: Inference| match inference.logits(inference.read(&[text])) {
        gcpo_model::inference::Logits::Device(logits) => logits.try_into_vec_as::<f32>().unwrap(),
        gcpo_model::inference::Logits::Host(logits) => logits.to_vec(),
    };
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    let mut model = lora::attach(plain.clone().train(), lora, &mut draw()).unwrap();
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
    let other = lora::attach(plain.train(), lora, &mut || 0.5).unwrap();
    let id_of = |model: &Llama| {
        let projection = projection(model, "model.layers.1.self_attn.v_proj");
        lora::adapter(projection).unwrap().b.id
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
    for lora in [LORA, DORA] {
        factors_stay_in_f32(&lora);
    }
}

fn factors_stay_in_f32(lora: &Lora) {
    let plain = Llama::init(&config(""), 1, &device());
    let model = lora::attach(plain.train(), lora, &mut draw()).unwrap();
    let model = names::map(model, &mut Move(0.02));
    let exact = logits(&model, &[vec![1, 2, 3]]).inner();
    let half = model.cast(Dtype::Bf16);
    let adapter = lora::adapter(projection(&half, "model.layers.0.self_attn.q_proj")).unwrap();
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

/// The loss of a text that a model is to say, with parts of adapters' inputs left out.
fn loss_without_some(model: &Llama) -> Tensor<1> {
    let model = model.clone().with_dropout(Some(Dropout { p: 0.4, key: 7 }));
    let pairs: [(&[u32], &[u32]); 2] = [(&[1, 2, 3], &[4, 5, 6]), (&[9], &[8, 7])];
    completion_logp(&model, &pairs, 1.0)
        .logp_bt
        .slice([0..2, 0..2])
        .sum()
}

/// One number of one adapter moved.
struct Shift(&'static str, usize, f32);

impl names::Map for Shift {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if at.name() != self.0 {
            return param;
        }
        names::with_value(param, |value| {
            let (shape, device) = (value.shape(), value.device());
            let mut values: Vec<f32> = value.try_into_vec_as().unwrap();
            values[self.1] += self.2;
            Tensor::from_data(TensorData::new(values, shape), &device)
        })
    }
}

#[test]
fn gradients_with_dropout_are_those_of_finite_differences() {
    // DoRA's lengths are constants of the gradient, so only its magnitudes are what differences say.
    for (lora, names) in [
        (
            LORA,
            [
                "model.layers.0.self_attn.v_proj.weight.lora.a",
                "model.layers.1.mlp.down_proj.weight.lora.b",
            ],
        ),
        (
            DORA,
            [
                "model.layers.0.self_attn.v_proj.weight.lora.magnitude",
                "model.layers.1.mlp.down_proj.weight.lora.magnitude",
            ],
        ),
    ] {
        let plain = Llama::init(&config(""), 1, &device());
        let model = lora::attach(plain.train(), &lora, &mut draw()).unwrap();
        let model = names::map(model, &mut Move(0.05));
        let grads = loss_without_some(&model).backward();
        let mut collect = Collect {
            grads: &grads,
            found: BTreeMap::new(),
            without: 0,
        };
        names::visit(&model, &mut collect);
        for name in names {
            let grad: Vec<f32> = collect.found[name].clone().try_into_vec_as().unwrap();
            let largest = grad.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert!(largest > 0.0, "{name}");
            for at in [0, 3, 7, grad.len() - 1] {
                let moved = |by: f32| {
                    let model = names::map(model.clone(), &mut Shift(name, at, by));
                    f64::from(loss_without_some(&model).into_scalar::<f32>())
                };
                let slope = (moved(0.02) - moved(-0.02)) / 0.04;
                let off = (slope - f64::from(grad[at])).abs();
                assert!(
                    off < 0.02 * f64::from(largest),
                    "{name} {at}: {slope} {}",
                    grad[at]
                );
            }
        }
    }
}
