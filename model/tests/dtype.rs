//! Parameters of 16 bits: close to those of 32, on the devices that compute in them.

mod common;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Tensor, TensorData};
use common::{config, device, distance, families};
use gcpo_model::dtype::{Dtype, widen};
use gcpo_model::inference::{Inference, Logits, RowSource};
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;

/// Each kind with the largest error of a log-probability that its mantissa excuses here.
const HALVES: [(Dtype, f32); 2] = [(Dtype::Bf16, 0.12), (Dtype::F16, 0.015)];

/// The kinds that the device computes in. The processor computes in all.
fn halves() -> impl Iterator<Item = (Dtype, f32)> {
    HALVES.into_iter().filter(|(dtype, _)| {
        let works = device().supports_dtype(dtype.float());
        if !works {
            println!("skipped: this device does not compute in {dtype}");
        }
        works
    })
}

const ROWS: [&[u32]; 2] = [&[3, 1, 4, 1, 5, 9, 2, 6], &[2, 7, 1, 8]];

fn models() -> Vec<Llama> {
    let with_bias = r#", "attention_bias": true, "tie_word_embeddings": true"#;
    let configs = families().into_iter().chain([config(with_bias)]);
    configs
        .map(|config| Llama::init(&config, 7, &device().autodiff()))
        .collect()
}

fn logp(model: &Llama) -> Tensor<2> {
    let pairs = ROWS.map(|row| row.split_at(1));
    completion_logp(model, &pairs, 0.8).logp_bt
}

/// The cells of the batch that hold tokens.
fn kept() -> Tensor<2> {
    let keep = ROWS.map(|row| (1..8).map(|at| f32::from(at < row.len())).collect::<Vec<_>>());
    Tensor::from_data(TensorData::new(keep.concat(), [2, 7]), &device())
}

#[test]
fn sixteen_bits_give_nearly_the_same_log_probabilities_in_f32() {
    for (dtype, most) in halves() {
        for model in models() {
            let half = model.clone().cast(dtype);
            assert_eq!(half.dtype(), DType::from(dtype.float()));
            let got = logp(&half);
            assert_eq!(got.dtype(), DType::F32);
            let error = distance(got.inner() * kept(), logp(&model).inner() * kept());
            assert!(error > 0.0 && error < most, "{dtype}: {error}");
        }
    }
}

#[test]
fn a_cache_of_sixteen_bits_gives_what_the_whole_text_gives() {
    for (dtype, most) in halves() {
        let model = models()[0].clone().cast(dtype);
        let inference = Inference::plain(&model);
        let [whole, _] = ROWS;
        let mut root = inference.cache(1);
        let logits = inference.logits(root.advance(&[&whole[..3]]));
        assert!(matches!(logits, Logits::Device(_)));
        let mut lanes = root.lanes(&[0, 0]);
        lanes.arrange(&[RowSource::Trunk(0), RowSource::Trunk(1)]);
        for &token in &whole[3..] {
            lanes.step(&[token, token]);
        }
        let bytes = model.config().kv_numbers_per_token() * 2;
        assert_eq!(root.bytes() % bytes, 0);
        let alone = inference.read(&[whole]);
        let state = lanes.step(&[1, 1]);
        assert_eq!(state.dtype(), alone.dtype());
        let longer: Vec<u32> = whole.iter().copied().chain([1]).collect();
        let error = distance(widen(state.narrow(0, 1, 1)), widen(inference.read(&[&longer])));
        assert!(error < most, "{dtype}: {error}");
    }
}

struct Collect<'a> {
    grads: &'a Gradients,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = param
            .val()
            .grad(self.grads)
            .expect("every parameter has a gradient");
        self.found.push(grad.try_into_vec_as().unwrap());
    }
}

fn gradients(model: &Llama) -> Vec<Vec<f32>> {
    let keep = kept().autodiff();
    let grads = (logp(model) * keep).sum().backward();
    let mut collect = Collect {
        grads: &grads,
        found: Vec::new(),
    };
    model.visit(&mut collect);
    collect.found
}

#[test]
fn gradients_of_sixteen_bits_point_the_same_way() {
    for (dtype, most) in halves() {
        for model in models() {
            let (exact, half) = (gradients(&model), gradients(&model.clone().cast(dtype)));
            for (exact, half) in exact.iter().zip(&half) {
                // Of an expert that no token takes.
                if exact.iter().all(|&x| x == 0.0) {
                    assert!(half.iter().all(|&x| x == 0.0), "{dtype}");
                    continue;
                }
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                let cosine = dot(exact, half) / (dot(exact, exact) * dot(half, half)).sqrt();
                assert!(cosine > 1.0 - f64::from(most) / 10.0, "{dtype}: {cosine}");
            }
        }
    }
}
