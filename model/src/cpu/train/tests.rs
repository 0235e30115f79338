//! Against the tensor operations.

use burn::module::Param;
use burn::tensor::{Gradients, Tensor};

use crate::config::ModelConfig;
use crate::device::processor;
use crate::dropout::Dropout;
use crate::llama::Llama;
use crate::logp::{TokenLogp, by_tensors, completion_logp};
use crate::lora::{Lora, Targets, attach};
use crate::names::{self, ParamPath};

/// What is other than in [`config`]'s.
type Change<'a> = &'a dyn Fn(&mut serde_json::Value);

fn config(change: impl Fn(&mut serde_json::Value)) -> ModelConfig {
    let mut config = serde_json::json!({
        "model_type": "qwen3", "vocab_size": 613, "hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 3,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "max_position_embeddings": 512, "tie_word_embeddings": true, "initializer_range": 0.2, "attention_bias": false
    });
    change(&mut config);
    ModelConfig::from_json(config.to_string().as_bytes(), std::path::Path::new("config.json")).unwrap()
}

fn text(length: usize, seed: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|at| (at * 7919 + seed * 104_729) % 613)
        .collect()
}

/// Contexts and tokens that share beginnings, one text twice.
fn pairs() -> Vec<(Vec<u32>, Vec<u32>)> {
    let (a, b) = (text(37, 1), text(70, 2));
    vec![
        (a.clone(), text(50, 3)),
        (a.clone(), text(1, 4)),
        (b.clone(), text(33, 5)),
        (a.clone(), [text(20, 3), text(31, 6)].concat()),
        (b[..64].to_vec(), text(9, 7)),
        (a, text(50, 3)),
    ]
}

struct Collect<'a>(&'a Gradients, Vec<(String, Option<Vec<f32>>)>);

impl names::Visit for Collect<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        let grad = param.val().grad(self.0);
        let values = grad.map(|grad| grad.into_data().try_into_vec::<f32>().unwrap());
        self.1.push((at.name(), values));
    }
}

/// Log-probabilities, entropies, and gradients of a loss that weighs every token otherwise.
type Run = (Vec<f32>, Vec<f32>, Vec<(String, Option<Vec<f32>>)>);

fn run(model: &Llama, scores: impl Fn(&Llama, &[(&[u32], &[u32])], f64) -> TokenLogp) -> Run {
    run_with(model, &|_, _| true, scores)
}

/// The same where `counts` says which (row, token) has a weight.
fn run_with(
    model: &Llama,
    counts: &dyn Fn(usize, usize) -> bool,
    scores: impl Fn(&Llama, &[(&[u32], &[u32])], f64) -> TokenLogp,
) -> Run {
    let pairs = pairs();
    let pairs: Vec<(&[u32], &[u32])> = pairs.iter().map(|(a, b)| (a.as_slice(), b.as_slice())).collect();
    let TokenLogp { logp_bt, entropy_bt } = scores(model, &pairs, 0.8);
    let [b, t] = logp_bt.dims();
    let weights = (0..b * t).map(|at| {
        let (row, at) = (at / t, at % t);
        if at < pairs[row].1.len() && counts(row, at) {
            ((row * 31 + at * 17) % 23) as f32 / 11.0 - 0.9
        } else {
            0.0
        }
    });
    let weights: Vec<f32> = weights.collect();
    let kept = |values: Vec<f32>| -> Vec<f32> {
        let kept = values.into_iter().zip(&weights);
        kept.map(|(value, &weight)| if weight == 0.0 { 0.0 } else { value })
            .collect()
    };
    let values = kept(logp_bt.clone().into_data().try_into_vec().unwrap());
    let entropies = kept(entropy_bt.into_data().try_into_vec().unwrap());
    let data = burn::tensor::TensorData::new(weights.clone(), [b, t]);
    let weights_bt = Tensor::<2>::from_data(data, &logp_bt.device());
    let grads = (logp_bt * weights_bt).sum().backward();
    let mut collect = Collect(&grads, Vec::new());
    names::visit(model, &mut collect);
    (values, entropies, collect.1)
}

fn compare(what: &str, model: &Llama) {
    compare_with(what, model, &|_, _| true);
}

fn compare_with(what: &str, model: &Llama, counts: &dyn Fn(usize, usize) -> bool) {
    let fused = run_with(model, counts, completion_logp);
    let plain = run_with(model, counts, by_tensors);
    for (which, a, b) in [("logp", &fused.0, &plain.0), ("entropy", &fused.1, &plain.1)] {
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-5, "{what}: {which} {worst}");
    }
    assert_eq!(fused.2.len(), plain.2.len());
    for ((name, fused), (_, plain)) in fused.2.iter().zip(&plain.2) {
        let (Some(fused), Some(plain)) = (fused, plain) else {
            assert_eq!(fused.is_some(), plain.is_some(), "{what}: {name}");
            continue;
        };
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let size = norm(&mut plain.iter().copied());
        let error = norm(&mut fused.iter().zip(plain).map(|(a, b)| a - b));
        assert!(error <= 1e-4 * size, "{what}: {name} {error} of {size}");
        let is_expected = (0..6).any(|row| counts(row, 0));
        assert_eq!(size > 0.0, is_expected, "{what}: {name}");
    }
}

#[test]
fn what_no_gradient_comes_from_changes_none() {
    let model = Llama::init(&config(|_| {}), 5, &processor().autodiff());
    for model in [model.clone(), model.with_gradient_checkpointing(true)] {
        compare_with("a row of two trees", &model, &|row, _| row == 2);
        compare_with("the beginnings of two", &model, &|row, at| {
            [0, 3].contains(&row) && at < 22
        });
        compare_with("nothing", &model, &|_, _| false);
    }
}

