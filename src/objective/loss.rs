//! The loss that every objective's row is read by.

use burn::tensor::Tensor;

use super::inputs::{BatchTotals, LossInputs};
use super::metrics::MetricSums;
use super::surrogate::PolicyTerm;
use super::terms::{ProjectedKl, Rows};
use super::{Aggregation, Objective, ObjectiveError};

/// A loss and what it says about itself.
#[derive(Debug, Clone)]
pub struct LossOutput {
    /// The loss, `[1]`: call `backward` on it.
    pub loss: Tensor<1>,
    /// What each row adds to the loss, `[b]`, detached: finds the row of a non-finite loss.
    pub row_loss_b: Tensor<1>,
    /// Sums for the metrics, on the device. Add those of the micro-batches, then read once.
    pub sums: MetricSums,
}

impl Objective {
    /// The loss of one micro-batch, to be minimised (eq. 10, negated):
    /// `−aggregation of [ surrogate(R, B) − β K − κ K' ]`, less the mean entropy times its coefficient.
    ///
    /// `totals` are those of the whole optimiser batch: the losses and gradients of its
    /// micro-batches add up to those of the batch. A KL term whose weight is 0 is only measured,
    /// where its inputs are there.
    ///
    /// # Errors
    /// [`ObjectiveError::MissingInput`], [`ObjectiveError::Shape`], [`ObjectiveError::EmptyBatch`].
    pub fn loss(&self, inputs: &LossInputs, totals: &BatchTotals) -> Result<LossOutput, ObjectiveError> {
        inputs.check(self)?;
        let divisor = totals.divisor(self.aggregation)?;
        let rows = Rows::new(inputs);
        let policy = PolicyTerm::new(&rows, self, inputs.group_b.as_deref().unwrap_or_default());
        let kl_ref_bt = rows.kl_ref_bt(self, &policy.ratio_br);
        let mut objective_bt = policy.value_bt.clone();
        if let Some(kl_bt) = kl_ref_bt.clone().filter(|_| self.kl_in_loss() != 0.0) {
            objective_bt = objective_bt - kl_bt.mul_scalar(self.kl.beta);
        }
        let projected = inputs.projected.as_ref();
        let kl_projected = projected.map(|projected| ProjectedKl::new(&rows, projected, self));
        if let Some(kl) = kl_projected.as_ref().filter(|_| self.needs_projected_reference()) {
            objective_bt = objective_bt - kl.value_bt.clone().mul_scalar(self.kappa);
        }
        let sum_b = match self.aggregation {
            Aggregation::PerSequence => rows.token_mean_b(objective_bt),
            Aggregation::PerToken | Aggregation::ConstantLength | Aggregation::SequenceSum => {
                rows.token_sum_b(objective_bt)
            }
        };
        let mut row_loss_b = sum_b.div_scalar(-divisor);
        if let Some(entropy_bt) = rows.entropy_bt.clone().filter(|_| self.entropy_coef != 0.0) {
            let entropy_bt = match &rows.selected_bt {
                Some(selected_bt) => entropy_bt * selected_bt.clone(),
                None => entropy_bt,
            };
            let share = self.entropy_coef / totals.selected.max(1) as f64;
            row_loss_b = row_loss_b - rows.token_sum_b(entropy_bt).mul_scalar(share);
        }
        let loss = row_loss_b.clone().sum();
        Ok(LossOutput {
            sums: MetricSums::of(&loss, &rows, policy, kl_ref_bt, kl_projected),
            loss,
            row_loss_b: row_loss_b.inner(),
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Bool, TensorData};

    use super::*;
    use crate::objective::{Clip, grpo};
    use crate::testing::{device, f64s, tensor2};

    const LOGP: [[f64; 3]; 3] = [[-0.5, -1.0, -0.2], [-2.0, -0.1, -0.4], [-0.3, -0.7, -1.5]];
    const OLD: [[f64; 3]; 3] = [[-0.6, -0.8, -0.3], [-1.9, -0.2, -0.4], [-0.3, -0.9, -1.2]];
    const ADVANTAGES: [f64; 3] = [1.0, -0.5, 0.7];

    /// The loss and the gradient of rows of so many kept tokens, TRL's `completion_mask`.
    fn run(aggregation: Aggregation, kept: [usize; 3]) -> (f64, Vec<f64>) {
        let rows = |of: &[[f64; 3]]| tensor2(&of.iter().map(<[f64; 3]>::as_slice).collect::<Vec<_>>());
        let keep: Vec<bool> = kept.iter().flat_map(|&n| (0..3).map(move |t| t < n)).collect();
        let logp_bt = rows(&LOGP).autodiff().require_grad();
        let inputs = LossInputs {
            logp_ref_bt: Some(rows(&[[-0.9; 3]; 3])),
            ..LossInputs::new(
                logp_bt.clone(),
                rows(&OLD),
                tensor2(&[&ADVANTAGES]).reshape([3, 1]),
                Tensor::<2, Bool>::from_data(TensorData::new(keep, [3, 3]), &device()),
            )
        };
        let objective = Objective {
            aggregation,
            ..grpo(0.1, Clip { low: 9.0, high: 9.0 })
        };
        let output = objective.loss(&inputs, &BatchTotals::of(kept, 10)).unwrap();
        let grads = output.loss.backward();
        (f64s(output.loss)[0], f64s(logp_bt.grad(&grads).unwrap()))
    }

    /// By TRL's formulas for `grpo`, `dapo` and `dr_grpo`, with the mask of the second row at 0.
    #[test]
    fn a_row_that_is_left_out_counts_as_trl_counts_it() {
        let kept = [3, 0, 2];
        let sum = |row: usize| -> f64 {
            let token = |t: usize| {
                let (logp, old) = (LOGP[row][t], OLD[row][t]);
                let toward = -0.9 - logp;
                (logp - old).exp() * ADVANTAGES[row] - 0.1 * (toward.exp() - toward - 1.0)
            };
            (0..kept[row]).map(token).sum()
        };
        for (aggregation, expected) in [
            (Aggregation::PerSequence, -(sum(0) / 3.0 + sum(2) / 2.0) / 3.0),
            (Aggregation::PerToken, -(sum(0) + sum(2)) / 5.0),
            (Aggregation::ConstantLength, -(sum(0) + sum(2)) / 30.0),
        ] {
            let (loss, grad) = run(aggregation, kept);
            assert!(
                (loss - expected).abs() < 1e-12,
                "{aggregation:?}: {loss} for {expected}"
            );
            assert!(
                grad[3..6].iter().chain(&grad[8..]).all(|grad| *grad == 0.0),
                "{grad:?}"
            );
            assert!(grad[..3].iter().all(|grad| *grad != 0.0), "{grad:?}");
            let (loss, grad) = run(aggregation, [0; 3]);
            assert!(
                loss == 0.0 && grad.iter().all(|grad| *grad == 0.0),
                "{loss} {grad:?}"
            );
        }
    }
}
