//! Weights of the candidates in the loss: advantages inside a group (eq. 8), times what weighs them (eq. 11).

use burn::tensor::{Bool, Tensor};

use super::inputs::shape;
use super::{Baseline, Objective, ObjectiveError, Scale, Weight};

/// `ε_A` of eq. 8, as in TRL.
pub const ADVANTAGE_EPS: f64 = 1e-4;

impl Objective {
    /// What is subtracted from the reward of a completion, as each of its tokens sees it: β times the sum over this token and those after it
    /// of the KL from the reference model to the policy that sampled them, in nats. The first is the whole completion's. 0 where the
    /// KL is in the loss.
    ///
    /// # Shapes
    /// - `logp_old`, `logp_ref`: `[t]`
    /// - returns `[t]`
    pub fn kl_to_come<T: Copy + Into<f64>>(&self, logp_old: &[T], logp_ref: &[T]) -> Vec<f64> {
        let mut penalty = 0.0;
        let tokens = logp_old.iter().zip(logp_ref).rev();
        let mut to_come: Vec<f64> = tokens
            .map(|(&old, &of_ref)| {
                penalty += self.kl_in_reward() * self.kl.estimator.of(of_ref.into() - old.into());
                penalty
            })
            .collect();
        to_come.reverse();
        to_come
    }

    /// The weight of every token, where each has its own ([`Objective::weighs_tokens`]): `(G − mean G) / (std G + ε_A)` over the tokens of a
    /// step, `G` the reward of its completion less [`Objective::kl_to_come`] (REINFORCE++, arXiv 2501.03262, as OpenRLHF has it).
    /// Detached.
    ///
    /// # Shapes
    /// - `return_bt`: `[b, t]`, all completions of the step
    /// - `keep_bt`: `[b, t]`, true where there is a token, of a completion that has a reward
    /// - returns `[b, t]`, 0 elsewhere; for [`LossInputs::advantage_br`](super::LossInputs::advantage_br)
    ///
    /// # Errors
    /// [`ObjectiveError::Shape`] where the two do not fit.
    pub fn weigh_tokens(
        &self,
        return_bt: Tensor<2>,
        keep_bt: Tensor<2, Bool>,
    ) -> Result<Tensor<2>, ObjectiveError> {
        shape("keep_bt", &keep_bt.dims(), &return_bt.dims())?;
        Ok(whiten(
            return_bt.inner(),
            keep_bt.inner().bool_not(),
            self.baseline,
        ))
    }

