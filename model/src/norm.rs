//! The RMS norm.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::config::NormWeight;
use crate::dtype::{cast, widen};

/// `x / sqrt(mean(x²) + eps) · weight`, over the last axis.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[d]`
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
    #[module(skip)]
    kind: NormWeight,
}

impl RmsNorm {
    pub(crate) fn new(weight: Param<Tensor<1>>, eps: f64, kind: NormWeight) -> Self {
        Self { weight, eps, kind }
    }

    /// What is added to the weight.
    pub(crate) fn offset(&self) -> f32 {
        match self.kind {
            NormWeight::Added => 1.0,
            NormWeight::Rounded | NormWeight::Wide => 0.0,
        }
    }

    /// Normalises the last axis.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        let x = widen(x);
        let rms = (x.clone().square().mean_dim(D - 1) + self.eps).sqrt();
        let weight = self.weight.val().unsqueeze();
        match self.kind {
            // Rounded before the weight comes in, as in transformers.
            NormWeight::Rounded => cast(x / rms, dtype) * weight,
            NormWeight::Wide => cast(x / rms * widen(weight), dtype),
            NormWeight::Added => cast(x / rms * (widen(weight) + 1.0), dtype),
        }
    }
}
