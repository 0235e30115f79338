//! A linear layer of the decoder, with its adapter ([`crate::lora`]) where it has one.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::module::linear;
use burn::tensor::{Tensor, TensorData};

use crate::adapter::adapter;
use crate::dropout::{Dropout, Mark};
use crate::dtype::{cast, widen};

/// What runs a layer's projections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Projector<'a> {
    /// Number of the layer.
    pub layer: usize,
    /// What is left out of the inputs of adapters, and the marks of the tokens that they are of; nothing where it does not train.
    pub dropout: Option<(Dropout, &'a [Mark])>,
}

impl Projector<'_> {
    /// What projections without adapters need.
    pub const PLAIN: Self = Self {
        layer: 0,
        dropout: None,
    };

    /// The projection `name` of `x`, `[n, in]` to `[n, out]`, with its adapter where it has one. The factors are in f32; the sum is
    /// rounded to the format of `x` once.
    pub fn project(self, name: &str, projection: &Linear, x: Tensor<2>) -> Tensor<2> {
        let Some(adapter) = adapter(projection) else {
            return projection.forward(x);
        };
        let dtype = x.dtype();
        let (base, bias) = (projection.weight.base(), projection.bias.as_ref().map(Param::val));
        let dropped = self.dropped(name, widen(x.clone()));
        let low = dropped.clone().matmul(adapter.a.val());
        let delta = low.matmul(adapter.b.val()).mul_scalar(adapter.scale);
        let sum = match adapter.factors(base.clone()) {
            None => widen(linear(x, base, bias)) + delta,
            Some(factors) => {
                let plain = widen(linear(x, base.clone(), bias));
                // As PEFT: what is left out is left out of what is scaled, too.
                let scaled = widen(linear(cast(dropped, dtype), base, None));
                plain + scaled * (factors.clone() - 1.0) + delta * factors
            }
        };
        cast(sum, dtype)
    }

    /// What an adapter takes of `x`, `[n, in]`. The factors are made on the host, so that they are the same on every device.
    fn dropped(self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let Some((dropout, marks)) = self.dropout else {
            return x;
        };
        let [n, width] = x.dims();
        assert_eq!(n, marks.len(), "a mark for each token");
        let mask = dropout.of(self.layer, name);
        let mut factors = vec![1.0f32; n * width];
        for (mark, line) in marks.iter().zip(factors.chunks_exact_mut(width)) {
            mask.apply(*mark, line);
        }
        let factors = Tensor::from_data(TensorData::new(factors, [n, width]), &x.device());
        x * factors
    }
}
