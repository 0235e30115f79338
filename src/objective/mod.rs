//! What is optimised: advantages and losses as pure functions of tensors.
//!
//! The method is *Group Causal Policy Optimization for Post-Training Large Language Models*
//! (Gu et al., arXiv 2508.05428); equation numbers are the paper's. One small file an algorithm;
//! [`Objective`] is the only place that knows all of them.
//!
//! Axes: `p` prompts, `g` candidates of a prompt, `b = p·g` rows, `t` tokens. `keep_bt` is true
//! where a token is part of its completion. Log-probabilities are of the sampling temperature.
//!
//! Everything that is not a policy's log-probability is a constant: it is detached on entry.
//! Cells where `keep_bt` is false may hold anything, also NaN and infinities.

mod advantage;
mod config;
mod gcpo;
mod grpo;
mod grpo_alpha;
mod loss;
mod metrics;
mod terms;

use std::str::FromStr;

use burn::tensor::Tensor;

use crate::section::words;

pub use advantage::{ADVANTAGE_EPS, group_advantage};
pub use config::{
    Gcpo, GcpoDraft, Grpo, GrpoAlpha, GrpoAlphaDraft, GrpoDraft, Kind, KindDraft, Settings, SettingsDraft,
};
pub use loss::{BatchTotals, LossInputs, LossOutput, Projected};
pub use metrics::{LossMetrics, MetricSums};

words! {
    /// A training objective, by its name in a config (`objective.name`).
    Objective {
        /// Group Causal Policy Optimization.
        Gcpo = "gcpo",
        /// Group Relative Policy Optimization.
        Grpo = "grpo",
        /// GRPO with advantages times α: GCPO with every Υ = α and κ = 0.
        GrpoAlpha = "grpo_alpha",
    }
}

/// The numbers that the objectives take. Defaults are the paper's, or TRL's where it has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyper {
    /// Weight α of the alignment in `Υ` (eq. 11), and the constant of `grpo_alpha`. Paper: 2.
    pub alpha: f64,
    /// Weight κ of the second KL term (eq. 10), towards the projected reference. Paper: 0.06.
    pub kappa: f64,
    /// Weight β of the KL term towards the reference model (eq. 7). 0 needs no reference model.
    pub beta: f64,
    /// The ratio is clipped from below at `1 − epsilon`.
    pub epsilon: f64,
    /// The ratio is clipped from above at `1 + epsilon_high`.
    pub epsilon_high: f64,
    /// The projected reference is clamped to `[floor, 1]` (`projection.floor`).
    pub floor: f64,
    /// `ρ` is clamped to `[1/ratio_max, ratio_max]` (`projection.ratio_max`).
    pub ratio_max: f64,
}

impl Hyper {
    /// Those of `[objective]`, with the clamps of `[projection]`.
    pub fn new(settings: &Settings, floor: f64, ratio_max: f64) -> Self {
        let (alpha, kappa) = match &settings.kind {
            Kind::Gcpo(gcpo) => (gcpo.alpha, gcpo.kappa),
            Kind::Grpo(_) => (1.0, 0.0),
            Kind::GrpoAlpha(control) => (control.alpha, 0.0),
        };
        Self {
            alpha,
            kappa,
            beta: settings.beta,
            epsilon: settings.epsilon,
            epsilon_high: settings.epsilon_high,
            floor,
            ratio_max,
        }
    }
}

impl Default for Hyper {
    fn default() -> Self {
        Self {
            alpha: 2.0,
            kappa: 0.06,
            beta: 0.04,
            epsilon: 0.2,
            epsilon_high: 0.2,
            floor: 1e-6,
            ratio_max: 10.0,
        }
    }
}

/// Why an objective could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
    /// The name is none of [`Objective::ALL`].
    #[error("unknown objective `{name}`: expected one of {}", Objective::names())]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// An input that the objective needs with these numbers is not there.
    #[error("objective `{objective}` with {because} needs {input}")]
    MissingInput {
        /// The objective.
        objective: Objective,
        /// What is missing.
        input: &'static str,
        /// The number that makes it necessary.
        because: &'static str,
    },
    /// Two inputs disagree about the number of prompts, candidates, rows or tokens.
    #[error("objective: `{input}` has shape {actual:?}, expected {expected:?}")]
    Shape {
        /// The input.
        input: &'static str,
        /// Its shape.
        actual: Vec<usize>,
        /// The shape of what it must agree with.
        expected: Vec<usize>,
    },
    /// The totals of the batch are zero, so that there is nothing to divide by.
    #[error("objective: the batch has no completions")]
    EmptyBatch,
}

