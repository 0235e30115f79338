//! The fused way against the tensor operations, and against itself in other batches.

use std::path::Path;
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::Tensor;

use super::segment::{Row, bytes};
use super::weights::Weights;
use crate::config::ModelConfig;
use crate::dtype::Dtype;
use crate::inference::{Inference, KvCache, Logits, RowSource};
use crate::llama::Llama;
use crate::lora::{Lora, Targets, attach};
use crate::names::{self, ParamPath};
use crate::runtime::Runtime as _;
use crate::test_device;

/// Shapes whose heads and widths are no multiples of a panel, biases, head norms, a tied head, and what families differ in.
fn models() -> Vec<Llama> {
    let llama = serde_json::json!({
        "model_type": "llama", "vocab_size": 50, "hidden_size": 48, "intermediate_size": 72,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "max_position_embeddings": 512, "initializer_range": 0.2,
    });
    let with = |changes: serde_json::Value| {
        let mut config = llama.clone();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        let config = ModelConfig::from_json(config.to_string().as_bytes(), Path::new("test")).unwrap();
        Llama::init(&config, 3, &test_device())
    };
    vec![
        with(serde_json::json!({})),
        with(serde_json::json!({ "model_type": "qwen2", "tie_word_embeddings": true })),
        with(serde_json::json!({ "model_type": "qwen3", "head_dim": 40, "num_key_value_heads": 1 })),
        with(serde_json::json!({ "attention_bias": true, "mlp_bias": true, "num_key_value_heads": 4 })),
        with(serde_json::json!({ "model_type": "mistral", "sliding_window": 37 })),
        with(serde_json::json!({
            "model_type": "smollm3", "no_rope_layer_interval": 2, "use_sliding_window": true, "sliding_window": 5,
        })),
        with(serde_json::json!({ "model_type": "olmo2" })),
        with(serde_json::json!({
            "model_type": "granite", "embedding_multiplier": 3, "residual_multiplier": 0.4, "attention_multiplier": 0.3,
            "logits_scaling": 2,
        })),
        with(serde_json::json!({ "model_type": "phi3", "partial_rotary_factor": 0.5, "sliding_window": 20 })),
        with(serde_json::json!({ "model_type": "gemma" })),
        with(serde_json::json!({
            "model_type": "gemma2", "sliding_window": 33, "attn_logit_softcapping": 2, "final_logit_softcapping": 3,
        })),
        with(serde_json::json!({
            "model_type": "gemma3_text", "sliding_window": 33, "sliding_window_pattern": 2, "head_dim": 20,
        })),
    ]
}

fn text(length: usize, seed: usize) -> Vec<u32> {
    (0..length)
        .map(|i| ((i * 31 + seed * 17 + i * i) % 50) as u32)
        .collect()
}

fn close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{what}: {a} {b}");
    }
}