#[test]
fn values_and_gradients_are_those_of_the_tensor_operations() {
    let device = processor().autodiff();
    let kinds: [(&str, Change); 3] = [
        ("qwen3, tied", &|_| {}),
        ("llama, untied", &|config| {
            config["model_type"] = "llama".into();
            config["tie_word_embeddings"] = false.into();
            config["mlp_bias"] = true.into();
            config["attention_bias"] = true.into();
        }),
        ("qwen2, whole panels", &|config| {
            config["model_type"] = "qwen2".into();
            config["hidden_size"] = 64.into();
            config["intermediate_size"] = 128.into();
            config["num_attention_heads"] = 4.into();
            config["head_dim"] = 16.into();
            config["num_key_value_heads"] = 4.into();
        }),
    ];
    for (what, change) in kinds {
        let model = Llama::init(&config(change), 5, &device);
        compare(what, &model);
        compare(
            &format!("{what}, computed again"),
            &model.clone().with_gradient_checkpointing(true),
        );
    }
}

#[test]
fn values_and_gradients_are_those_of_the_tensor_operations_with_adapters() {
    let model = Llama::init(&config(|_| {}), 5, &processor().autodiff());
    for targets in [
        Targets::AllLinear,
        Targets::Named(vec![
            "model.layers.1.self_attn.q_proj".into(),
            "layers.2.mlp.down_proj".into(),
        ]),
    ] {
        let lora = Lora {
            r: 3,
            alpha: 5.0,
            use_rslora: false,
            use_dora: false,
            dropout: 0.0,
            targets,
        };
        let model = adapted(&model, &lora);
        for (what, dropout) in [("adapters", None), ("adapters, dropout", DROPOUT)] {
            let model = model.clone().with_dropout(dropout);
            compare(what, &model);
            let model = model.with_gradient_checkpointing(true);
            compare(&format!("{what}, computed again"), &model);
            compare_with(&format!("{what}, a row"), &model, &|row, _| row == 3);
        }
    }
}

const DROPOUT: Option<Dropout> = Some(Dropout { p: 0.3, key: 11 });

/// A model with adapters that do something.
fn adapted(model: &Llama, lora: &Lora) -> Llama {
    let mut at = 0u32;
    let mut draw = || {
        at += 1;
        f64::from(at * 7919 % 1009) / 1009.0
    };
    let model = attach(model.clone(), lora, &mut draw).unwrap();
    // B is 0 at first, and so is the gradient of A: a step of any kind changes that.
    names::map(model, &mut Nudge)
}

#[test]
fn what_is_left_out_depends_on_texts_and_update_alone() {
    let lora = Lora {
        r: 3,
        alpha: 5.0,
        use_rslora: false,
        use_dora: false,
        dropout: 0.3,
        targets: Targets::AllLinear,
    };
    let model = adapted(&Llama::init(&config(|_| {}), 5, &processor()), &lora);
    let pairs = pairs();
    let pairs: Vec<(&[u32], &[u32])> = pairs.iter().map(|(a, b)| (a.as_slice(), b.as_slice())).collect();
    let of = |model: &Llama, pairs: &[(&[u32], &[u32])]| -> Vec<Vec<f32>> {
        let logp_bt = completion_logp(model, pairs, 1.0).logp_bt;
        let t = logp_bt.dims()[1];
        let values: Vec<f32> = logp_bt.into_data().try_into_vec().unwrap();
        let rows = values.chunks_exact(t).zip(pairs);
        rows.map(|(row, (_, tokens))| row[..tokens.len()].to_vec())
            .collect()
    };
    let plain = of(&model, &pairs);
    // What training is to say of an adapter is no property of the model: it leaves out what it is told to.
    let model = model.with_dropout(DROPOUT);
    let together = of(&model, &pairs);
    assert_ne!(plain, together);
    for (pair, row) in pairs.iter().zip(&together) {
        // Sums are in another order where what texts share is run once.
        let alone = of(&model, &[*pair]);
        assert!(
            alone[0]
                .iter()
                .zip(row)
                .all(|(alone, together)| (alone - together).abs() < 1e-4)
        );
    }
    let other = DROPOUT.map(|dropout| Dropout { key: 12, ..dropout });
    assert_ne!(together, of(&model.clone().with_dropout(other), &pairs));
    assert_eq!(plain, of(&model.with_dropout(None), &pairs));
}

struct Nudge;

impl names::Map for Nudge {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match at.is_adapter() {
            true => names::with_value(param, |value| value + 0.05),
            false => param,
        }
    }
}

#[test]
fn computing_again_changes_no_bit_and_neither_do_threads() {
    let lora = Lora {
        r: 3,
        alpha: 5.0,
        use_rslora: false,
        use_dora: false,
        dropout: 0.3,
        targets: Targets::AllLinear,
    };
    let plain = Llama::init(&config(|_| {}), 5, &processor().autodiff());
    let dropping = adapted(&plain, &lora).with_dropout(DROPOUT);
    for model in [plain, dropping] {
        same_bits(&model);
    }
}

fn same_bits(model: &Llama) {
    let of = |threads: usize, again: bool| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let model = model.clone().with_gradient_checkpointing(again);
        pool.install(|| run(&model, completion_logp))
    };
    let first = of(1, false);
    assert!(first == of(2, false));
    assert!(first == of(3, true));
}
