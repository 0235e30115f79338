//! `[objective]`: which row, and the options that change its values. An option that a row has no use for is refused.

use super::which::{LARGE, Which, WhichDraft};
use super::{
    Baseline, Correction, Estimator, Level, Objective, Ratio, Rewards, Scale, ScaleRewards, Surrogate,
};
use crate::section::{Check, ConfigError, ROWS, count, impossible, section, within, words};

section! {
    /// `[objective]`: what is maximised. [algorithms.md](algorithms.md#6-objectives-are-rows-of-values) has a section for each name.
    pub struct Settings from SettingsDraft {
        /// What is maximised.
        pub kind: Which of WhichDraft => kind.complete(),
        /// Weight of the KL term towards the reference model; 0 loads none. With `"gvpo"` the scale of its implicit reward, and no
        /// reference model. Default: `0.0`; `gvpo`: `0.1`. Source: TRL (GVPO: the authors).
        pub beta: f64 => kind.beta(),
        /// Lower clip of the ratio, as a distance from 1; of the names that have one. Default: `0.2`; `gspo`, `gspo_token`, `luspo`: `3e-4`.
        /// Source: TRL, GSPO.
        pub epsilon: Option<f64> => kind.epsilon(),
        /// Upper clip of the ratio, as a distance from 1; with `"cispo"` the largest ratio itself. Default: `epsilon`; `dapo`: `0.28`; `gspo`,
        /// `gspo_token`, `luspo`: `4e-4`; `cispo`: `5.0`. Source: TRL, DAPO, GSPO, ScaleRL.
        pub epsilon_high: Option<f64> => kind.epsilon_high(epsilon),
        /// Two-sided clipping: the ratio is cut off here where the advantage is negative, too; above `1 + epsilon_high`. Source: TRL.
        pub delta: Option<f64>,
        /// Whether each token has a ratio, or each completion, the geometric mean of its tokens'; of the names whose definition leaves it open.
        /// Default: `"token"`; `luspo`: `"sequence"`. Source: TRL.
        pub importance_sampling_level: Option<Level> => kind.level(),
        /// How several rewards become one: `"sum_then_normalize"`, or each compared inside its group by itself and then summed,
        /// `"normalize_then_sum"` (GDPO), and the sum normalised over the step; of the names that compare with the group's mean. Default:
        /// `"sum_then_normalize"`. Source: TRL.
        pub multi_objective_aggregation: Option<Rewards> => kind.rewards(),
        /// What a difference from the mean reward is divided by: the standard deviation in its `"group"`, in the `"batch"` (the step), or
        /// nothing, `"none"`. Not of `"reinforce_pp"`, which normalises over the step. Default: `"group"`; `dr_grpo`, `rloo`, `gvpo`: `"none"`.
        /// Source: TRL.
        pub scale_rewards: Option<ScaleRewards> => kind.scale().filter(|_| multi_objective_aggregation != Some(Rewards::NormalizeThenSum)),
        /// Whether the KL, summed over a completion, is subtracted from its reward and not part of the loss; with `"reinforce_pp"` from each token
        /// that of the tokens from it on. Default: `false`; `rloo`: `true`. Source: verl (OpenRLHF).
        pub use_kl_in_reward: Option<bool> => kind.kl(beta, |kl| kl.in_reward),
        /// How the KL is estimated from a token (Schulman's k1, k2, k3), where `beta` is not 0. In the loss k1 has a gradient of mean 0 on what the
        /// policy itself sampled, without `use_bias_correction_kl`. Default: `"k3"`; `rloo`: `"k1"`; `reinforce_pp`, `reinforce_pp_baseline`:
        /// `"k2"`, and in `reinforce_pp`'s reward `"k1"`. Source: OpenRLHF (TRL: k3, and k1 for RLOO).
        pub kl_estimator: Option<Estimator> => kind.kl(beta, |kl| kind.estimator(kl, use_kl_in_reward)),
        /// Whether the KL in the loss is multiplied by the ratio, which makes its gradient that of the reverse KL. Default: `false`.
        /// Source: DeepSeek-V3.2 (TRL: true).
        pub use_bias_correction_kl: Option<bool> => kind.kl(beta, |_| false).filter(|_| use_kl_in_reward == Some(false)),
        /// Whether the reference model follows the policy: every `ref_model_sync_steps` updates. Default: `false`. Source: TRL (TR-DPO).
        pub sync_ref_model: Option<bool> => kind.kl(beta, |_| false),
        /// How much of the policy it then takes: `α·policy + (1 − α)·reference`. Default: `0.6`, where it does. Source: TRL.
        pub ref_model_mixup_alpha: Option<f64> => (sync_ref_model == Some(true)).then_some(0.6),
        /// Updates of the optimiser between. Default: `512`, where it does. Source: TRL.
        pub ref_model_sync_steps: Option<usize> => (sync_ref_model == Some(true)).then_some(512),
        /// Weight of the mean entropy of the tokens in what is maximised; it keeps a policy from becoming certain too soon. Source: TRL.
        pub entropy_coef: f64 = 0.0,
        /// The share of an update's tokens, those of the highest entropy, that the policy term is of; 1: all. Not of `"rloo"` and
        /// `"gvpo"`, whose terms are of completions. It costs a forward pass more. Default: `1.0`. Source: TRL.
        pub top_entropy_quantile: Option<f64> => kind.has_tokens().then_some(1.0),
        /// Completions with a negative advantage whose mean log-probability has fallen by more than this, in nats, since they were sampled
        /// have no policy term. Source: TRL (DeepSeek-V3.2).
        pub off_policy_mask_threshold: Option<f64>,
        /// Whether the policy term is multiplied by the trainer's probability of what was sampled over the engine's (`rollout/trainer_gap`
        /// says how far apart they are; here they agree), at the cost of a forward pass. Default: `false`. Source: TRL (there true, as vLLM's are others).
        pub vllm_importance_sampling_correction: Option<bool> => (!kind.is_gvpo()).then_some(false),
        /// Whether a token or a completion has such a ratio, and whether one beyond the bounds is cut off or counts as 0. Default:
        /// `"sequence_mask"`, where there is one; `vespo`, which takes tokens' only: `"token_truncate"`. Source: TRL.
        pub vllm_importance_sampling_mode: Option<CorrectionMode> => (vllm_importance_sampling_correction == Some(true)).then_some(CorrectionMode::of(&kind)),
        /// The upper bound. Default: `3.0`, where there is such a ratio. Source: TRL.
        pub vllm_importance_sampling_clip_max: Option<f64> => (vllm_importance_sampling_correction == Some(true)).then_some(3.0),
        /// The lower bound. Source: TRL.
        pub vllm_importance_sampling_clip_min: Option<f64>,
        /// Leave completions that were cut at `rollout.max_completion_length` out of the loss. Their rewards still count in their
        /// group, and they as completions in what the loss is divided by. Source: TRL.
        pub mask_truncated_completions: bool = false,
    }
}