impl Objective {
    /// Every objective.
    pub const ALL: &[Objective] = &[Objective::Gcpo, Objective::Grpo, Objective::GrpoAlpha];

    fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|o| format!("`{o}`")).collect();
        names.join(", ")
    }

    /// Whether the integrations `y_n` (stage 2) are needed.
    pub fn needs_integration(self) -> bool {
        matches!(self, Objective::Gcpo)
    }

    /// Whether the projections `O_{i,j,m}` (stage 3) and the alignment `Υ` are needed.
    pub fn needs_projection(self) -> bool {
        matches!(self, Objective::Gcpo)
    }

    /// What every advantage is multiplied by, where it is the same for all: `Υ` of the objectives that project nothing.
    pub fn constant_upsilon(self, hyper: &Hyper) -> Option<f64> {
        match self {
            Objective::Gcpo => None,
            Objective::Grpo => Some(1.0),
            Objective::GrpoAlpha => Some(hyper.alpha),
        }
    }

    /// Whether the loss needs [`LossInputs::projected`]: scores of each candidate in the contexts
    /// `x_{i,l}`, at sampling and in every optimiser pass.
    pub fn needs_projected_reference(self, hyper: &Hyper) -> bool {
        matches!(self, Objective::Gcpo) && hyper.kappa != 0.0
    }

    /// Whether the loss needs the reference model's log-probabilities.
    pub fn needs_reference_model(self, hyper: &Hyper) -> bool {
        match self {
            Objective::Gcpo | Objective::Grpo | Objective::GrpoAlpha => hyper.beta != 0.0,
        }
    }

    /// The weight of every candidate in the loss: `B = A·Υ` for GCPO,
    /// `A` for GRPO, `α·A` for the control.
    ///
    /// `upsilon_pg` is used by objectives that need a projection, and ignored by the others. Where
    /// `A` is 0 the weight is 0, whatever `Υ` holds there (flat groups have none).
    ///
    /// # Shapes
    /// - `rewards_pg`: `[p, g]`
    /// - `upsilon_pg`: `[p, g]`
    /// - returns `[p, g]`; reshape to `[p·g]` for [`LossInputs::advantage_b`]
    ///
    /// # Errors
    /// [`ObjectiveError::MissingInput`] without an `upsilon_pg` that is needed,
    /// [`ObjectiveError::Shape`] where it does not fit.
    pub fn weigh(
        self,
        rewards_pg: Tensor<2>,
        upsilon_pg: Option<Tensor<2>>,
        hyper: &Hyper,
    ) -> Result<Tensor<2>, ObjectiveError> {
        match self {
            Objective::Gcpo => gcpo::weigh(rewards_pg, upsilon_pg),
            Objective::Grpo => Ok(group_advantage(rewards_pg)),
            Objective::GrpoAlpha => Ok(grpo_alpha::weigh(rewards_pg, hyper)),
        }
    }

    /// The loss of one micro-batch, to be minimised.
    ///
    /// `totals` are those of the whole optimiser batch: the losses and gradients of its
    /// micro-batches add up to those of the batch.
    ///
    /// # Errors
    /// [`ObjectiveError::MissingInput`], [`ObjectiveError::Shape`], [`ObjectiveError::EmptyBatch`].
    pub fn loss(
        self,
        inputs: &LossInputs,
        totals: &BatchTotals,
        hyper: &Hyper,
    ) -> Result<LossOutput, ObjectiveError> {
        inputs.check(self, hyper)?;
        totals.check()?;
        Ok(match self {
            Objective::Gcpo => gcpo::loss(inputs, totals, hyper),
            Objective::Grpo | Objective::GrpoAlpha => grpo::loss(inputs, totals, hyper),
        })
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|objective| objective.to_string() == name)
            .ok_or_else(|| ObjectiveError::UnknownName { name: name.into() })
    }
}

#[cfg(test)]
mod tests;
