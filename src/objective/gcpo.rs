//! Group Causal Policy Optimization (Gu et al., arXiv 2508.05428).

use burn::tensor::Tensor;

use super::loss::{BatchTotals, LossInputs, LossOutput, shape};
use super::terms::{Clipped, ProjectedKl, mean_of_token_means};
use super::{Hyper, Objective, ObjectiveError, group_advantage};

/// `B = A·Υ`, and 0 where `A` is: flat groups have no `Υ`.
pub(super) fn weigh(
    rewards_pg: Tensor<2>,
    upsilon_pg: Option<Tensor<2>>,
) -> Result<Tensor<2>, ObjectiveError> {
    let upsilon_pg = upsilon_pg.ok_or(ObjectiveError::MissingInput {
        objective: Objective::Gcpo,
        input: "the alignment `upsilon_pg`",
        because: "weighted advantages",
    })?;
    shape("upsilon_pg", &upsilon_pg.dims(), &rewards_pg.dims())?;
    let advantage_pg = group_advantage(rewards_pg);
    let upsilon_pg = upsilon_pg.inner().cast(advantage_pg.dtype());
    let unused_pg = advantage_pg.clone().equal_scalar(0.0);
    Ok((advantage_pg * upsilon_pg).mask_fill(unused_pg, 0.0))
}

/// `−(1/N) Σ_i (1/T_i) Σ_t [ min(R·B, clip(R)·B) − β K − κ K' ]` (eq. 10, negated).
pub(super) fn loss(inputs: &LossInputs, totals: &BatchTotals, hyper: &Hyper) -> LossOutput {
    let mut clipped = Clipped::new(inputs, hyper);
    let kl_projected = inputs
        .projected
        .as_ref()
        .map(|projected| ProjectedKl::new(&clipped.rows, projected, hyper));
    if let Some(kl) = kl_projected.as_ref().filter(|_| hyper.kappa != 0.0) {
        clipped.objective_bt = clipped.objective_bt - kl.value_bt.clone().mul_scalar(hyper.kappa);
    }
    mean_of_token_means(clipped, kl_projected, totals)
}
