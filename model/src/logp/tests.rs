//! What is computed again on the way back, against what burn keeps; families that differ in head, attention or layers.

use burn::module::Param;
use burn::tensor::{Gradients, Tensor, TensorData};

use super::{TokenLogp, alike, by_tensors_within};
use crate::config::ModelConfig;
use crate::dropout::Dropout;
use crate::dtype::Dtype;
use crate::limits::Limits;
use crate::llama::Llama;
use crate::lora::{Lora, Targets, attach};
use crate::names::{self, ParamPath};
use crate::tokens::{Padding, Tokens};

/// Everything is kept.
const ALL: Limits = Limits {
    logits: usize::MAX,
    logits_again: usize::MAX,
    scores_kept: usize::MAX,
    scores: usize::MAX,
};

/// Seven tokens at a time forward, and three parts of the vocabulary on the way back.
const FEW_LOGITS: Limits = Limits {
    logits: 7 * VOCABULARY,
    logits_again: 1,
    ..ALL
};

/// Five queries of three rows and four heads at a time, fewer where a window is short.
const FEW_SCORES: Limits = Limits {
    scores_kept: 0,
    scores: 5 * 4 * 3 * 30,
    ..ALL
};

const VOCABULARY: usize = 1300;

/// Families by what they have of their own.
const FAMILIES: [(&str, &str); 11] = [
    ("llama", r#", "tie_word_embeddings": true"#),
    (
        "llama",
        r#", "tie_word_embeddings": false, "attention_bias": true, "mlp_bias": true"#,
    ),
    (
        "qwen2",
        r#", "use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1"#,
    ),
    ("qwen3", ""),
    ("mistral", r#", "sliding_window": 6"#),
    ("olmo2", ""),
    (
        "granite",
        r#", "residual_multiplier": 0.4, "attention_multiplier": 0.3, "embedding_multiplier": 3, "logits_scaling": 2"#,
    ),
    ("phi3", r#", "partial_rotary_factor": 0.5, "sliding_window": 6"#),
    (
        "gemma2",
        r#", "head_dim": 8, "sliding_window": 5, "attn_logit_softcapping": 2, "final_logit_softcapping": 3"#,
    ),
    (
        "gemma3_text",
        r#", "head_dim": 8, "sliding_window": 5, "sliding_window_pattern": 2, "query_pre_attn_scalar": 12"#,
    ),
    (
        "qwen3_moe",
        r#", "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [1]"#,
    ),
];

fn model((family, extra): (&str, &str)) -> Llama {
    let json = format!(
        r#"{{"model_type": "{family}", "vocab_size": {VOCABULARY}, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512, "initializer_range": 0.2{extra}}}"#
    );
    let config = ModelConfig::from_json(json.as_bytes(), std::path::Path::new("config.json")).unwrap();
    Llama::init(&config, 3, &crate::test_device().autodiff())
}

/// The model with adapters that do something.
fn adapted(model: Llama, targets: &[&str]) -> Llama {
    struct Nudge;
    impl names::Map for Nudge {
        fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match at.is_adapter() {
                true => names::with_value(param, |value| value + 0.05),
                false => param,
            }
        }
    }
    let lora = Lora {
        r: 3,
        alpha: 5.0,
        use_rslora: false,
        use_dora: false,
        dropout: 0.2,
        targets: Targets::Named(targets.iter().map(|&name| name.to_owned()).collect()),
    };
    let mut at = 0u32;
    let mut draw = || {
        at += 1;
        f64::from(at * 7919 % 1009) / 1009.0
    };
    let model = names::map(attach(model, &lora, &mut draw).unwrap(), &mut Nudge);
    model.with_dropout(Some(Dropout { p: 0.2, key: 7 }))
}

fn text(length: u32, seed: u32) -> Vec<u32> {
    let id = |at| (at * 7919 + seed * 104_729) % VOCABULARY as u32;
    (0..length).map(id).collect()
}

struct Collect<'a>(&'a Gradients, Vec<(String, Option<Vec<f32>>)>);

impl names::Visit for Collect<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        let grad = param.val().grad(self.0);
        let values = grad.map(|grad| grad.try_into_vec_as::<f32>().unwrap());
        self.1.push((at.name(), values));
    }
}

