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
pub mod buffer;
mod cache;
mod forward;
mod job;
mod math;
mod product;
mod scratch;
mod segment;
pub mod sums;
#[cfg(test)]
mod tests;
mod train;
mod weight;
mod weights;

use burn::backend::BackendTypes;
use burn::tensor::{DType, Tensor};

use crate::device::Processor;

pub(crate) use cache::runtime;
pub(crate) use product::PANEL;
pub(crate) use train::{columns_at_once, completion_logp, is_fused, tokens_run};
pub(crate) use weights::runs;

/// A tensor on the processor.
type Primitive = <Processor as BackendTypes>::FloatTensorPrimitive;

/// A tensor whose numbers can be read where they lie, row by row; none where it is not f32 on the processor's backend.
fn in_f32<const D: usize>(tensor: Tensor<D>) -> Option<Primitive> {
    let primitive = tensor.try_into_primitive::<Processor>().ok()?;
    (primitive.dtype() == DType::F32).then(|| match primitive.as_slice::<f32>() {
        Some(_) => primitive,
        None => primitive.to_contiguous(),
    })
}
