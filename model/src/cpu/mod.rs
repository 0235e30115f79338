//! The decoder on the processor, fused: what [`crate::inference::Inference`] runs where the parameters are f32 or bfloat16
//! on the processor's backend.
//!
//! burn's operations each make a tensor, read it again in the next, and share every one of them out among the threads;
//! with the few rows of a decoding step that costs more than the arithmetic. Here a task takes some tokens through all
//! layers by itself: weights are laid out once for the registers ([`product`]), keys and values once for the attention
//! ([`segment`]), and what stands between stays in the cache of one core. The plain tensor operations of
//! [`crate::llama`] and [`crate::cache`] remain: every other device runs them, and they are this module's test.
//!
//! A token's numbers depend on its context alone, to the last bit: not on the rows beside it, not on how its context is
//! cut into segments, not on the number of threads.

pub mod adamw;
mod attention;
mod cache;
mod forward;
mod job;
mod math;
mod product;
mod scratch;
mod segment;
#[cfg(test)]
mod tests;
mod train;
mod weight;
mod weights;

use burn::backend::BackendTypes;

pub(crate) use cache::runtime;
pub(crate) use train::{completion_logp, is_fused, tokens_run};

/// A tensor on the processor.
type Primitive = <crate::device::Processor as BackendTypes>::FloatTensorPrimitive;
