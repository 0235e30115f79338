//! The language models of gcpo: a Llama-style decoder on burn, its cache and its checkpoints.

pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod generation;
pub mod llama;
pub mod logp;
pub mod names;
pub mod quickstart;
pub mod rope;
pub mod tokens;