/// Log-probabilities, entropies, and the gradients of a loss that weighs every token otherwise.
#[derive(PartialEq, Debug)]
struct Run {
    logp: Vec<f32>,
    entropy: Vec<f32>,
    grads: Vec<(String, Option<Vec<f32>>)>,
}

fn run(model: &Llama, limits: &Limits) -> Run {
    let texts = [
        (text(9, 1), text(20, 2)),
        (text(14, 3), text(13, 4)),
        (text(2, 5), text(8, 6)),
    ];
    let pairs: Vec<(&[u32], &[u32])> = texts.iter().map(|(a, b)| (a.as_slice(), b.as_slice())).collect();
    let TokenLogp { logp_bt, entropy_bt } = by_tensors_within(model, &pairs, 0.8, limits, false);
    let [b, t] = logp_bt.dims();
    let weight = |at: usize| match at % t < texts[at / t].1.len() {
        true => ((at / t * 31 + at % t * 17) % 23) as f32 / 11.0 - 0.9,
        false => 0.0,
    };
    let weights = TensorData::new((0..b * t).map(weight).collect::<Vec<f32>>(), [b, t]);
    let weights_bt = Tensor::<2>::from_data(weights, &logp_bt.device());
    let [logp, entropy] = [logp_bt.clone(), entropy_bt].map(|x| x.try_into_vec_as::<f32>().unwrap());
    let grads = (logp_bt * weights_bt).sum().backward();
    let mut collect = Collect(&grads, Vec::new());
    names::visit(model, &mut collect);
    Run {
        logp,
        entropy,
        grads: collect.1,
    }
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f32::abs).fold(0.0, f32::max)
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn close(what: &str, run: &Run, plain: &Run) {
    for (which, a, b) in [
        ("logp", &run.logp, &plain.logp),
        ("entropy", &run.entropy, &plain.entropy),
    ] {
        let worst = largest(a.iter().zip(b).map(|(a, b)| a - b));
        assert!(worst < 1e-5, "{what}: {which} {worst}");
    }
    assert_eq!(run.grads.len(), plain.grads.len());
    for ((name, grad), (_, plain)) in run.grads.iter().zip(&plain.grads) {
        let (Some(grad), Some(plain)) = (grad, plain) else {
            assert_eq!(grad.is_some(), plain.is_some(), "{what}: {name}");
            continue;
        };
        let size = norm(plain.iter().copied());
        let error = norm(grad.iter().zip(plain).map(|(a, b)| a - b));
        assert!(error <= 1e-4 * size, "{what}: {name} {error} of {size}");
    }
    let trained = plain.grads.iter().filter_map(|(_, grad)| grad.as_ref());
    assert!(
        trained.filter(|grad| largest(grad.iter().copied()) > 0.0).count() > 3,
        "{what}"
    );
}

#[test]
fn logits_are_computed_again_in_parts_of_the_vocabulary() {
    for family in FAMILIES {
        let model = model(family);
        let what = format!("{family:?}");
        let (few, all) = (run(&model, &FEW_LOGITS), run(&model, &ALL));
        close(&what, &few, &all);
    }
}

#[test]
fn attention_by_blocks_is_attention() {
    for family in FAMILIES {
        let model = model(family);
        close(
            &format!("{family:?}"),
            &run(&model, &FEW_SCORES),
            &run(&model, &ALL),
        );
    }
}

