//! The same numbers as transformers: logits and gradients of tiny checkpoints of each family, made by
//! `scripts/make_model_fixtures.py`.

mod common;

use std::path::{Path, PathBuf};

use burn::module::{Module as _, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Gradients, Int, Tensor, TensorData};
use common::device;
use gcpo_model::cache::Cache;
use gcpo_model::checkpoint;
use gcpo_model::dtype::Dtype;
use gcpo_model::inference::{Inference, Logits};
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;
use gcpo_model::names::{self, ParamPath};
use gcpo_model::tokens::{Padding, Tokens};
use safetensors::SafeTensors;

const FAMILIES: [&str; 20] = [
    "llama",
    "llama3_tied",
    "qwen2",
    "qwen3",
    "untied",
    "lenient",
    "mistral",
    "qwen2_window",
    "smollm3",
    "olmo2",
    "granite",
    "llama_yarn",
    "qwen2_dynamic",
    "phi3",
    "phi4_mini",
    "gemma",
    "gemma2",
    "gemma3",
    "qwen3_moe",
    "qwen3_moe_step",
];

/// All of them, or those that `GCPO_TEST_FAMILIES` names, for devices on which all take long.
fn families() -> Vec<&'static str> {
    let Ok(named) = std::env::var("GCPO_TEST_FAMILIES") else {
        return FAMILIES.to_vec();
    };
    let families = named.split(' ').map(|name| {
        let known = FAMILIES.iter().find(|family| **family == name);
        *known.unwrap_or_else(|| panic!("GCPO_TEST_FAMILIES: there is no `{name}`, there are {FAMILIES:?}"))
    });
    families.collect()
}
const SIDES: [(&str, Padding); 2] = [("right", Padding::Right), ("left", Padding::Left)];

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(family)
}

struct Expected(Vec<u8>);

impl Expected {
    fn of(family: &str) -> Self {
        Self(std::fs::read(fixture(family).join("expected.safetensors")).unwrap())
    }

    fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let values = view.data().chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (view.shape().to_vec(), values.collect())
    }

    fn ints(&self, name: &str) -> Vec<i64> {
        self.maybe_ints(name).unwrap()
    }

    fn maybe_ints(&self, name: &str) -> Option<Vec<i64>> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).ok()?;
        let values = tensor.data().chunks_exact(8);
        Some(
            values
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        )
    }

    /// The rows of more than one token.
    fn rows(&self) -> Vec<Vec<u32>> {
        let lengths = self.ints("lengths");
        let ids = self.ints("ids_right");
        let rows = ids.chunks(ids.len() / lengths.len()).zip(&lengths);
        let rows = rows.filter(|(_, n)| **n > 1);
        rows.map(|(row, &n)| row[..n as usize].iter().map(|&id| id as u32).collect())
            .collect()
    }

    fn tokens(&self, side: &str, padding: Padding) -> Tokens {
        let lengths: Vec<usize> = self.ints("lengths").iter().map(|&n| n as usize).collect();
        let width = *lengths.iter().max().unwrap();
        let ids = self.ints(&format!("ids_{side}"));
        let rows: Vec<Vec<u32>> = ids
            .chunks(width)
            .zip(&lengths)
            .map(|(row, &n)| {
                let from = if padding == Padding::Left { width - n } else { 0 };
                row[from..from + n].iter().map(|&id| id as u32).collect()
            })
            .collect();
        let tokens = Tokens::new(&rows, padding, &device());
        assert_eq!(tokens.ids_bt.to_data().iter::<i64>().collect::<Vec<_>>(), ids);
        tokens
    }
}

/// Largest absolute difference at real tokens.
fn logits_error(logits: Tensor<3>, tokens: &Tokens, expected: &[f32]) -> f32 {
    let [_, width, v] = logits.dims();
    let got = logits.into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(got.len(), expected.len());
    let cells = got.chunks(v).zip(expected.chunks(v)).enumerate();
    cells
        .filter(|(cell, _)| tokens.keeps(cell / width, cell % width))
        .flat_map(|(_, (a, b))| a.iter().zip(b).map(|(a, b)| (a - b).abs()))
        .fold(0.0, |worst, error| {
            if error > worst || error.is_nan() {
                error
            } else {
                worst
            }
        })
}