words! {
    /// How engine and trainer are corrected for.
    CorrectionMode {
        /// Tokens' ratios, cut off at the bounds.
        TokenTruncate = "token_truncate",
        /// Tokens' ratios, 0 beyond the bounds.
        TokenMask = "token_mask",
        /// Completions' ratios, cut off at the bounds.
        SequenceTruncate = "sequence_truncate",
        /// Completions' ratios, 0 beyond the bounds.
        SequenceMask = "sequence_mask",
    }
}

impl CorrectionMode {
    fn of(kind: &Which) -> Self {
        if kind.is_vespo() {
            Self::TokenTruncate
        } else {
            Self::SequenceMask
        }
    }

    fn level(self) -> Level {
        match self {
            Self::TokenTruncate | Self::TokenMask => Level::Token,
            Self::SequenceTruncate | Self::SequenceMask => Level::Sequence,
        }
    }
}

/// How the reference model follows the policy: every so many updates of the optimiser it becomes
/// `alpha·policy + (1 − alpha)·reference` (TR-DPO, arXiv 2404.09656).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefSync {
    /// The policy's share.
    pub alpha: f64,
    /// Updates between.
    pub steps: usize,
}

impl Check for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        within("beta", self.beta, 0.0, LARGE)?;
        let optional =
            |key, value: Option<f64>, most| value.map_or(Ok(()), |value| within(key, value, 0.0, most));
        optional("epsilon", self.epsilon, 1.0)?;
        optional("epsilon_high", self.epsilon_high, LARGE)?;
        optional("delta", self.delta, LARGE)?;
        optional("ref_model_mixup_alpha", self.ref_model_mixup_alpha, 1.0)?;
        within("entropy_coef", self.entropy_coef, -LARGE, LARGE)?;
        optional("top_entropy_quantile", self.top_entropy_quantile, 1.0)?;
        optional("off_policy_mask_threshold", self.off_policy_mask_threshold, LARGE)?;
        optional(
            "vllm_importance_sampling_clip_max",
            self.vllm_importance_sampling_clip_max,
            LARGE,
        )?;
        optional(
            "vllm_importance_sampling_clip_min",
            self.vllm_importance_sampling_clip_min,
            LARGE,
        )?;
        if let Some(steps) = self.ref_model_sync_steps {
            count("ref_model_sync_steps", steps, 1, ROWS)?;
        }
        self.check_clips()?;
        self.check_levels()?;
        self.check_kl()?;
        self.check_reference()?;
        self.check_parts()?;
        self.check_correction()
    }
}

