//! Bytes that a network takes, counted from its configuration before there is one: what `gcpo inspect` prints and `gcpo plan` adds up.
//!
//! Numbers are in float32 unless a function says otherwise. What cannot be counted in 128 bits is the most that can.

use crate::config::ModelConfig;
use crate::cpu::{PANEL, columns_at_once};
use crate::limits::Limits;
use crate::logp::keeps_scores;

/// Bytes of so many numbers in float32.
pub fn f32s(sizes: &[usize]) -> u128 {
    sizes.iter().fold(size_of::<f32>() as u128, |product, &size| {
        product.saturating_mul(size as u128)
    })
}

/// The weights.
pub fn weights(config: &ModelConfig) -> u128 {
    f32s(&[config.parameters()])
}

/// Weights in single tensors of `least` bytes or more.
pub fn weights_in_large(config: &ModelConfig, least: u128) -> u128 {
    let [d, f] = [config.hidden_size, config.intermediate_size];
    let q = config.num_attention_heads * config.head_dim;
    let large = |sizes: &[usize]| Some(f32s(sizes)).filter(|&bytes| bytes >= least).unwrap_or(0);
    let embeddings = if config.tie_word_embeddings { 1 } else { 2 };
    let layer = 3 * large(&[d, f]) + 2 * large(&[d, q]);
    embeddings * large(&[config.vocab_size, d]) + config.num_hidden_layers as u128 * layer
}

/// What sampling lays out for the processor in float32 beside the weights: all of them once more.
pub fn laid_out(config: &ModelConfig) -> u128 {
    weights(config)
}

/// Keys and values of rows of so many tokens.
pub fn keys_and_values(config: &ModelConfig, rows: usize, tokens: usize) -> u128 {
    f32s(&[rows, tokens, config.kv_numbers_per_token()])
}

/// The same on the processor in float32, which holds whole blocks.
pub fn keys_and_values_in_blocks(config: &ModelConfig, rows: usize, tokens: usize) -> u128 {
    let head = config.head_dim + config.head_dim.next_multiple_of(PANEL);
    let heads = config.num_hidden_layers * config.num_key_value_heads;
    f32s(&[rows, tokens.div_ceil(PANEL), PANEL, heads, head])
}

/// What the backward pass needs of the forward pass, by tensor operations; about. `recomputes`: with gradient checkpointing.
pub fn activations_by_tensors(config: &ModelConfig, rows: usize, length: usize, recomputes: bool) -> u128 {
    let (d, f) = (config.hidden_size, config.active_intermediate_size());
    let heads = config.num_attention_heads;
    let q = heads * config.head_dim;
    let kv = config.num_key_value_heads * config.head_dim;
    // A layer keeps its two norms' inputs and outputs, q, k and v before and after rotation, the attention's output, and
    // the four products of the MLP; and where there are few of them, the scores and their softmax.
    let scores = match keeps_scores(config, rows, length) {
        true => f32s(&[2, heads, length]),
        false => 0,
    };
    let per_token = f32s(&[5 * d + 3 * q + 4 * kv + 4 * f]).saturating_add(scores);
    let layers = config.num_hidden_layers;
    let all_layers = match recomputes {
        // The states before each layer, and all of one layer with its gradients.
        true => f32s(&[layers, d]).saturating_add(per_token.saturating_mul(2)),
        false => per_token.saturating_mul(layers as u128),
    };
    all_layers
        .saturating_mul(rows as u128)
        .saturating_mul(length as u128)
}

/// The same on the processor in float32, of the tokens that are run, what rows share counted once; none of a family that has no way of
/// its own there. `recomputes`: with gradient checkpointing.
pub fn activations_on_processor(config: &ModelConfig, tokens: usize, recomputes: bool) -> Option<u128> {
    if !config.is_plain_llama() {
        return None;
    }
    let (d, f) = (config.hidden_size, config.intermediate_size);
    let q = config.num_attention_heads * config.head_dim;
    let kv = config.num_key_value_heads * config.head_dim;
    let layers = config.num_hidden_layers;
    // What a layer keeps: the states before it and behind attention, q, k and v, attention's output, gates and ups. Recomputed, the
    // states before it alone; and all of one layer with its gradients.
    let kept = 2 * d + 2 * q + 2 * kv + 2 * f;
    let of_layers = if recomputes { layers * d } else { layers * kept };
    let one_layer = if recomputes { 2 * kept } else { kept };
    Some(f32s(&[tokens, of_layers]).saturating_add(f32s(&[tokens, one_layer])))
}

/// What the head of the processor's way takes while it works on so many states: a part of the vocabulary, laid out twice, and its logits.
pub fn head_on_processor(config: &ModelConfig, states: usize) -> u128 {
    let columns = columns_at_once(states).min(config.vocab_size);
    f32s(&[2 * config.hidden_size + states, columns])
}

/// What log-probabilities by tensor operations keep for the backward pass: the logits of so many states, their softmax and its logarithm, of
/// no more states than are held at once.
pub fn logits_by_tensors(config: &ModelConfig, states: usize) -> u128 {
    let at_once = (Limits::USUAL.logits / config.vocab_size.max(1)).max(1);
    f32s(&[3, states.min(at_once), config.vocab_size])
}
