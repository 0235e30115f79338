//! An adapter ([`crate::lora`]) beside the weight of a projection: its numbers, and the weight that it and its base come to.

use burn::module::{Module, Param, Reparameterization};
use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::dtype::{cast, widen};
use crate::names;

/// An adapter, attached to the weight of a projection.
#[derive(Module, Debug)]
pub struct Adapter {
    /// `[in, r]`
    pub a: Param<Tensor<2>>,
    /// `[r, out]`
    pub b: Param<Tensor<2>>,
    /// `[out]`: how long the weights of each output are, with DoRA.
    pub magnitude: Option<Param<Tensor<1>>>,
    /// What `A B` is multiplied by.
    pub scale: f64,
}

impl Reparameterization for Adapter {
    const NAME: &'static str = names::ADAPTER;

    /// The weight that base and adapter come to.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let delta = self.delta().reshape(base.shape());
        let whole = cast(base, delta.dtype()) + delta;
        match &self.magnitude {
            None => whole,
            Some(magnitude) => {
                let factors = magnitude.val().unsqueeze::<D>() / lengths(whole.clone());
                whole * factors
            }
        }
    }
}

impl Adapter {
    /// `s A B`: `[in, out]`
    fn delta(&self) -> Tensor<2> {
        self.a.val().matmul(self.b.val()).mul_scalar(self.scale)
    }

    /// With DoRA, what each output of a base is multiplied by: `[1, out]`, differentiable in the magnitude alone.
    pub(crate) fn factors(&self, base: Tensor<2>) -> Option<Tensor<2>> {
        let magnitude = self.magnitude.as_ref()?;
        let [a, b] = [&self.a, &self.b].map(|factor| factor.val().without_autodiff());
        let whole = widen(base.without_autodiff()) + a.matmul(b).mul_scalar(self.scale);
        let (magnitude, lengths) = (magnitude.val().unsqueeze(), lengths(whole));
        let lengths = match magnitude.is_autodiff() {
            true => lengths.autodiff(),
            false => lengths,
        };
        Some(magnitude / lengths)
    }
}

/// The adapter of a projection, if it has one.
pub fn adapter(projection: &Linear) -> Option<&Adapter> {
    projection.weight.reparameterization()
}

/// How long the weights of each output are.
///
/// # Shapes
/// `[in, out]` to `[1, out]`
pub(crate) fn lengths<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    weight.square().sum_dim(0).sqrt()
}
