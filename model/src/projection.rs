//! A linear layer of the decoder, with its adapter ([`crate::lora`]) where it has one.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::module::linear;

use crate::dtype::{cast, widen};

/// A projection of `x`, `[n, in]` to `[n, out]`, with its adapter where it has one. The factors are in f32; the sum is rounded to
/// the format of `x` once.
pub(crate) fn project(projection: &Linear, x: Tensor<2>) -> Tensor<2> {
    let Some(adapter) = projection.weight.adapter() else {
        return projection.forward(x);
    };
    let dtype = x.dtype();
    let bias = projection.bias.as_ref().map(Param::val);
    let low = widen(x.clone()).matmul(adapter.a.val());
    let delta = low.matmul(adapter.b.val()).mul_scalar(adapter.scale);
    cast(widen(linear(x, projection.weight.base(), bias)) + delta, dtype)
}