#[test]
fn golden_logits_are_those_of_transformers() {
    for family in families() {
        let model = checkpoint::load(&fixture(family), Dtype::F32, &device()).unwrap();
        let expected = Expected::of(family);
        for (side, padding) in SIDES {
            let tokens = expected.tokens(side, padding);
            let (_, logits) = expected.floats(&format!("logits_{side}"));
            let plain = model.lm_head(model.forward(&tokens, None));
            let error = logits_error(plain, &tokens, &logits);
            assert!(error < 1e-4, "{family} {side}: {error}");
            let mut cache = Cache::new(model.config(), tokens.rows(), &device(), DType::F32);
            let cached = model.lm_head(model.forward(&tokens, Some(&mut cache)));
            let error = logits_error(cached, &tokens, &logits);
            assert!(error < 1e-4, "{family} {side}, cached: {error}");
        }
    }
}

/// The likeliest token of logits on either side.
fn likeliest(logits: Logits) -> u32 {
    let logits = match logits {
        Logits::Host(logits) => logits,
        Logits::Device(logits) => logits.try_into_vec_as().unwrap(),
    };
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0 as u32
}

#[test]
fn golden_greedy_texts_are_those_of_transformers() {
    let mut compared = 0;
    for family in families() {
        let expected = Expected::of(family);
        let Some(wanted) = expected.maybe_ints("greedy") else {
            continue;
        };
        compared += 1;
        let model = checkpoint::load(&fixture(family), Dtype::F32, &device()).unwrap();
        for inference in [Inference::new(&model), Inference::plain(&model)] {
            let mut cache = inference.cache(1);
            let mut state = cache.advance(&[&expected.rows()[0]]);
            let mut got = Vec::new();
            for _ in &wanted {
                let token = likeliest(inference.logits(state));
                got.push(i64::from(token));
                state = cache.advance(&[&[token]]);
            }
            assert_eq!(got, wanted, "{family}");
        }
    }
    assert!(compared >= 14 || families().len() < FAMILIES.len());
}

/// Gradients by name, as a checkpoint would store them.
struct Collect<'a> {
    grads: &'a Gradients,
    found: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl names::Visit for Collect<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        let grad = param
            .val()
            .grad(self.grads)
            .expect("every parameter has a gradient");
        let data = grad.into_data();
        self.found
            .push((at.name(), data.shape().to_vec(), data.try_into_vec().unwrap()));
    }
}

/// Mean cross-entropy of every token of the rows but their first.
fn mean_loss(model: &Llama, rows: &[Vec<u32>]) -> Tensor<1> {
    let pairs: Vec<(&[u32], &[u32])> = rows.iter().map(|row| row.split_at(1)).collect();
    let logp_bt = completion_logp(model, &pairs, 1.0).logp_bt;
    let sums = pairs.iter().enumerate().map(|(row, (_, tokens))| {
        let logp_1t = logp_bt.clone().slice([row..row + 1, 0..tokens.len()]);
        logp_1t.sum()
    });
    let count: usize = pairs.iter().map(|(_, tokens)| tokens.len()).sum();
    sums.reduce(|a, b| a + b).unwrap().neg() / count as f32
}

/// The same of the model's states, rows padded as they are.
fn mean_loss_of_states(model: &Llama, tokens: &Tokens) -> Tensor<1> {
    let hidden = model.forward(tokens, None);
    let (positions, targets) = predicted(tokens);
    let (n, cells) = (targets.len(), tokens.rows() * tokens.width());
    let d = model.config().hidden_size;
    let chosen = hidden.reshape([cells, d]).select(0, int_tensor(positions));
    let logp = log_softmax(model.lm_head(chosen), 1);
    logp.gather(1, int_tensor(targets).reshape([n, 1])).mean().neg()
}

/// Every token of a row but its first, as (flat position of the token before it, its id).
fn predicted(tokens: &Tokens) -> (Vec<i64>, Vec<i64>) {
    let width = tokens.width();
    let ids: Vec<i64> = tokens.ids_bt.to_data().iter::<i64>().collect();
    (0..ids.len() - 1)
        .filter(|cell| {
            cell % width + 1 < width
                && tokens.keeps(cell / width, cell % width)
                && tokens.keeps(cell / width, cell % width + 1)
        })
        .map(|cell| (cell as i64, ids[cell + 1]))
        .unzip()
}

