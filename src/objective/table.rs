//! The objectives, a row each. Sections of docs/algorithms.md say when to choose which.

use super::{
    Aggregation, Baseline, Clip, Estimator, Gamma, Kl, Objective, Ratio, Rewards, Scale, Surrogate, Weight,
};

/// Group Relative Policy Optimization (Shao et al., arXiv 2402.03300).
pub fn grpo(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "grpo",
        rewards: Rewards::SumThenNormalize,
        baseline: Baseline::Mean,
        scale: Scale::GroupStd,
        whiten: false,
        ratio: Ratio::Token,
        surrogate: Surrogate::Clipped { clip, delta: None },
        aggregation: Aggregation::PerSequence,
        kl: Kl::k3(beta),
        weight: Weight::One,
        mask_truncated: false,
        entropy_coef: 0.0,
        top_entropy_quantile: 1.0,
        off_policy_mask_threshold: None,
        correction: None,
        kappa: 0.0,
        floor: 0.0,
        ratio_max: f64::INFINITY,
    }
}

/// The control `GRPO × α`: what GCPO is where every cosine is 1 and κ is 0.
pub fn grpo_alpha(alpha: f64, beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "grpo_alpha",
        weight: Weight::Alpha(alpha),
        ..grpo(beta, clip)
    }
}

/// Group Causal Policy Optimization (eqs. 10 to 13): GRPO with advantages times `Υ` and a second KL term.
pub fn gcpo(alpha: f64, kappa: f64, beta: f64, clip: Clip, floor: f64, ratio_max: f64) -> Objective {
    causal(grpo(beta, clip), alpha, kappa, floor, ratio_max)
}

/// What GCPO makes of GRPO, made of any other row: advantages times `Υ`, and a second KL term, averaged as the row does.
pub fn causal(row: Objective, alpha: f64, kappa: f64, floor: f64, ratio_max: f64) -> Objective {
    Objective {
        name: "gcpo",
        weight: Weight::Upsilon(alpha),
        kappa,
        floor,
        ratio_max,
        ..row
    }
}

/// GRPO done right (Liu et al., arXiv 2503.20783): no division by a deviation, nor by a completion's length.
pub fn dr_grpo(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "dr_grpo",
        scale: Scale::None,
        aggregation: Aggregation::ConstantLength,
        ..grpo(beta, clip)
    }
}

/// Decoupled clip and dynamic sampling (Yu et al., arXiv 2503.14476), as far as it is a loss: every token counts the same.
pub fn dapo(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "dapo",
        aggregation: Aggregation::PerToken,
        ..grpo(beta, clip)
    }
}

/// TRL's `bnpo`: GRPO with DAPO's average.
pub fn bnpo(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "bnpo",
        ..dapo(beta, clip)
    }
}

/// Group Sequence Policy Optimization (Zheng et al., arXiv 2507.18071).
pub fn gspo(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "gspo",
        ratio: Ratio::Sequence,
        ..grpo(beta, clip)
    }
}

/// Its variant in which each token has a gradient of its own (section 4.3 there).
pub fn gspo_token(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "gspo_token",
        ratio: Ratio::SequenceToken,
        ..grpo(beta, clip)
    }
}

/// Length-Unbiased Sequence Policy Optimization (arXiv 2602.05261): GSPO, with completions counted by their lengths.
pub fn luspo(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "luspo",
        aggregation: Aggregation::SequenceSum,
        ..gspo(beta, clip)
    }
}

/// REINFORCE leave-one-out (Ahmadian et al., arXiv 2402.14740), with PPO's clip of whole completions, as in TRL.
pub fn rloo(beta: f64, clip: Clip, normalize_advantages: bool) -> Objective {
    Objective {
        name: "rloo",
        baseline: Baseline::LeaveOneOut,
        scale: Scale::None,
        whiten: normalize_advantages,
        ratio: Ratio::Joint,
        kl: Kl {
            estimator: Estimator::K1,
            in_reward: true,
            ..Kl::k3(beta)
        },
        ..grpo(beta, clip)
    }
}

