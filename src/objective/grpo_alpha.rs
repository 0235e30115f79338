//! The control `GRPO × α`: what GCPO is where every cosine is 1 and `κ` is 0.

use burn::tensor::Tensor;

use super::{Hyper, group_advantage};

/// `α·A`; the loss is GRPO's.
pub(super) fn weigh(rewards_pg: Tensor<2>, hyper: &Hyper) -> Tensor<2> {
    group_advantage(rewards_pg).mul_scalar(hyper.alpha)
}