impl Settings {
    /// The objective, with the clamps of `[projection]`.
    pub fn row(&self, floor: f64, ratio_max: f64) -> Objective {
        let mut row = self.kind.row(self.beta, floor, ratio_max);
        match &mut row.surrogate {
            Surrogate::Clipped { clip, delta } => {
                clip.low = self.epsilon.unwrap_or(clip.low);
                clip.high = self.epsilon_high.unwrap_or(clip.high);
                *delta = self.delta;
            }
            Surrogate::ClippedWeight { high } => *high = self.epsilon_high.unwrap_or(*high),
            Surrogate::SoftGate { .. } | Surrogate::Gamma(_) | Surrogate::Squares { .. } => {}
        }
        match self.importance_sampling_level {
            Some(Level::Token) => row.ratio = Ratio::Token,
            Some(Level::Sequence) => row.ratio = Ratio::Sequence,
            None => {}
        }
        match self.scale_rewards {
            Some(ScaleRewards::Group) => row.scale = Scale::GroupStd,
            Some(ScaleRewards::Batch) => row.scale = Scale::BatchStd,
            Some(ScaleRewards::None) => row.scale = Scale::None,
            None => {}
        }
        row.kl.estimator = self.kl_estimator.unwrap_or(row.kl.estimator);
        row.kl.in_reward = self.use_kl_in_reward.unwrap_or(row.kl.in_reward);
        row.kl.corrected = self.use_bias_correction_kl.unwrap_or(false);
        if let Some(Rewards::NormalizeThenSum) = self.multi_objective_aggregation {
            row.rewards = Rewards::NormalizeThenSum;
            (row.baseline, row.scale, row.whiten) = (Baseline::None, Scale::None, true);
        }
        Objective {
            mask_truncated: self.mask_truncated_completions,
            entropy_coef: self.entropy_coef,
            top_entropy_quantile: self.top_entropy_quantile.unwrap_or(1.0),
            off_policy_mask_threshold: self.off_policy_mask_threshold,
            correction: self.correction(),
            ..row
        }
    }

    fn correction(&self) -> Option<Correction> {
        let mode = self.vllm_importance_sampling_mode?;
        Some(Correction {
            level: mode.level(),
            masks: matches!(mode, CorrectionMode::TokenMask | CorrectionMode::SequenceMask),
            low: self.vllm_importance_sampling_clip_min,
            high: self.vllm_importance_sampling_clip_max,
        })
    }

    /// How the reference model follows the policy, if it does.
    pub fn ref_sync(&self) -> Option<RefSync> {
        Some(RefSync {
            alpha: self.ref_model_mixup_alpha?,
            steps: self.ref_model_sync_steps?,
        })
    }

    /// An error about a key that has no effect on the row.
    fn idle(&self, key: &'static str, why: &str) -> Result<(), ConfigError> {
        impossible(
            key,
            format!("without effect: `{}` {why}", self.kind.name()),
            "remove it",
        )
    }

    fn check_clips(&self) -> Result<(), ConfigError> {
        let (low, high) = (self.kind.epsilon(), self.kind.epsilon_high(self.kind.epsilon()));
        if self.epsilon.is_some() && low.is_none() {
            return self.idle("epsilon", "clips no ratio from below");
        }
        if self.epsilon_high.is_some() && high.is_none() {
            return self.idle("epsilon_high", "clips no ratio");
        }
        let Some(delta) = self.delta else {
            return Ok(());
        };
        if low.is_none() {
            return self.idle("delta", "has no clip that could have a second side");
        }
        let least = 1.0 + self.epsilon_high.unwrap_or(0.0);
        if delta <= least {
            let what = format!(
                "{delta} is not above 1 + `epsilon_high`, {least}: the clip would never let a ratio come so far"
            );
            return impossible("delta", what, "give more, such as 2; or remove it");
        }
        Ok(())
    }

    fn check_levels(&self) -> Result<(), ConfigError> {
        if self.importance_sampling_level.is_some() && self.kind.level().is_none() {
            return self.idle("importance_sampling_level", "says itself what has a ratio");
        }
        if self.scale_rewards.is_some() && self.kind.scale().is_none() {
            return self.idle("scale_rewards", "normalises over the whole step");
        }
        Ok(())
    }