#[test]
fn attention_by_blocks_sees_no_padding_and_needs_no_gradient() {
    for family in FAMILIES {
        let model = model(family);
        let rows = [text(29, 1), text(11, 2), text(17, 3)];
        for padding in [Padding::Left, Padding::Right] {
            let hidden = |model: &Llama, limits| {
                let tokens = Tokens::new(&rows, padding, &model.device());
                let hidden = model.forward_within(&tokens, limits).inner();
                let kept = (0..3).map(|row| {
                    let start = tokens.start(row);
                    let columns = start..start + tokens.lengths[row];
                    hidden
                        .clone()
                        .slice([row..row + 1, columns, 0..32])
                        .reshape([-1, 32])
                });
                Tensor::cat(kept.collect::<Vec<Tensor<2>>>(), 0)
            };
            use burn::module::Module as _;
            let plain = hidden(&model, &ALL);
            for blocks in [hidden(&model, &FEW_SCORES), hidden(&model.valid(), &FEW_SCORES)] {
                let worst = (blocks - plain.clone()).abs().max().into_scalar::<f32>();
                assert!(worst < 1e-4, "{family:?}, {padding:?}: {worst}");
            }
        }
    }
}

/// Bits are the same where the operations are; a device that fuses them may round a forward pass without gradient otherwise.
fn same(what: &str, again: &Run, kept: &Run) {
    match std::env::var("GCPO_TEST_DEVICE").is_ok() {
        true => close(what, again, kept),
        false => assert!(again == kept, "{what}"),
    }
}

#[test]
fn layers_computed_again_change_no_bit() {
    for family in FAMILIES {
        let model = model(family);
        let again = model.clone().with_gradient_checkpointing(true);
        let what = format!("{family:?}");
        same(&what, &run(&again, &ALL), &run(&model, &ALL));
    }
}

#[test]
fn layers_computed_again_change_no_bit_where_attention_and_logits_are_too() {
    let limits = Limits {
        scores_kept: 0,
        scores: FEW_SCORES.scores,
        ..FEW_LOGITS
    };
    for family in FAMILIES {
        let model = model(family);
        let again = model.clone().with_gradient_checkpointing(true);
        let what = format!("{family:?}");
        let (again, kept) = (run(&again, &limits), run(&model, &limits));
        same(&what, &again, &kept);
        close(&what, &again, &run(&model, &ALL));
    }
}

#[test]
fn layers_computed_again_change_no_bit_of_adapters() {
    let first = FAMILIES[1];
    for targets in [
        &[
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ][..],
        // Nothing is trained in the first layer, and in the second little.
        &["model.layers.1.self_attn.q_proj"][..],
    ] {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            if !model(first).device().supports_dtype(dtype.float()) {
                continue;
            }
            let model = adapted(model(first), targets).cast(dtype);
            let again = model.clone().with_gradient_checkpointing(true);
            let (again, kept) = (run(&again, &ALL), run(&model, &ALL));
            same(&format!("{targets:?} {dtype}"), &again, &kept);
            let trained = kept.grads.iter().filter(|(_, grad)| grad.is_some()).count();
            assert_eq!(trained, 2 * targets.len() * if targets.len() > 1 { 2 } else { 1 });
        }
    }
}

#[test]
fn adapters_have_gradients_where_logits_and_scores_are_computed_again() {
    let model = adapted(model(FAMILIES[8]), &["q_proj", "down_proj"]);
    close("few logits", &run(&model, &FEW_LOGITS), &run(&model, &ALL));
    close("few scores", &run(&model, &FEW_SCORES), &run(&model, &ALL));
}

#[test]
fn rows_that_are_run_together_are_of_like_length() {
    // A spread as of answers in words: most are short, a few are long, some reach the longest length.
    let length = |row: usize| {
        64 + (row * row * 37 + row * 11) % 97 + 448 * usize::from(row.is_multiple_of(9)) + (row % 5) * 23
    };
    let texts: Vec<Vec<u32>> = (0..64).map(|row| vec![0; length(row)]).collect();
    let real: usize = texts.iter().map(Vec::len).sum();
    let padded = 64 * texts.iter().map(Vec::len).max().unwrap();
    assert!(padded > 3 * real, "{padded} {real}");
    let batches: Vec<Vec<usize>> = alike(&texts).collect();
    let run: usize = batches.iter().map(|rows| rows.len() * texts[rows[0]].len()).sum();
    assert!(10 * run <= 11 * real, "{run} of {real}");
    assert!(batches.len() <= 12, "{}", batches.len());
    let mut rows = batches.concat();
    rows.sort_unstable();
    assert_eq!(rows, (0..64).collect::<Vec<_>>());
}
