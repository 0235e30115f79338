//! The language models of gcpo: a Llama-style decoder on burn, its cache and its checkpoints.

pub mod cache;
pub mod config;
pub mod llama;
pub mod logp;
pub mod rope;
pub mod tokens;
