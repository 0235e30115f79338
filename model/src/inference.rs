//! A model ready to generate: one door, two ways behind it.
//!
//! Where the parameters are f32 or bfloat16 on the processor's backend, fused code (`cpu`) runs them, in f32; everywhere else the
//! tensor operations of [`crate::llama`] over [`crate::cache::Cache`] do. Both give the same numbers up to rounding, and a test
//! says so.
//!
//! Axes: `b` rows, `d` features, `v` vocabulary.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::checkpoint::Described;
use crate::cpu;
use crate::device::is_processor;
use crate::dtype::Dtype;
use crate::llama::Llama;
use crate::runtime::Runtime;
use crate::tensors::Network;

pub use crate::runtime::{KvCache, Lanes, Logits, RowSource};

/// A model without gradients, laid out for generation. It is a snapshot: later updates of the model do not reach it.
#[derive(Debug, Clone)]
pub struct Inference(Arc<dyn Runtime>);

impl Inference {
    /// The fastest way that the model's device has. Adapters are part of the model as they are now: the processor merges them
    /// into what it lays out, tensor operations run them beside.
    pub fn new(model: &Llama) -> Self {
        Self::of(model.clone())
    }

    /// [`Inference::new`] of a model that nobody else needs: its parameters are given up one by one as they are laid out, so that they
    /// are not held twice.
    pub fn of(model: Llama) -> Self {
        let made = cpu::runtime(without_gradients(model));
        Self(made.unwrap_or_else(|model| Arc::new(Network(*model))))
    }

    /// By tensor operations, whatever the device.
    pub fn plain(model: &Llama) -> Self {
        Self(Arc::new(Network(without_gradients(model.clone()))))
    }

    /// Bytes that a row holds of its own for `tokens` tokens, at most.
    pub fn row_bytes(&self, tokens: usize) -> usize {
        self.0.row_bytes(tokens)
    }

    /// An empty cache for `rows` rows.
    ///
    /// # Panics
    /// `rows` is 0.
    pub fn cache(&self, rows: usize) -> Box<dyn KvCache> {
        assert!(rows > 0, "a cache needs at least one row");
        self.0.clone().cache(rows)
    }

    /// States after the final norm at the last tokens of texts, none empty, run alone.
    ///
    /// # Shapes
    /// `[b, d]`
    pub fn read(&self, texts: &[&[u32]]) -> Tensor<2> {
        self.0.clone().read(texts)
    }

    /// Logits of states, where they are computed.
    ///
    /// # Shapes
    /// `[b, d]`
    pub fn logits(&self, states_bd: Tensor<2>) -> Logits {
        self.0.logits(states_bd)
    }
}

/// The format in which a checkpoint's weights are read for [`Inference::of`], where numbers are computed in `dtype`: bfloat16 in place of
/// f32 where all of them have it and the processor's code runs the model, which gives the same bits from half the memory.
pub fn read_in(checkpoint: &Described, dtype: Dtype, device: &Device) -> Dtype {
    let is_short = checkpoint.numbers.keys().eq(["BF16"]);
    match dtype {
        Dtype::F32 if is_short && is_processor(device) && cpu::runs(&checkpoint.config) => Dtype::Bf16,
        _ => dtype,
    }
}

fn without_gradients(model: Llama) -> Llama {
    match model.device().is_autodiff() {
        true => model.valid(),
        false => model,
    }
}
