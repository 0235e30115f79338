//! What a gradient keeps of a long text and of a large vocabulary, by tensor operations: the process's own peak says it. In a file of its own,
//! so that nothing else runs in the process.
#![cfg(target_os = "linux")]

use std::path::Path;

use gcpo_model::config::ModelConfig;
use gcpo_model::device::{of_tests, peak_of_this_process};
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;

struct Network {
    layers: usize,
    vocabulary: usize,
    hidden: usize,
    feed_forward: usize,
    recomputes: bool,
}

const SMALL: Network = Network {
    layers: 1,
    vocabulary: 61,
    hidden: 16,
    feed_forward: 16,
    recomputes: false,
};

/// MiB of the process's peak behind a forward and a backward pass over a text of `length` tokens.
fn peak(network: &Network, length: u32) -> u64 {
    // A family that the processor has no kernels of its own for.
    let config = serde_json::json!({
        "model_type": "olmo2", "vocab_size": network.vocabulary, "hidden_size": network.hidden,
        "intermediate_size": network.feed_forward, "num_hidden_layers": network.layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 4096
    });
    let config = ModelConfig::from_json(config.to_string().as_bytes(), Path::new("config.json")).unwrap();
    assert!(!config.is_plain_llama());
    let model =
        Llama::init(&config, 1, &of_tests().autodiff()).with_gradient_checkpointing(network.recomputes);
    let text: Vec<u32> = (0..length).map(|at| at * 7919 % 61).collect();
    let logp = completion_logp(&model, &[text.split_at(1)], 1.0).logp_bt;
    let grads = logp.mean().neg().backward();
    assert!(model.model.norm.weight.val().grad(&grads).is_some());
    peak_of_this_process().unwrap() >> 20
}

#[test]
fn neither_layers_nor_scores_nor_logits_are_kept() {
    // A device's memory is not the process's.
    if std::env::var("GCPO_TEST_DEVICE").is_ok() {
        return;
    }
    // 24 layers with 600 × 2048 gates, ups and what is made of them: 110 MiB for each of these that is kept.
    let layers = Network {
        layers: 24,
        hidden: 64,
        feed_forward: 2048,
        recomputes: true,
        ..SMALL
    };
    let layers = peak(&layers, 600);
    // 8 layers with 4 × 2048² scores, 64 MiB for each time that a layer keeps them.
    let scores = peak(&Network { layers: 8, ..SMALL }, 2048);
    // 1000 × 100000 logits, 380 MiB for each time that they are kept.
    let logits = Network {
        vocabulary: 100_000,
        ..SMALL
    };
    let logits = peak(&logits, 1000);
    println!("{layers}, {scores} and {logits} MiB");
    assert!(layers < 300, "layers: {layers} MiB");
    assert!(scores < 500, "scores: {scores} MiB");
    assert!(logits < 500, "logits: {logits} MiB");
}
