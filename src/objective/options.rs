//! The parts of an objective that options choose.

use crate::section::words;

/// What is made of a ratio `R` and a weight `B`, and maximised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Surrogate {
    /// `min(R·B, clip(R)·B)` (PPO); with `delta` `min(min(R, δ)·B, clip(R)·B)` (INTELLECT-2, arXiv 2505.07291): without
    /// it nothing bounds the ratio where the weight is negative.
    Clipped {
        /// Where `R` is clipped.
        clip: Clip,
        /// δ, above `1 + high`.
        delta: Option<f64>,
    },
    /// `sg[min(R, high)]·B·log π_θ` (CISPO, MiniMax-M1, arXiv 2506.13585): no token loses its gradient.
    ClippedWeight {
        /// The largest ratio; not a distance from 1.
        high: f64,
    },
    /// `σ(τ(R − 1))·(4/τ)·B` (SAPO, arXiv 2511.20347).
    SoftGate {
        /// τ where `B > 0`.
        positive: f64,
        /// τ elsewhere.
        negative: f64,
    },
    /// `sg[φ(w)]·B·log π_θ`, `w` the ratio of the completion's probabilities (VESPO, arXiv 2602.10693).
    Gamma(Gamma),
    /// `−((β log w − mean of the group) − B)²` for each completion, `w` the ratio of its probabilities (GVPO, arXiv 2504.19599).
    Squares {
        /// β, the scale of the implicit reward.
        beta: f64,
    },
}

/// `R` is clipped to `[1 − low, 1 + high]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Distance from 1 to the lower bound.
    pub low: f64,
    /// Distance from 1 to the upper bound.
    pub high: f64,
}

/// `φ(w) = e^λ·w^k·e^{−λw}`, which is 1 at `w = 1`; `k` and `λ` are others where the weight is negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gamma {
    /// `k` of weights that are not negative.
    pub k_pos: f64,
    /// `λ` of them.
    pub lambda_pos: f64,
    /// `k` of negative ones.
    pub k_neg: f64,
    /// `λ` of them.
    pub lambda_neg: f64,
}

/// The KL term towards the reference model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kl {
    /// Its weight β; 0: nowhere, and no reference model is needed.
    pub beta: f64,
    /// How it is estimated.
    pub estimator: Estimator,
    /// Whether it is subtracted from the reward, summed over the completion and with `π_old` in place of `π_θ`, and not part of
    /// the loss.
    pub in_reward: bool,
    /// Whether it is multiplied by the ratio `R`, which makes its gradient that of the reverse KL (DeepSeek-V3.2, arXiv 2512.02556).
    pub corrected: bool,
}

impl Kl {
    /// GRPO's: k3, in the loss (eq. 7).
    pub fn k3(beta: f64) -> Self {
        Self {
            beta,
            estimator: Estimator::K3,
            in_reward: false,
            corrected: false,
        }
    }
}

words! {
    /// How a KL divergence is estimated from one token, with `x = log π_ref − log π_θ` (Schulman).
    Estimator {
        /// `−x`.
        K1 = "k1",
        /// `x²/2`.
        K2 = "k2",
        /// `exp x − x − 1`.
        K3 = "k3",
    }
}

words! {
    /// What has a ratio of probabilities.
    Level {
        /// Every token.
        Token = "token",
        /// Every completion.
        Sequence = "sequence",
    }
}

words! {
    /// What a difference from the mean reward is divided by.
    ScaleRewards {
        /// The standard deviation in its group.
        Group = "group",
        /// The standard deviation over the step.
        Batch = "batch",
        /// Nothing.
        None = "none",
    }
}

words! {
    /// How several rewards become one.
    Rewards {
        /// Their weighted sum, which is then compared inside the group.
        SumThenNormalize = "sum_then_normalize",
        /// Each is compared inside the group by itself, divided by its standard deviation there; the weighted sum is then brought to mean
        /// 0 and deviation 1 over the step (GDPO, arXiv 2601.05242).
        NormalizeThenSum = "normalize_then_sum",
    }
}

impl Estimator {
    /// The estimate from `x = log π_ref − log π`, in nats.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::K1 => -x,
            Self::K2 => x * x / 2.0,
            Self::K3 => x.exp_m1() - x,
        }
    }
}

/// The least of the highest entropies, which are this `share` of all: `torch.quantile` at `1 − share`, in float32 as TRL has it.
/// Infinite without any.
///
/// It is lowered by more than entropies differ by rounding: copies of a token are all among the highest or none is, however the passes
/// are cut that they were computed in.
pub fn highest_entropies(mut entropies: Vec<f32>, share: f64) -> f32 {
    entropies.sort_by(f32::total_cmp);
    let Some(last) = entropies.len().checked_sub(1) else {
        return f32::INFINITY;
    };
    let at = (1.0 - share) as f32 * last as f32;
    let below = (at.floor() as usize).min(last);
    let (a, b) = (entropies[below], entropies[(below + 1).min(last)]);
    let weight = at - below as f32;
    // The two forms of an interpolation that torch chooses between.
    let quantile = if weight < 0.5 {
        a + weight * (b - a)
    } else {
        b - (b - a) * (1.0 - weight)
    };
    quantile - ENTROPY_ROUNDING
}

/// By how much the entropies of copies of a token may differ, in nats.
const ENTROPY_ROUNDING: f32 = 1e-5;

/// Importance sampling between the engine that sampled and the trainer, which need not agree to the last bit: the policy term
/// is multiplied by `π_old` of the trainer over that of the engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    /// What has such a ratio: a token, or a completion (the product of its tokens').
    pub level: Level,
    /// Whether a ratio beyond the bounds counts as 0; else as the bound.
    pub masks: bool,
    /// The lower bound.
    pub low: Option<f64>,
    /// The upper bound.
    pub high: Option<f64>,
}
