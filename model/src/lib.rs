//! The language models of gcpo: a Llama-style decoder on burn, its cache and its checkpoints.

mod attention;
pub mod cache;
pub mod checkpoint;
pub mod config;
mod cpu;
pub mod device;
pub mod dtype;
mod feed_forward;
mod fields;
mod files;
pub mod generation;
pub mod host;
pub mod inference;
mod json;
pub mod llama;
pub mod logp;
pub mod lora;
pub mod memory;
pub mod names;
mod norm;
mod projection;
pub mod quickstart;
pub mod rope;
mod runtime;
mod tensors;
pub mod tokens;

/// The device that the unit tests run on; those in `tests/` have a function of their own.
#[cfg(test)]
fn test_device() -> burn::tensor::Device {
    device::of_tests()
}
