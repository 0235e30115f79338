//! The loss that every objective's row is read by.

use burn::tensor::Tensor;

use super::inputs::{BatchTotals, LossInputs};
use super::metrics::MetricSums;
use super::terms::{ProjectedKl, Rows, Surrogate};
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
    /// `−aggregation of [ min(R·B, clip(R)·B) − β K − κ K' ]`.
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
        let surrogate = Surrogate::new(&rows, self);
        let kl_ref_bt = rows.kl_ref_bt(self.kl.beta);
        let mut objective_bt = surrogate.value_bt.clone();
        if let Some(kl_bt) = kl_ref_bt.clone().filter(|_| self.needs_reference_model()) {
            objective_bt = objective_bt - kl_bt.mul_scalar(self.kl.beta);
        }
        let projected = inputs.projected.as_ref();
        let kl_projected = projected.map(|projected| ProjectedKl::new(&rows, projected, self));
        if let Some(kl) = kl_projected.as_ref().filter(|_| self.needs_projected_reference()) {
            objective_bt = objective_bt - kl.value_bt.clone().mul_scalar(self.kappa);
        }
        let sum_b = match self.aggregation {
            Aggregation::PerSequence => rows.token_mean_b(objective_bt),
            Aggregation::PerToken | Aggregation::ConstantLength => rows.token_sum_b(objective_bt),
        };
        let row_loss_b = sum_b.div_scalar(-divisor);
        let loss = row_loss_b.clone().sum();
        Ok(LossOutput {
            sums: MetricSums::of(&loss, &rows, surrogate, kl_ref_bt, kl_projected),
            loss,
            row_loss_b: row_loss_b.inner(),
        })
    }
}
