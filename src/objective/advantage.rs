//! Weights of the candidates in the loss: advantages inside a group (eq. 8), times what weighs them (eq. 11).

use burn::tensor::Tensor;

use super::inputs::shape;
use super::{Baseline, Objective, ObjectiveError, Scale, Weight};

/// `ε_A` of eq. 8, as in TRL.
pub const ADVANTAGE_EPS: f64 = 1e-4;

impl Objective {
    /// The weight of every candidate in the loss: its advantage `A` times `Υ`, α or 1
    /// (`B = A·Υ`, eq. 11). Detached.
    ///
    /// Equal rewards in a group give exactly 0, and so does a group of one. `upsilon_pg` is used
    /// where [`Objective::needs_projection`] says so and ignored otherwise. Where `A` is 0 the
    /// weight is 0, whatever `Υ` holds there (groups of equal rewards have none).
    ///
    /// # Shapes
    /// - `rewards_pg`: `[p, g]`, all rewards of the step, any float dtype
    /// - `upsilon_pg`: `[p, g]`
    /// - returns `[p, g]`; reshape to `[p·g]` for [`LossInputs::advantage_b`](super::LossInputs::advantage_b)
    ///
    /// # Errors
    /// [`ObjectiveError::MissingInput`] without an `upsilon_pg` that is needed,
    /// [`ObjectiveError::Shape`] where it does not fit.
    pub fn weigh(
        &self,
        rewards_pg: Tensor<2>,
        upsilon_pg: Option<Tensor<2>>,
    ) -> Result<Tensor<2>, ObjectiveError> {
        let advantage_pg = advantage(rewards_pg.inner(), self.baseline, self.scale);
        match self.weight {
            Weight::One => Ok(advantage_pg),
            Weight::Alpha(alpha) => Ok(advantage_pg.mul_scalar(alpha)),
            Weight::Upsilon(_) => {
                let upsilon_pg = upsilon_pg.ok_or(ObjectiveError::MissingInput {
                    objective: self.name,
                    input: "the alignment `upsilon_pg`",
                    because: "weighted advantages",
                })?;
                shape("upsilon_pg", &upsilon_pg.dims(), &advantage_pg.dims())?;
                let upsilon_pg = upsilon_pg.inner().cast(advantage_pg.dtype());
                let unused_pg = advantage_pg.clone().equal_scalar(0.0);
                Ok((advantage_pg * upsilon_pg).mask_fill(unused_pg, 0.0))
            }
        }
    }
}

/// The advantage of every candidate: `A = (r − baseline) / (std r + ε_A)` (eq. 8).
///
/// # Shapes
/// - `rewards_pg`: `[p, g]`
/// - returns `[p, g]`
fn advantage(rewards_pg: Tensor<2>, baseline: Baseline, scale: Scale) -> Tensor<2> {
    let [p, g] = rewards_pg.dims();
    let centred_pg = centre(rewards_pg.clone());
    let above_pg = match baseline {
        Baseline::Mean => centred_pg.clone(),
        // r_i − mean_{k≠i} r_k = (r_i − mean r)·g/(g − 1)
        Baseline::LeaveOneOut => centred_pg.clone().mul_scalar(g as f64 / others(g)),
    };
    let std = match scale {
        Scale::GroupStd => std_p1(centred_pg),
        Scale::BatchStd => std_p1(centre(rewards_pg.reshape([1, p * g]))),
        Scale::None => return above_pg,
    };
    above_pg / std.add_scalar(ADVANTAGE_EPS)
}

/// `r − mean r` in every group.
///
/// The first reward is taken off before the mean is, so that equal rewards give exactly 0: the
/// mean of n equal floats need not be that float.
fn centre(rewards_pg: Tensor<2>) -> Tensor<2> {
    let shifted_pg = rewards_pg.clone() - rewards_pg.narrow(1, 0, 1);
    shifted_pg.clone() - shifted_pg.mean_dim(1)
}

/// The standard deviation of every group with `n − 1` in its denominator (ddof 1), `[p, 1]`.
fn std_p1(centred_pg: Tensor<2>) -> Tensor<2> {
    let [_, g] = centred_pg.dims();
    centred_pg.square().sum_dim(1).div_scalar(others(g)).sqrt()
}

/// `n − 1`, at least 1.
fn others(n: usize) -> f64 {
    n.saturating_sub(1).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{f64s, tensor2};

    fn of(rewards: &[&[f64]], baseline: Baseline, scale: Scale) -> Vec<f64> {
        f64s(advantage(tensor2(rewards), baseline, scale))
    }

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{got} for {expected}");
        }
    }

    #[test]
    fn is_the_z_score_with_ddof_one() {
        let a = of(&[&[1.0, 0.0, 0.0, 1.0]], Baseline::Mean, Scale::GroupStd);
        let z = 0.5 / ((4.0 * 0.25 / 3.0_f64).sqrt() + 1e-4);
        close(&a, &[z, -z, -z, z]);
    }

    #[test]
    fn the_others_are_a_baseline() {
        // 3 − (1 + 2)/2, and so on.
        let rewards: [&[f64]; 2] = [&[3.0, 1.0, 2.0], &[0.0, 0.0, 1.0]];
        let a = of(&rewards, Baseline::LeaveOneOut, Scale::None);
        close(&a, &[1.5, -1.5, 0.0, -0.5, -0.5, 1.0]);
        let a = of(&rewards[..1], Baseline::LeaveOneOut, Scale::GroupStd);
        close(&a, &[1.5 / 1.0001, -1.5 / 1.0001, 0.0]);
    }

    #[test]
    fn the_scale_may_be_of_the_batch_or_absent() {
        let rewards: [&[f64]; 2] = [&[1.0, 0.0], &[5.0, 2.0]];
        let differences = [0.5, -0.5, 1.5, -1.5];
        close(&of(&rewards, Baseline::Mean, Scale::None), &differences);
        // Mean 2, squares 1, 4, 9, 0 from it.
        let std = (14.0_f64 / 3.0).sqrt() + 1e-4;
        let a = of(&rewards, Baseline::Mean, Scale::BatchStd);
        close(&a, &differences.map(|d| d / std));
    }

    #[test]
    fn equal_rewards_are_exactly_zero_and_so_is_a_group_of_one() {
        // Three times 0.1 is not 0.3 in floats: the plain mean would leave a rest.
        let groups: [&[&[f64]]; 2] = [
            &[&[0.1, 0.1, 0.1], &[-0.7, -0.7, -0.7], &[1e9, 1e9, 1e9]],
            &[&[3.0]],
        ];
        for rewards in groups {
            for baseline in [Baseline::Mean, Baseline::LeaveOneOut] {
                for scale in [Scale::GroupStd, Scale::BatchStd, Scale::None] {
                    let a = of(rewards, baseline, scale);
                    assert!(a.iter().all(|&a| a == 0.0), "{a:?}");
                }
            }
        }
    }
}
