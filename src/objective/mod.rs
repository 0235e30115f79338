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
mod options;
mod settings;
mod surrogate;
mod table;
mod terms;
mod which;

pub use advantage::{ADVANTAGE_EPS, Scores};
pub use inputs::{BatchTotals, LossInputs, Projected};
pub use loss::LossOutput;
pub use metrics::{LossMetrics, MetricSums};
pub use options::{
    Clip, Correction, Estimator, Gamma, Kl, Level, Rewards, ScaleRewards, Surrogate, highest_entropies,
};
pub use settings::{RefSync, Settings, SettingsDraft};
pub use table::{
    bnpo, causal, cispo, dapo, dr_grpo, gcpo, grpo, grpo_alpha, gspo, gspo_token, gvpo, luspo, reinforce_pp,
    reinforce_pp_baseline, rloo, sapo, vespo,
};
pub use which::{Which, WhichDraft};

/// A training objective: all that [`Objective::weigh`] and [`Objective::loss`] read.
///
/// With `B` the weight of a completion and `R` the ratio of its probabilities now and when it was
/// sampled, what is maximised is, over a batch (eq. 10),
///
/// `aggregation of [ surrogate(R, B) − β K − κ K' ]`, where PPO's surrogate is `min(R·B, clip(R, 1 − low, 1 + high)·B)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Its name in a config.
    pub name: &'static str,
    /// How several rewards become one.
    pub rewards: Rewards,
    /// What a reward is compared with.
    pub baseline: Baseline,
    /// What the difference is divided by.
    pub scale: Scale,
    /// Whether the advantages of a step are then brought to mean 0 and standard deviation 1 (ddof 1), [`ADVANTAGE_EPS`] added.
    pub whiten: bool,
    /// What has a ratio `R`.
    pub ratio: Ratio,
    /// What is made of ratio and weight.
    pub surrogate: Surrogate,
    /// How tokens and completions are averaged.
    pub aggregation: Aggregation,
    /// The KL term towards the reference model.
    pub kl: Kl,
    /// What the advantage is multiplied by.
    pub weight: Weight,
    /// Whether completions that were cut at the longest length are left out of the loss. They count as completions there, and
    /// their rewards in their group, as with TRL's key; their tokens do not.
    pub mask_truncated: bool,
    /// Weight of the mean entropy of the tokens, which is added to what is maximised; 0: not in the loss.
    pub entropy_coef: f64,
    /// The share of the batch's tokens, those of the highest entropy, that the policy term is of; 1: all.
    pub top_entropy_quantile: f64,
    /// A completion with a negative weight whose mean log-probability has fallen by more than this since it was sampled has no
    /// policy term.
    pub off_policy_mask_threshold: Option<f64>,
    /// Importance sampling between the engine that sampled and the trainer.
    pub correction: Option<Correction>,
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
    /// Nothing.
    None,
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
    /// Every token has its completion's, and a gradient of its own: `sg[s]·π_θ/sg[π_θ]` (GSPO-token, eq. 14 there).
    SequenceToken,
    /// Every completion: the ratio of its probabilities, `exp` of the sum over its tokens (RLOO).
    Joint,
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
    /// `(1/N) Σ_i Σ_t`: a completion counts by its length (LUSPO, arXiv 2602.05261).
    SequenceSum,
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

    /// Whether the reference model's log-probabilities are needed, by the loss or by the rewards.
    pub fn needs_reference_model(&self) -> bool {
        self.kl.beta != 0.0
    }

    /// Whether candidates that earned the same weigh nothing: their groups have no gradient of the policy term.
    pub fn flat_is_idle(&self) -> bool {
        let compares = self.baseline != Baseline::None || self.rewards == Rewards::NormalizeThenSum;
        compares && self.kl_in_reward() == 0.0
    }

    /// Whether each token has a weight of its own: nothing is compared inside a group, and from the reward the KL of a token and of those
    /// after it is subtracted (REINFORCE++, arXiv 2501.03262).
    pub fn weighs_tokens(&self) -> bool {
        self.baseline == Baseline::None
            && self.rewards == Rewards::SumThenNormalize
            && self.kl_in_reward() != 0.0
    }

    /// β, where the KL is subtracted from the reward and not part of the loss; else 0.
    pub fn kl_in_reward(&self) -> f64 {
        if self.kl.in_reward { self.kl.beta } else { 0.0 }
    }

    /// β, where the KL is part of the loss; else 0.
    pub fn kl_in_loss(&self) -> f64 {
        if self.kl.in_reward { 0.0 } else { self.kl.beta }
    }

    /// Whether the loss compares the candidates of a group with each other, so that a pass must hold whole groups.
    pub fn couples_groups(&self) -> bool {
        matches!(self.surrogate, Surrogate::Squares { .. })
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
