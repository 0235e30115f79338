//! The fused way against the tensor operations, and against itself in other batches.

use std::path::Path;

use super::{Cache, Weights};
use crate::config::ModelConfig;
use crate::inference::{Inference, KvCache, Source};
use crate::llama::Llama;
use crate::test_device;

/// Shapes whose heads and widths are no multiples of a panel, biases, head norms, a tied head.
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

fn host<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// A trunk, branches below it, leaves below those, then single tokens: states on the way, and scores at the end.
fn journey(inference: &Inference) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    let mut trunk = inference.cache(2);
    all.push(host(inference.advance(&mut trunk, &[text(70, 1), text(9, 2)])));
    let mut branches = trunk.fork(&[0, 1, 0]);
    all.push(host(
        inference.advance(&mut branches, &[text(33, 3), text(1, 4), text(5, 5)]),
    ));
    let mut leaves = branches.fork(&[0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
    for step in 0..40 {
        let next: Vec<Vec<u32>> = (0..leaves.rows()).map(|row| text(1, row * 7 + step)).collect();
        all.push(host(inference.advance(&mut leaves, &next)));
        if step == 20 {
            // In order, as a device has it.
            let trunk = leaves.fork(&[0]);
            let kept = [0, 2, 3, 10].map(Source::Row);
            leaves = KvCache::seated(Some(leaves), &trunk, &kept);
        }
    }
    let states = all.last().unwrap().clone();
    let d = inference.config().hidden_size;
    let states = burn::tensor::TensorData::new(states, [4, d]);
    let states = burn::tensor::Tensor::from_data(states, &inference.device());
    let tokens = [text(60, 8), text(1, 9), text(2, 10), text(17, 11)];
    let tokens: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    all.extend(inference.score(leaves, states, &tokens, 0.7));
    all.push(host(inference.read(&[text(120, 12), text(3, 13)])));
    all
}

#[test]
fn the_fused_way_gives_what_tensor_operations_give() {
    for model in models() {
        let fused = Inference::new(&model);
        assert!(fused.is_on_host());
        let plain = Inference::plain(&model);
        assert!(!plain.is_on_host());
        let name = format!("{:?}", model.config().model_type);
        for (fused, plain) in journey(&fused).iter().zip(&journey(&plain)) {
            close(fused, plain, &name);
        }
        let states = plain.read(&[text(20, 1), text(5, 2)]);
        close(
            &fused.host_logits(states.clone()),
            &plain.host_logits(states),
            &name,
        );
    }
}

/// States of a text run in the given pieces, each below the last.
fn in_pieces(weights: &Weights, pieces: &[&[u32]]) -> Vec<f32> {
    let mut cache = weights.cache(1);
    let mut states = Vec::new();
    for piece in pieces {
        cache = cache.fork(&[0]);
        states = weights.advance(&mut cache, &[piece]);
    }
    states
}

#[test]
fn a_text_has_the_same_bits_however_it_is_cut_and_batched() {
    for model in models() {
        let weights = Weights::new(&model).unwrap();
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
            let states = weights.advance(&mut weights.cache(texts.len()), &texts);
            let d = alone.len();
            assert_eq!(alone, states[others / 2 * d..][..d], "{others}");
        }
    }
}

#[test]
fn rows_that_part_share_what_they_have_in_common() {
    let weights = Weights::new(&models()[0]).unwrap();
    let trunk = {
        let mut trunk = weights.cache(2);
        weights.advance(&mut trunk, &[text(20, 1), text(30, 2)]);
        trunk.fork(&[0, 1, 1])
    };
    let alone = |pieces: &[Vec<u32>]| {
        let mut cache = weights.cache(1);
        weights.advance(&mut cache, &[pieces.concat()])
    };
    let mut rows = Cache::seated(None, &trunk, &[Source::Trunk(0), Source::Trunk(1)]);
    weights.advance(&mut rows, &[[7], [8]]);
    let sources = [Source::Row(1), Source::Row(0), Source::Trunk(2), Source::Row(0)];
    let mut rows = Cache::seated(Some(rows), &trunk, &sources);
    let states = weights.advance(&mut rows, &[[1], [2], [3], [4]]);
    let wanted = [
        alone(&[text(30, 2), vec![8, 1]]),
        alone(&[text(20, 1), vec![7, 2]]),
        alone(&[text(30, 2), vec![3]]),
        alone(&[text(20, 1), vec![7, 4]]),
    ];
    assert_eq!(states, wanted.concat());
    assert_eq!(rows.lengths(), [32, 22, 31, 22]);
}

#[test]
fn what_rows_share_is_held_once() {
    let weights = Weights::new(&models()[0]).unwrap();
    let mut trunk = weights.cache(1);
    weights.advance(&mut trunk, &[text(64, 1)]);
    let held = trunk.bytes();
    assert_eq!(held, 2 * weights.block.bytes());
    let mut rows = trunk.fork(&[0; 8]);
    assert_eq!(rows.bytes(), held);
    let next: Vec<[u32; 1]> = (0..8).map(|i| [i]).collect();
    weights.advance(&mut rows, &next);
    assert_eq!(rows.bytes(), held + 8 * weights.block.bytes());
    // A fork does not see what its origin reads later.
    let before: Cache = trunk.clone();
    weights.advance(&mut trunk, &[text(3, 2)]);
    assert_eq!((before.lengths(), trunk.lengths()), (vec![64], vec![67]));
    let mut again = weights.cache(1);
    weights.advance(&mut again, &[text(64, 1)]);
    assert_eq!(
        weights.advance(&mut before.fork(&[0]), &[[5]]),
        weights.advance(&mut again, &[[5]])
    );
}