fn int_tensor(values: Vec<i64>) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), &device())
}

/// ‖a − b‖ / ‖b‖ over one parameter, in the Euclidean norm, and the same for single numbers against the largest.
fn relative(a: &[f32], b: &[f32]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    let norm = |it: &mut dyn Iterator<Item = f64>| it.map(|x| x * x).sum::<f64>().sqrt();
    let difference = || a.iter().zip(b).map(|(a, b)| f64::from(a - b));
    let all = || b.iter().map(|&b| f64::from(b));
    let largest = |it: &mut dyn Iterator<Item = f64>| it.fold(0.0, |m: f64, x| m.max(x.abs()));
    (
        norm(&mut difference()) / norm(&mut all()),
        largest(&mut difference()) / largest(&mut all()),
    )
}

#[test]
fn golden_gradients_are_those_of_transformers() {
    for family in families() {
        let model: Llama = checkpoint::load(&fixture(family), Dtype::F32, &device().autodiff()).unwrap();
        let expected = Expected::of(family);
        let (_, loss_expected) = expected.floats("loss");
        for (side, padding) in SIDES {
            let loss = match padding {
                // The door puts its own rows together, padded on the right.
                Padding::Right => mean_loss(&model, &expected.rows()),
                Padding::Left => mean_loss_of_states(&model, &expected.tokens(side, padding)),
            };
            let value = loss.clone().into_scalar::<f32>();
            assert!(
                (value - loss_expected[0]).abs() < 1e-4,
                "{family} {side}: loss {value}"
            );

            let grads = loss.backward();
            let mut collect = Collect {
                grads: &grads,
                found: Vec::new(),
            };
            names::visit(&model, &mut collect);
            for (name, shape, values) in &collect.found {
                let (shape_expected, mut wanted) = expected.floats(&format!("grad.{name}"));
                if shape.len() == 2 && !name.contains("embed_tokens") {
                    let [rows, columns] = [shape_expected[0], shape_expected[1]];
                    assert_eq!(shape.as_slice(), [columns, rows]);
                    wanted = (0..columns)
                        .flat_map(|c| (0..rows).map(move |r| (r, c)))
                        .map(|(r, c)| wanted[r * columns + c])
                        .collect();
                }
                let (euclidean, largest) = relative(values, &wanted);
                assert!(
                    euclidean < 1e-3 && largest < 1e-3,
                    "{family} {side} {name}: {euclidean} {largest}"
                );
            }
        }
    }
}

#[test]
fn golden_parameters_are_counted() {
    for family in families() {
        let model = checkpoint::load(&fixture(family), Dtype::F32, &device()).unwrap();
        assert_eq!(model.config().parameters(), model.num_params(), "{family}");
    }
}

#[test]
fn log_probabilities_in_rows_at_a_temperature() {
    let model = checkpoint::load(&fixture("llama"), Dtype::F32, &device()).unwrap();
    let rows = Expected::of("llama").rows();
    let pairs: Vec<(&[u32], &[u32])> = rows.iter().map(|row| row.split_at(1)).collect();
    let got = completion_logp(&model, &pairs, 0.7);
    let t = got.logp_bt.dims()[1];
    let logps = got.logp_bt.into_data().try_into_vec::<f32>().unwrap();
    let entropies = got.entropy_bt.into_data().try_into_vec::<f32>().unwrap();
    for (row, ids) in rows.iter().enumerate() {
        let tokens = Tokens::new(&[ids], Padding::Right, &device());
        let logits = model.lm_head(model.forward(&tokens, None)).into_data();
        let logits = logits.try_into_vec::<f32>().unwrap();
        for (at, (&target, logits)) in ids[1..].iter().zip(logits.chunks(64)).enumerate() {
            let logits: Vec<f64> = logits.iter().map(|&l| f64::from(l) / 0.7).collect();
            let total = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
            let entropy: f64 = logits.iter().map(|l| -(l - total).exp() * (l - total)).sum();
            let cell = row * t + at;
            assert!((f64::from(logps[cell]) - (logits[target as usize] - total)).abs() < 1e-5);
            assert!((f64::from(entropies[cell]) - entropy).abs() < 1e-5);
        }
    }
}
