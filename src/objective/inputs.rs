//! What a loss takes.

use burn::tensor::{Bool, Tensor};

use super::{Aggregation, Objective, ObjectiveError};

/// One micro-batch, right-padded: row `b` is a completion, column `t` its t-th token.
#[derive(Debug, Clone)]
pub struct LossInputs {
    /// `log π_θ(y_t | q, y_<t)`, `[b, t]`: carries the gradient.
    pub logp_bt: Tensor<2>,
    /// The same under the policy that sampled, `[b, t]`.
    pub logp_old_bt: Tensor<2>,
    /// The same under the reference model, `[b, t]`. Needed where β is not 0.
    pub logp_ref_bt: Option<Tensor<2>>,
    /// Each completion's weight, `[b, 1]`, from [`Objective::weigh`]; or each token's, `[b, t]`, from [`Objective::weigh_tokens`].
    pub advantage_br: Tensor<2>,
    /// True where a token belongs to the completion (its EOS included), `[b, t]`; nowhere in a row that is left out of the loss.
    pub keep_bt: Tensor<2, Bool>,
    /// The inputs of the second KL term. Needed where κ is not 0.
    pub projected: Option<Projected>,
    /// The entropy of `π_θ` at each token, in nats, `[b, t]`: carries a gradient. Needed where it is part of the loss.
    pub entropy_bt: Option<Tensor<2>>,
    /// True where a token is among those of the highest entropy, `[b, t]`. Needed where only these count.
    pub selected_bt: Option<Tensor<2, Bool>>,
    /// `logp_old_bt` as the engine had it that sampled, `[b, t]`. Needed where the two are corrected for; `logp_old_bt` is then the
    /// trainer's.
    pub logp_sampled_bt: Option<Tensor<2>>,
    /// Which group each row is of, `[b]`. Needed where the loss compares the rows of a group, all of which must then be here.
    pub group_b: Option<Vec<usize>>,
}

/// The inputs of the second KL term (eqs. 12, 13) for the rows of a [`LossInputs`].
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
    /// Completions in all micro-batches of the optimiser step, those that are left out of the loss as well, as in TRL.
    pub completions: usize,
    /// Tokens of those that are not left out.
    pub tokens: usize,
    /// Those that the policy term is of: all, or those of the highest entropy.
    pub selected: usize,
    /// The most tokens that a completion may have (`rollout.max_completion_length`).
    pub max_completion_length: usize,
}

impl BatchTotals {
    /// The totals of completions of these `lengths`, in tokens; 0 for one that is left out of the loss.
    pub fn of(lengths: impl IntoIterator<Item = usize>, max_completion_length: usize) -> Self {
        let (mut completions, mut tokens) = (0, 0);
        for length in lengths {
            completions += 1;
            tokens += length;
        }
        Self {
            completions,
            tokens,
            selected: tokens,
            max_completion_length,
        }
    }

    pub(super) fn divisor(&self, aggregation: Aggregation) -> Result<f64, ObjectiveError> {
        match aggregation {
            _ if self.completions == 0 => Err(ObjectiveError::EmptyBatch),
            Aggregation::PerSequence | Aggregation::SequenceSum => Ok(self.completions as f64),
            // Where all are left out, the loss is 0.
            Aggregation::PerToken => Ok(self.tokens.max(1) as f64),
            Aggregation::ConstantLength => Ok(self.completions as f64 * self.max_completion_length as f64),
        }
    }
}

impl LossInputs {
    /// What every objective takes; the rest is not there.
    pub fn new(
        logp_bt: Tensor<2>,
        logp_old_bt: Tensor<2>,
        advantage_br: Tensor<2>,
        keep_bt: Tensor<2, Bool>,
    ) -> Self {
        Self {
            logp_bt,
            logp_old_bt,
            logp_ref_bt: None,
            advantage_br,
            keep_bt,
            projected: None,
            entropy_bt: None,
            selected_bt: None,
            logp_sampled_bt: None,
            group_b: None,
        }
    }

    pub(super) fn check(&self, objective: &Objective) -> Result<(), ObjectiveError> {
        let [b, t] = self.logp_bt.dims();
        if b == 0 {
            return Err(ObjectiveError::EmptyBatch);
        }
        let bt = |input: &'static str, actual: [usize; 2]| shape(input, &actual, &[b, t]);
        bt("logp_old_bt", self.logp_old_bt.dims())?;
        bt("keep_bt", self.keep_bt.dims())?;
        let r = if objective.weighs_tokens() { t } else { 1 };
        shape("advantage_br", &self.advantage_br.dims(), &[b, r])?;
        if let Some(logp_ref_bt) = &self.logp_ref_bt {
            bt("logp_ref_bt", logp_ref_bt.dims())?;
        } else if objective.kl_in_loss() != 0.0 {
            return Err(ObjectiveError::MissingInput {
                objective: objective.name,
                input: "the reference model's log-probabilities",
                because: "beta > 0",
            });
        }
        if let Some(projected) = &self.projected {
            bt("logp_x_bt", projected.logp_x_bt.dims())?;
            bt("pi_ref_bt", projected.pi_ref_bt.dims())?;
        } else if objective.needs_projected_reference() {
            return Err(ObjectiveError::MissingInput {
                objective: objective.name,
                input: "the projected reference and the policy's log-probabilities in x_i",
                because: "kappa > 0",
            });
        }
        self.check_options(objective)
    }

    fn check_options(&self, objective: &Objective) -> Result<(), ObjectiveError> {
        let [b, t] = self.logp_bt.dims();
        let found = |input, dims: Option<[usize; 2]>, needed: bool, because| match dims {
            Some(actual) => shape(input, &actual, &[b, t]),
            None if needed => Err(ObjectiveError::MissingInput {
                objective: objective.name,
                input,
                because,
            }),
            None => Ok(()),
        };
        let entropy = self.entropy_bt.as_ref().map(|of_bt| of_bt.dims());
        found(
            "entropy_bt",
            entropy,
            objective.entropy_coef != 0.0,
            "an entropy_coef",
        )?;
        let selected = self.selected_bt.as_ref().map(|of_bt| of_bt.dims());
        let selects = objective.top_entropy_quantile < 1.0;
        found("selected_bt", selected, selects, "top_entropy_quantile < 1")?;
        let sampled = self.logp_sampled_bt.as_ref().map(|of_bt| of_bt.dims());
        let corrects = objective.correction.is_some();
        found(
            "logp_sampled_bt",
            sampled,
            corrects,
            "a correction of what was sampled",
        )?;
        match &self.group_b {
            Some(group_b) => shape("group_b", &[group_b.len()], &[b]),
            None if objective.couples_groups() => Err(ObjectiveError::MissingInput {
                objective: objective.name,
                input: "the groups of its rows",
                because: "a loss of whole groups",
            }),
            None => Ok(()),
        }
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
