//! The language models of gcpo: a Llama-style decoder on burn, its cache and its checkpoints.

pub mod adapter;
mod attend;
mod attention;
pub mod cache;
pub mod checkpoint;
pub mod classifier;
pub mod config;
mod cpu;
pub mod device;
pub mod dropout;
pub mod dtype;
mod feed_forward;
mod fields;
mod files;
pub mod generation;
mod head;
pub mod host;
pub mod inference;
mod json;
mod layer;
mod limits;
pub mod llama;
pub mod logp;
pub mod lora;
pub mod memory;
pub mod names;
mod norm;
mod projection;
pub mod quickstart;
mod recompute;
pub mod rope;
mod runtime;
mod tensors;
pub mod tokens;

pub use cpu::{adamw, buffer, sums};

/// The device that the unit tests run on; those in `tests/` have a function of their own.
#[cfg(test)]
fn test_device() -> burn::tensor::Device {
    device::of_tests()
}