    fn check_kl(&self) -> Result<(), ConfigError> {
        if self.kind.is_gvpo() && self.beta == 0.0 {
            let what = "with 0 GVPO has no gradient";
            return impossible("beta", what, "give its scale, such as 0.1");
        }
        let has_kl = self.kind.kl(self.beta, |_| ()).is_some();
        for (key, is_given) in [
            ("kl_estimator", self.kl_estimator.is_some()),
            ("use_kl_in_reward", self.use_kl_in_reward.is_some()),
            ("use_bias_correction_kl", self.use_bias_correction_kl.is_some()),
            ("sync_ref_model", self.sync_ref_model.is_some()),
        ] {
            if is_given && !has_kl {
                return self.idle(
                    key,
                    "has no KL term here: `objective.beta` is 0, or no weight of one",
                );
            }
        }
        let in_reward = self.use_kl_in_reward == Some(true);
        if in_reward && self.use_bias_correction_kl.is_some() {
            return self.idle(
                "use_bias_correction_kl",
                "has its KL in the reward, which has no gradient",
            );
        }
        let is_of_tokens = in_reward && matches!(self.kind, Which::ReinforcePp(_));
        if is_of_tokens && self.importance_sampling_level == Some(Level::Sequence) {
            let what = "REINFORCE++ with the KL in the reward has an advantage for each token, which one ratio for the completion cannot weigh";
            let help = "leave it out, or leave the KL in the loss";
            return impossible("importance_sampling_level", what, help);
        }
        Ok(())
    }

    fn check_reference(&self) -> Result<(), ConfigError> {
        if self.sync_ref_model == Some(true) {
            return Ok(());
        }
        for (key, is_given) in [
            ("ref_model_mixup_alpha", self.ref_model_mixup_alpha.is_some()),
            ("ref_model_sync_steps", self.ref_model_sync_steps.is_some()),
        ] {
            if is_given {
                return impossible(
                    key,
                    "without effect: the reference model does not follow the policy",
                    "set `objective.sync_ref_model = true` as well, or remove it",
                );
            }
        }
        Ok(())
    }

    fn check_parts(&self) -> Result<(), ConfigError> {
        let normalizes = self.multi_objective_aggregation == Some(Rewards::NormalizeThenSum);
        if self.multi_objective_aggregation.is_some() && self.kind.rewards().is_none() {
            return self.idle(
                "multi_objective_aggregation",
                "has a comparison of its own, of the sum",
            );
        }
        if normalizes && self.scale_rewards.is_some() {
            let what = "without effect: with `multi_objective_aggregation = \"normalize_then_sum\"` each reward is divided by its deviation in \
                        the group, and the sum by its own over the step";
            return impossible("scale_rewards", what, "remove one of the two");
        }
        if normalizes && self.use_kl_in_reward == Some(true) {
            let what = "with `multi_objective_aggregation = \"normalize_then_sum\"` there is no sum of rewards to subtract from";
            return impossible("use_kl_in_reward", what, "leave the KL in the loss");
        }
        if self.top_entropy_quantile.is_some() && !self.kind.has_tokens() {
            return self.idle(
                "top_entropy_quantile",
                "has one term for a completion, not one for each token",
            );
        }
        if self.off_policy_mask_threshold.is_some() && self.kind.is_gvpo() {
            return self.idle("off_policy_mask_threshold", "compares all completions of a group");
        }
        Ok(())
    }

    fn check_correction(&self) -> Result<(), ConfigError> {
        if self.vllm_importance_sampling_correction.is_some() && self.kind.is_gvpo() {
            return self.idle(
                "vllm_importance_sampling_correction",
                "has no ratio that could be corrected",
            );
        }
        if self.vllm_importance_sampling_correction != Some(true) {
            for (key, is_given) in [
                (
                    "vllm_importance_sampling_mode",
                    self.vllm_importance_sampling_mode.is_some(),
                ),
                (
                    "vllm_importance_sampling_clip_max",
                    self.vllm_importance_sampling_clip_max.is_some(),
                ),
                (
                    "vllm_importance_sampling_clip_min",
                    self.vllm_importance_sampling_clip_min.is_some(),
                ),
            ] {
                if is_given {
                    let help =
                        "set `objective.vllm_importance_sampling_correction = true` as well, or remove it";
                    return impossible(key, "without effect: nothing is corrected", help);
                }
            }
        }
        let (low, high) = (
            self.vllm_importance_sampling_clip_min,
            self.vllm_importance_sampling_clip_max,
        );
        if let (Some(low), Some(high)) = (low, high)
            && low >= high
        {
            let what = format!("{low} is not below `vllm_importance_sampling_clip_max`, {high}");
            return impossible("vllm_importance_sampling_clip_min", what, "give less");
        }
        let mode = self.vllm_importance_sampling_mode;
        if self.kind.is_vespo() && mode.is_some_and(|mode| mode.level() == Level::Sequence) {
            let what = "VESPO takes the ratios of tokens";
            let help = "give \"token_truncate\" or \"token_mask\"";
            return impossible("vllm_importance_sampling_mode", what, help);
        }
        Ok(())
    }
}