fn advance(cache: &mut dyn KvCache, tokens: &[impl AsRef<[u32]>]) -> Vec<f32> {
    let tokens: Vec<&[u32]> = tokens.iter().map(AsRef::as_ref).collect();
    host(cache.advance(&tokens))
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// A trunk, branches below it, leaves below those, then single tokens: states on the way, and scores at the end.
fn journey(inference: &Inference) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    let mut trunk = inference.cache(2);
    all.push(advance(&mut *trunk, &[text(70, 1), text(9, 2)]));
    let mut branches = trunk.fork(&[0, 1, 0]);
    all.push(advance(&mut *branches, &[text(33, 3), text(1, 4), text(5, 5)]));
    let mut lanes = branches.lanes(&[0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
    let mut rows = 11;
    lanes.arrange(&(0..rows).map(RowSource::Trunk).collect::<Vec<_>>());
    for step in 0..40 {
        let next: Vec<u32> = (0..rows).map(|row| text(1, row * 7 + step)[0]).collect();
        all.push(host(lanes.step(&next)));
        if step == 20 {
            // In order, as a device has it.
            lanes.arrange(&[0, 2, 3, 10].map(RowSource::Row));
            rows = 4;
        }
    }
    let tokens = [text(60, 8), text(1, 9), text(2, 10), text(17, 11)];
    let tokens: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let mut leaves = branches.fork(&[0, 2, 1, 0]);
    let states = leaves.advance(&tokens);
    all.push(host(states.clone()));
    all.extend(leaves.score(states, &tokens, 0.7));
    all.push(host(inference.read(&[&text(120, 12), &text(3, 13)])));
    all
}

#[test]
fn the_fused_way_gives_what_tensor_operations_give() {
    for model in models() {
        let (fused, plain) = (Inference::new(&model), Inference::plain(&model));
        let name = format!("{:?}", model.config().model_type);
        for (fused, plain) in journey(&fused).iter().zip(&journey(&plain)) {
            close(fused, plain, &name);
        }
        let states = plain.read(&[&text(20, 1), &text(5, 2)]);
        let (fused, plain) = (fused.logits(states.clone()), plain.logits(states));
        let (Logits::Host(fused), Logits::Device(plain)) = (fused, plain) else {
            panic!("logits are where they are computed");
        };
        close(&fused, &host(plain), &name);
    }
}

/// Weights that lose nothing in bfloat16, kept in f32 and in bfloat16.
fn rounded_and_short(model: &Llama) -> [Llama; 2] {
    let short = model.clone().cast(Dtype::Bf16);
    [short.clone().cast(Dtype::F32), short]
}

#[test]
fn bfloat16_gives_the_bits_of_f32_with_the_same_weights() {
    for model in models() {
        let [wide, short] = rounded_and_short(&model).map(|model| Inference::new(&model));
        assert_eq!(journey(&short), journey(&wide), "{:?}", model.config().model_type);
    }
    let model = &models()[1];
    // Numbers in f32 that bfloat16 holds are kept in it.
    let [wide, short] = rounded_and_short(model).map(|model| weights(&model));
    assert_eq!([short.bytes(), wide.bytes()], [weights(model).bytes() / 2; 2]);
}

#[test]
fn adapters_over_bfloat16_are_not_rounded() {
    for use_dora in [false, true] {
        let lora = Lora {
            r: 2,
            alpha: 3.0,
            use_rslora: false,
            use_dora,
            dropout: 0.0,
            targets: Targets::Named(vec!["q_proj".into(), "down_proj".into()]),
        };
        let mut at = 0;
        let mut draw = || {
            at += 1;
            f64::from(at * 7919 % 1009) / 1009.0
        };
        let model = attach(models()[0].clone(), &lora, &mut draw).unwrap();
        let model = names::map(model, &mut Move);
        let [wide, short] = rounded_and_short(&model).map(|model| Inference::new(&model));
        assert_eq!(journey(&short), journey(&wide), "use_dora = {use_dora}");
    }
}

/// Moves what adapters begin with away from 0, by less than bfloat16 would see.
struct Move;

impl names::Map for Move {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match at.is_adapter() {
            true => names::with_value(param, |value| value + 1e-4),
            false => param,
        }
    }
}

fn weights(model: &Llama) -> Arc<Weights> {
    Arc::new(Weights::new(model.clone()).unwrap())
}

/// States of a text run in the given pieces, each below the last.
fn in_pieces(weights: &Arc<Weights>, pieces: &[&[u32]]) -> Vec<f32> {
    let mut cache = weights.clone().cache(1);
    let mut states = Vec::new();
    for piece in pieces {
        cache = cache.fork(&[0]);
        states = advance(&mut *cache, &[piece]);
    }
    states
}

#[test]
fn a_text_has_the_same_bits_however_it_is_cut_and_batched() {
    for model in models() {
        let weights = weights(&model);
        let whole = text(101, 1);
        let alone = in_pieces(&weights, &[&whole]);
        assert_eq!(
            alone,
            in_pieces(&weights, &[&whole[..40], &whole[40..41], &whole[41..]])
        );
        let singles: Vec<&[u32]> = whole.chunks(1).collect();
        assert_eq!(alone, in_pieces(&weights, &singles));
        for others in [1, 3, 20] {
            let mut texts: Vec<Vec<u32>> = (0..others).map(|i| text(1 + 13 * i, i)).collect();
            texts.insert(others / 2, whole.clone());
            let states = advance(&mut *weights.clone().cache(texts.len()), &texts);
            let d = alone.len();
            assert_eq!(alone, states[others / 2 * d..][..d], "{others}");
        }
    }
}

#[test]
fn rows_that_part_share_what_they_have_in_common() {
    let weights = weights(&models()[0]);
    let mut trunk = weights.clone().cache(2);
    advance(&mut *trunk, &[text(20, 1), text(30, 2)]);
    let alone = |pieces: &[Vec<u32>]| advance(&mut *weights.clone().cache(1), &[pieces.concat()]);
    let mut rows = trunk.lanes(&[0, 1, 1]);
    rows.arrange(&[RowSource::Trunk(0), RowSource::Trunk(1)]);
    rows.step(&[7, 8]);
    rows.arrange(&[
        RowSource::Row(1),
        RowSource::Row(0),
        RowSource::Trunk(2),
        RowSource::Row(0),
    ]);
    let states = host(rows.step(&[1, 2, 3, 4]));
    let wanted = [
        alone(&[text(30, 2), vec![8, 1]]),
        alone(&[text(20, 1), vec![7, 2]]),
        alone(&[text(30, 2), vec![3]]),
        alone(&[text(20, 1), vec![7, 4]]),
    ];
    assert_eq!(states, wanted.concat());
}

#[test]
fn what_rows_share_is_held_once() {
    let weights = weights(&models()[0]);
    let block = weights.block.bytes();
    let run = |rows: &mut [Row], tokens: &[Vec<u32>]| weights.advance(rows, tokens.iter().map(Vec::as_slice));
    let mut trunk = vec![Row::default()];
    run(&mut trunk, &[text(64, 1)]);
    assert_eq!(bytes(trunk.iter()), 2 * block);
    let mut rows: Vec<Row> = (0..8).map(|_| trunk[0].fork()).collect();
    assert_eq!(bytes(rows.iter()), 2 * block);
    let next: Vec<Vec<u32>> = (0..8).map(|i| vec![i]).collect();
    run(&mut rows, &next);
    assert_eq!(bytes(rows.iter()), 10 * block);
    assert_eq!(bytes(rows.iter().chain(&trunk)), 10 * block);
    // A fork does not see what its origin reads later.
    let before = trunk.clone();
    run(&mut trunk, &[text(3, 2)]);
    assert_eq!((before[0].length, trunk[0].length), (64, 67));
    let mut again = vec![Row::default()];
    run(&mut again, &[text(64, 1)]);
    assert_eq!(
        run(&mut [before[0].fork()], &[vec![5]]),
        run(&mut again, &[vec![5]])
    );
}