/// REINFORCE++ (Hu et al., arXiv 2501.03262): no groups; rewards are normalised over the step.
pub fn reinforce_pp(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "reinforce_pp",
        baseline: Baseline::None,
        scale: Scale::None,
        whiten: true,
        kl: Kl {
            estimator: Estimator::K2,
            ..Kl::k3(beta)
        },
        ..grpo(beta, clip)
    }
}

/// REINFORCE++ with baseline (section 3.3 there): differences from the group's mean, normalised over the step.
pub fn reinforce_pp_baseline(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "reinforce_pp_baseline",
        baseline: Baseline::Mean,
        ..reinforce_pp(beta, clip)
    }
}

/// CISPO (MiniMax-M1, arXiv 2506.13585): the ratio is a clipped, constant weight of `log π_θ`.
pub fn cispo(beta: f64, high: f64) -> Objective {
    Objective {
        name: "cispo",
        surrogate: Surrogate::ClippedWeight { high },
        aggregation: Aggregation::PerToken,
        ..grpo(beta, Clip { low: 0.0, high })
    }
}

/// Soft Adaptive Policy Optimization (arXiv 2511.20347): a smooth gate in place of the clip.
pub fn sapo(beta: f64, positive: f64, negative: f64) -> Objective {
    Objective {
        name: "sapo",
        surrogate: Surrogate::SoftGate { positive, negative },
        ..grpo(beta, Clip { low: 0.0, high: 0.0 })
    }
}

/// Variational Sequence-Level Soft Policy Optimization (arXiv 2602.10693).
pub fn vespo(beta: f64, gamma: Gamma) -> Objective {
    Objective {
        name: "vespo",
        surrogate: Surrogate::Gamma(gamma),
        aggregation: Aggregation::PerToken,
        ..grpo(beta, Clip { low: 0.0, high: 0.0 })
    }
}

/// Group Variance Policy Optimization (Zhang et al., arXiv 2504.19599): differences of implicit rewards `β log(π_θ/π_old)` are
/// brought to those of the rewards.
pub fn gvpo(beta: f64) -> Objective {
    Objective {
        name: "gvpo",
        scale: Scale::None,
        ratio: Ratio::Joint,
        surrogate: Surrogate::Squares { beta },
        ..grpo(0.0, Clip { low: 0.0, high: 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Clip = Clip { low: 0.2, high: 0.2 };

    #[test]
    fn rows_say_what_they_need() {
        let needs = |row: &Objective| {
            [
                row.needs_integration(),
                row.needs_projection(),
                row.needs_projected_reference(),
                row.needs_reference_model(),
            ]
        };
        assert_eq!(needs(&gcpo(2.0, 0.06, 0.04, CLIP, 1e-6, 10.0)), [true; 4]);
        assert_eq!(
            needs(&gcpo(2.0, 0.0, 0.0, CLIP, 1e-6, 10.0)),
            [true, true, false, false]
        );
        assert_eq!(needs(&grpo(0.04, CLIP)), [false, false, false, true]);
        assert_eq!(needs(&grpo_alpha(2.0, 0.0, CLIP)), [false; 4]);
        assert_eq!(
            needs(&rloo(0.04, CLIP, false)),
            [false, false, false, true],
            "the KL is in the reward"
        );
        assert_eq!(needs(&gvpo(0.1)), [false; 4]);
        // The κ term with any other row: the candidates are scored beside the integrations, but nothing is projected.
        let kappa = Objective {
            kappa: 0.06,
            ..grpo(0.04, CLIP)
        };
        assert_eq!(needs(&kappa), [true, false, true, true]);
        let constants = [
            gcpo(2.0, 0.06, 0.04, CLIP, 1e-6, 10.0),
            grpo(0.04, CLIP),
            grpo_alpha(1.5, 0.0, CLIP),
        ]
        .map(|row| row.constant_upsilon());
        assert_eq!(constants, [None, Some(1.0), Some(1.5)]);
    }

    #[test]
    fn equal_rewards_are_idle_where_a_group_is_compared() {
        assert!(grpo(0.04, CLIP).flat_is_idle() && reinforce_pp_baseline(0.0, CLIP).flat_is_idle());
        assert!(!reinforce_pp(0.0, CLIP).flat_is_idle());
        assert!(rloo(0.0, CLIP, false).flat_is_idle() && !rloo(0.1, CLIP, false).flat_is_idle());
    }
}