    /// The weight of every candidate in the loss: its advantage `A` times `Υ`, α or 1
    /// (`B = A·Υ`, eq. 11). Detached.
    ///
    /// Equal rewards in a group give exactly 0, and so does a group of one. Candidates that earned
    /// nothing are no part of any mean or deviation, and their advantage is 0, as TRL has it.
    /// `upsilon_pg` is used where [`Objective::needs_projection`] says so and ignored otherwise.
    /// Where `A` is 0 the weight is 0, whatever `Υ` holds there (groups of equal rewards have none).
    ///
    /// # Shapes
    /// - `rewards_pg`: `[p, g]`, all rewards of the step, any float dtype
    /// - `earned_pg`: `[p, g]`, true where there is a reward; none where all are
    /// - `upsilon_pg`: `[p, g]`
    /// - returns `[p, g]`; reshape to `[p·g, 1]` for [`LossInputs::advantage_br`](super::LossInputs::advantage_br)
    ///
    /// # Errors
    /// [`ObjectiveError::MissingInput`] without an `upsilon_pg` that is needed,
    /// [`ObjectiveError::Shape`] where it does not fit.
    pub fn weigh(
        &self,
        rewards_pg: Tensor<2>,
        earned_pg: Option<Tensor<2, Bool>>,
        upsilon_pg: Option<Tensor<2>>,
    ) -> Result<Tensor<2>, ObjectiveError> {
        let rewards_pg = rewards_pg.inner();
        let none_pg = match earned_pg {
            Some(earned_pg) => earned_pg.inner().bool_not(),
            None => Tensor::<2>::zeros(rewards_pg.shape(), &rewards_pg.device()).bool(),
        };
        shape("earned_pg", &none_pg.dims(), &rewards_pg.dims())?;
        let mut advantage_pg = advantage(rewards_pg, none_pg.clone(), self.baseline, self.scale);
        if self.whiten {
            advantage_pg = whiten(advantage_pg, none_pg, self.baseline);
        }
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
/// - `none_pg`: `[p, g]`, true where there is no reward
/// - returns `[p, g]`
fn advantage(rewards_pg: Tensor<2>, none_pg: Tensor<2, Bool>, baseline: Baseline, scale: Scale) -> Tensor<2> {
    let [p, g] = rewards_pg.dims();
    let centred_pg = centre(rewards_pg.clone(), &none_pg);
    let above_pg = match baseline {
        Baseline::None => rewards_pg.clone().mask_fill(none_pg.clone(), 0.0),
        Baseline::Mean => centred_pg.clone(),
        // r_i − mean_{k≠i} r_k = (r_i − mean r)·n/(n − 1)
        Baseline::LeaveOneOut => {
            let n_p1 = count_p1(&centred_pg, &none_pg);
            centred_pg.clone() * (n_p1.clone() / others(n_p1))
        }
    };
    let std = match scale {
        Scale::GroupStd => std_p1(centred_pg, &none_pg),
        Scale::BatchStd => {
            let none_1b = none_pg.reshape([1, p * g]);
            std_p1(centre(rewards_pg.reshape([1, p * g]), &none_1b), &none_1b)
        }
        Scale::None => return above_pg,
    };
    above_pg / std.add_scalar(ADVANTAGE_EPS)
}

/// `(A − mean A) / (std A + ε_A)` over all that have a reward (REINFORCE++, arXiv 2501.03262; TRL's `normalize_advantages`).
///
/// Differences from what a group has in common add up to 0 in each: their mean is not taken off, so that equal rewards give exactly 0.
fn whiten(advantage_pg: Tensor<2>, none_pg: Tensor<2, Bool>, baseline: Baseline) -> Tensor<2> {
    let [p, g] = advantage_pg.dims();
    let none_pg = match baseline {
        // Alone in its group it has nothing to be compared with.
        Baseline::LeaveOneOut => {
            let is_alone_p1 = count_p1(&advantage_pg, &none_pg).lower_scalar(1.5);
            none_pg.bool_or(is_alone_p1.expand([p, g]))
        }
        Baseline::None | Baseline::Mean => none_pg,
    };
    let (flat_1b, none_1b) = (advantage_pg.reshape([1, p * g]), none_pg.reshape([1, p * g]));
    let centred_1b = centre(flat_1b.clone(), &none_1b);
    let std_11 = std_p1(centred_1b.clone(), &none_1b);
    let from_1b = match baseline {
        Baseline::None => centred_1b,
        Baseline::Mean | Baseline::LeaveOneOut => flat_1b,
    };
    (from_1b / std_11.add_scalar(ADVANTAGE_EPS)).reshape([p, g])
}

/// What each `[[reward]]` says of the candidates of a step.
///
/// Axes: `k` rewards.
#[derive(Debug, Clone)]
pub struct Scores {
    /// `[k]`, each `[p, g]`: what each reward says.
    pub value_kpg: Vec<Tensor<2>>,
    /// `[k]`, each `[p, g]`: true where it applies.
    pub applies_kpg: Vec<Tensor<2, Bool>>,
    /// `[k]`: the weights of the sum.
    pub weight_k: Vec<f64>,
}

impl Scores {
    /// `Σ weight·(x − mean x)/(std x + ε_A)` over the rewards that apply, mean and deviation those of the group: what
    /// [`Rewards::NormalizeThenSum`](super::Rewards) compares (GDPO, arXiv 2601.05242). 0 where none applies.
    ///
    /// # Shapes
    /// - returns `[p, g]`, or none without rewards
    pub fn normalized_sum(self) -> Option<Tensor<2>> {
        let parts = self
            .value_kpg
            .into_iter()
            .zip(self.applies_kpg)
            .zip(self.weight_k);
        let parts = parts.map(|((value_pg, applies_pg), weight)| {
            let none_pg = applies_pg.bool_not();
            advantage(value_pg, none_pg, Baseline::Mean, Scale::GroupStd).mul_scalar(weight)
        });
        parts.reduce(|sum_pg, part_pg| sum_pg + part_pg)
    }
}

/// `r − mean r` in every group; 0 where there is no reward.
///
/// A reward is taken off before the mean is, so that equal rewards give exactly 0: the mean of n
/// equal floats need not be that float.
fn centre(rewards_pg: Tensor<2>, none_pg: &Tensor<2, Bool>) -> Tensor<2> {
    let shifted_pg = rewards_pg.clone() - rewards_pg.narrow(1, 0, 1);
    let shifted_pg = shifted_pg.mask_fill(none_pg.clone(), 0.0);
    let mean_p1 = shifted_pg.clone().sum_dim(1) / count_p1(&shifted_pg, none_pg).clamp_min(1.0);
    (shifted_pg - mean_p1).mask_fill(none_pg.clone(), 0.0)
}

/// The standard deviation of every group with `n − 1` in its denominator (ddof 1), `[p, 1]`.
fn std_p1(centred_pg: Tensor<2>, none_pg: &Tensor<2, Bool>) -> Tensor<2> {
    let n_p1 = count_p1(&centred_pg, none_pg);
    (centred_pg.square().sum_dim(1) / others(n_p1)).sqrt()
}

/// How many rewards each group has, `[p, 1]`, in the dtype of `like`.
fn count_p1(like: &Tensor<2>, none_pg: &Tensor<2, Bool>) -> Tensor<2> {
    none_pg.clone().bool_not().float().cast(like.dtype()).sum_dim(1)
}

/// `n − 1`, at least 1.
fn others(n_p1: Tensor<2>) -> Tensor<2> {
    n_p1.sub_scalar(1.0).clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{f64s, tensor2};

    fn of(rewards: &[&[f64]], baseline: Baseline, scale: Scale) -> Vec<f64> {
        let rewards_pg = tensor2(rewards);
        let none_pg = rewards_pg.clone().is_nan();
        f64s(advantage(
            rewards_pg.mask_fill(none_pg.clone(), 7.0),
            none_pg,
            baseline,
            scale,
        ))
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

    /// Those of the group without them; TRL's `nanmean` and `nanstd`.
    #[test]
    fn what_earned_nothing_counts_for_nothing() {
        const NONE: f64 = f64::NAN;
        for baseline in [Baseline::Mean, Baseline::LeaveOneOut] {
            for scale in [Scale::GroupStd, Scale::None] {
                let whole = of(&[&[1.0, 0.0, 0.5]], baseline, scale);
                let with = of(&[&[NONE, 1.0, 0.0, NONE, 0.5]], baseline, scale);
                close(&with, &[0.0, whole[0], whole[1], 0.0, whole[2]]);
                for left in [&[NONE, NONE][..], &[NONE, 3.0]] {
                    assert_eq!(of(&[left], baseline, scale), [0.0, 0.0]);
                }
            }
        }
        // Of the batch: 1, 0, 5 and 2, as above.
        let a = of(
            &[&[1.0, NONE, 0.0], &[5.0, 2.0, NONE]],
            Baseline::Mean,
            Scale::BatchStd,
        );
        let std = (14.0_f64 / 3.0).sqrt() + 1e-4;
        close(&a, &[0.5 / std, 0.0, -0.5 / std, 1.5 / std, -1.5 / std, 0.0]);
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
