//! What is optimised: advantages and losses as pure functions of tensors.
//!
//! The method is *Group Causal Policy Optimization for Post-Training Large Language Models*
//! (Gu et al., arXiv 2508.05428); equation numbers are the paper's. An objective is a row of
//! values ([`Objective`]); the rows are in `table.rs`, and one [`Objective::weigh`] and one
//! [`Objective::loss`] read them. To add an objective, add a row there.
//!
//! Axes: `p` prompts, `g` candidates of a prompt, `b = p·g` rows, `t` tokens. `keep_bt` is true
//! where a token is part of its completion, nowhere in one that is left out of the loss. Log-probabilities are of the sampling temperature.
//!
//! Everything that is not a policy's log-probability is a constant: it is detached on entry.
//! Cells where `keep_bt` is false may hold anything, also NaN and infinities.

mod advantage;
mod inputs;
mod loss;
mod metrics;
mod table;
mod terms;

pub use advantage::ADVANTAGE_EPS;
pub use inputs::{BatchTotals, LossInputs, Projected};
pub use loss::LossOutput;
pub use metrics::{LossMetrics, MetricSums};
pub use table::{
    Gcpo, GcpoDraft, Grpo, GrpoAlpha, GrpoAlphaDraft, GrpoDraft, Settings, SettingsDraft, Which, WhichDraft,
    gcpo, grpo, grpo_alpha,
};

/// A training objective: all that [`Objective::weigh`] and [`Objective::loss`] read.
///
/// With `B` the weight of a completion and `R` the ratio of its probabilities now and when it was
/// sampled, what is maximised is, over a batch (eq. 10),
///
/// `aggregation of [ min(R·B, clip(R, 1 − low, 1 + high)·B) − β K − κ K' ]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Its name in a config.
    pub name: &'static str,
    /// What a reward is compared with.
    pub baseline: Baseline,
    /// What the difference is divided by.
    pub scale: Scale,
    /// What has a ratio `R`.
    pub ratio: Ratio,
    /// Where `R` is clipped.
    pub clip: Clip,
    /// How tokens and completions are averaged.
    pub aggregation: Aggregation,
    /// The KL term towards the reference model.
    pub kl: Kl,
    /// What the advantage is multiplied by.
    pub weight: Weight,
    /// Whether completions that were cut at the longest length are left out of the loss. They count as completions there, and
    /// their rewards in their group, as with TRL's key; their tokens do not.
    pub mask_truncated: bool,
    /// Weight κ of the second KL term (eq. 10), towards the projected reference; 0: not in the loss.
    pub kappa: f64,
    /// The projected reference is clamped to `[floor, 1]`.
    pub floor: f64,
    /// `ρ` of the second KL term (eq. 13) is clamped to `[1/ratio_max, ratio_max]`.
    pub ratio_max: f64,
}

/// What a reward is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// The mean of its group.
    Mean,
    /// The mean of the others in its group (RLOO, Ahmadian et al., arXiv 2402.14740).
    LeaveOneOut,
}

/// What a reward's difference from its baseline is divided by, [`ADVANTAGE_EPS`] added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The standard deviation of the rewards in its group (ddof 1).
    GroupStd,
    /// The standard deviation of all rewards of the step (ddof 1), as TRL's `scale_rewards = "batch"`.
    BatchStd,
    /// Nothing (Dr. GRPO, Liu et al., arXiv 2503.20783).
    None,
}

/// What has a ratio `R` of probabilities, and is clipped by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ratio {
    /// Every token: `exp(log π_θ − log π_old)`.
    Token,
    /// Every completion: `exp` of the mean over its tokens of the same (GSPO, Zheng et al., arXiv 2507.18071).
    Sequence,
}

/// `R` is clipped to `[1 − low, 1 + high]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Distance from 1 to the lower bound.
    pub low: f64,
    /// Distance from 1 to the upper bound.
    pub high: f64,
}

/// How tokens and completions are averaged. `N` completions are in the batch, the i-th of `T_i` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// `(1/N) Σ_i (1/T_i) Σ_t`: every completion counts the same.
    PerSequence,
    /// `(1/Σ_i T_i) Σ_i Σ_t`: every token counts the same (DAPO, Yu et al., arXiv 2503.14476).
    PerToken,
    /// `(1/(N·L)) Σ_i Σ_t`, `L` the most tokens that a completion may have (Dr. GRPO).
    ConstantLength,
}

/// The KL term towards the reference model: Schulman's estimator k3 (eq. 7), in the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kl {
    /// Its weight β; 0: not in the loss, and no reference model is needed.
    pub beta: f64,
}

/// What the advantage is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weight {
    /// 1.
    One,
    /// The constant α.
    Alpha(f64),
    /// `Υ`, the alignment times α (eq. 11).
    Upsilon(f64),
}

/// Why an objective could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
    /// An input that the objective needs is not there.
    #[error("objective `{objective}` with {because} needs {input}")]
    MissingInput {
        /// The objective's name.
        objective: &'static str,
        /// What is missing.
        input: &'static str,
        /// What makes it necessary.
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
    /// There is nothing to divide the loss by.
    #[error("objective: the batch has no completions")]
    EmptyBatch,
}

impl Objective {
    /// Whether the integrations `y_n` (stage 2) are needed.
    pub fn needs_integration(&self) -> bool {
        self.needs_projection() || self.needs_projected_reference()
    }

    /// Whether the projections `O_{i,j,m}` (stage 3) and the alignment `Υ` are needed.
    pub fn needs_projection(&self) -> bool {
        matches!(self.weight, Weight::Upsilon(_))
    }

    /// Whether the loss needs [`LossInputs::projected`]: scores of each candidate in the contexts
    /// `x_{i,l}`, at sampling and in every optimiser pass.
    pub fn needs_projected_reference(&self) -> bool {
        self.kappa != 0.0
    }

    /// Whether the loss needs the reference model's log-probabilities.
    pub fn needs_reference_model(&self) -> bool {
        self.kl.beta != 0.0
    }

    /// α: the scale of `Υ` (eq. 11), or the constant in its place.
    pub fn alpha(&self) -> f64 {
        match self.weight {
            Weight::One => 1.0,
            Weight::Alpha(alpha) | Weight::Upsilon(alpha) => alpha,
        }
    }

    /// What every advantage is multiplied by, where it is the same for all: `Υ` of the objectives that project nothing.
    pub fn constant_upsilon(&self) -> Option<f64> {
        (!self.needs_projection()).then(|| self.alpha())
    }
}

#[cfg(test)]
mod tests;
