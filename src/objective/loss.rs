//! What a loss takes and returns.

use burn::tensor::{Bool, Tensor};

use super::metrics::MetricSums;
use super::{Hyper, Objective, ObjectiveError};

/// One micro-batch, right-padded: row `b` is a completion, column `t` its t-th token.
#[derive(Debug, Clone)]
pub struct LossInputs {
    /// `log π_θ(y_t | q, y_<t)`, `[b, t]`: carries the gradient.
    pub logp_bt: Tensor<2>,
    /// The same under the policy that sampled, `[b, t]`.
    pub logp_old_bt: Tensor<2>,
    /// The same under the reference model, `[b, t]`. Needed where `beta` is not 0.
    pub logp_ref_bt: Option<Tensor<2>>,
    /// Each completion's weight, `[b]`, from [`Objective::weigh`].
    pub advantage_b: Tensor<1>,
    /// True where a token belongs to the completion (its EOS included), `[b, t]`.
    pub keep_bt: Tensor<2, Bool>,
    /// The inputs of the second KL term. Needed by GCPO where `kappa` is not 0.
    pub projected: Option<Projected>,
}

/// The inputs of GCPO's second KL term (eqs. 12, 13) for the rows of a [`LossInputs`].
#[derive(Debug, Clone)]
pub struct Projected {
    /// `log π_θ(y_{i,t} | x_i, y_{i,<t})`, `[b, t]`: carries the gradient.
    pub logp_x_bt: Tensor<2>,
    /// The projected reference `π'_ref` from
    /// [`projection::reference`](crate::projection::reference), `[b, t]`. The loss clamps it.
    pub pi_ref_bt: Tensor<2>,
}

/// Sizes of the whole optimiser batch, which is what a loss is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchTotals {
    /// Completions in all micro-batches of the optimiser step.
    pub completions: usize,
}

impl BatchTotals {
    pub(super) fn check(&self) -> Result<(), ObjectiveError> {
        match self.completions {
            0 => Err(ObjectiveError::EmptyBatch),
            _ => Ok(()),
        }
    }
}

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

impl LossInputs {
    pub(super) fn check(&self, objective: Objective, hyper: &Hyper) -> Result<(), ObjectiveError> {
        let [b, t] = self.logp_bt.dims();
        if b == 0 {
            return Err(ObjectiveError::EmptyBatch);
        }
        let bt = |input: &'static str, actual: [usize; 2]| shape(input, &actual, &[b, t]);
        bt("logp_old_bt", self.logp_old_bt.dims())?;
        bt("keep_bt", self.keep_bt.dims())?;
        shape("advantage_b", &self.advantage_b.dims(), &[b])?;
        if let Some(logp_ref_bt) = &self.logp_ref_bt {
            bt("logp_ref_bt", logp_ref_bt.dims())?;
        } else if objective.needs_reference_model(hyper) {
            return Err(ObjectiveError::MissingInput {
                objective,
                input: "the reference model's log-probabilities",
                because: "beta > 0",
            });
        }
        if let Some(projected) = &self.projected {
            bt("logp_x_bt", projected.logp_x_bt.dims())?;
            bt("pi_ref_bt", projected.pi_ref_bt.dims())?;
        } else if objective.needs_projected_reference(hyper) {
            return Err(ObjectiveError::MissingInput {
                objective,
                input: "the projected reference and the policy's log-probabilities in x_i",
                because: "kappa > 0",
            });
        }
        Ok(())
    }
}

pub(super) fn shape(input: &'static str, actual: &[usize], expected: &[usize]) -> Result<(), ObjectiveError> {
    if actual == expected {
        return Ok(());
    }
    Err(ObjectiveError::Shape {
        input,
        actual: actual.to_vec(),
        expected: expected.to_vec(),
    })
}
