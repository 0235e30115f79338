//! The objectives, a row each: its values, and its keys in `[objective]`.

use super::{Aggregation, Baseline, Clip, Kl, Objective, Ratio, Scale, Weight};
use crate::section::{Check, ConfigError, section, variants, within};

/// The paper's α (figure 3).
const ALPHA: f64 = 2.0;

/// Group Relative Policy Optimization (Shao et al., arXiv 2402.03300).
pub fn grpo(beta: f64, clip: Clip) -> Objective {
    Objective {
        name: "grpo",
        baseline: Baseline::Mean,
        scale: Scale::GroupStd,
        ratio: Ratio::Token,
        clip,
        aggregation: Aggregation::PerSequence,
        kl: Kl { beta },
        weight: Weight::One,
        mask_truncated: false,
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
    Objective {
        name: "gcpo",
        weight: Weight::Upsilon(alpha),
        kappa,
        floor,
        ratio_max,
        ..grpo(beta, clip)
    }
}

section! {
    /// `[objective]`: what is maximised.
    pub struct Settings from SettingsDraft {
        /// What is maximised.
        pub kind: Which of WhichDraft => kind.complete(),
        /// Weight of the KL term towards the reference model; 0 loads none. Source: TRL.
        pub beta: f64 = 0.0,
        /// Lower clip of the ratio. Source: TRL.
        pub epsilon: f64 = 0.2,
        /// Upper clip of the ratio. Source: TRL.
        pub epsilon_high: f64 => epsilon,
        /// Leave completions that were cut at `rollout.max_completion_length` out of the loss. Their rewards still count in their
        /// group, and they as completions in what the loss is divided by. Source: TRL.
        pub mask_truncated_completions: bool = false,
    }
}

/// Above it a weight of a loss is a slip of the pen, and a loss in float32 may overflow.
const LARGE: f64 = 1e4;

impl Check for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        within("beta", self.beta, 0.0, LARGE)?;
        within("epsilon", self.epsilon, 0.0, 1.0)?;
        within("epsilon_high", self.epsilon_high, 0.0, LARGE)
    }
}

variants! {
    /// What is maximised; `"grpo_alpha"` is GRPO with advantages times `alpha`, a control. Source: paper, eq. 10.
    pub enum Which from WhichDraft by name = "gcpo" {
        /// Group Causal Policy Optimization.
        Gcpo = "gcpo" of GcpoDraft(),
        /// Group Relative Policy Optimization.
        Grpo = "grpo" of GrpoDraft(),
        /// GRPO with advantages times α: GCPO with every Υ = α and κ = 0.
        GrpoAlpha = "grpo_alpha" of GrpoAlphaDraft(),
    }
}

impl Settings {
    /// The objective, with the clamps of `[projection]`.
    pub fn row(&self, floor: f64, ratio_max: f64) -> Objective {
        let clip = Clip {
            low: self.epsilon,
            high: self.epsilon_high,
        };
        let row = match &self.kind {
            Which::Gcpo(own) => gcpo(own.alpha, own.kappa, self.beta, clip, floor, ratio_max),
            Which::Grpo(_) => grpo(self.beta, clip),
            Which::GrpoAlpha(own) => grpo_alpha(own.alpha, self.beta, clip),
        };
        Objective {
            mask_truncated: self.mask_truncated_completions,
            ..row
        }
    }
}

section! {
    /// GCPO's own keys.
    pub struct Gcpo from GcpoDraft {
        /// Scale of Υ. Source: paper, figure 3.
        pub alpha: f64 = ALPHA,
        /// Weight of the second KL term, towards the projected reference. Source: paper, figure 3.
        pub kappa: f64 = 0.06,
    }
}

impl Check for Gcpo {
    fn check(&self) -> Result<(), ConfigError> {
        within("alpha", self.alpha, 0.0, LARGE)?;
        within("kappa", self.kappa, 0.0, LARGE)
    }
}

section! {
    /// GRPO has none.
    pub struct Grpo from GrpoDraft {}
}

impl Check for Grpo {}

section! {
    /// The control's own key.
    pub struct GrpoAlpha from GrpoAlphaDraft {
        /// What every advantage is multiplied by. Source: paper, figure 3.
        pub alpha: f64 = ALPHA,
    }
}

impl Check for GrpoAlpha {
    fn check(&self) -> Result<(), ConfigError> {
        within("alpha", self.alpha, 0.0, LARGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Clip = Clip { low: 0.2, high: 0.2 };

    #[test]
    fn names_are_strict() {
        for name in Which::NAMES {
            let draft = SettingsDraft {
                kind: name.parse().unwrap(),
                ..SettingsDraft::default()
            };
            let row = draft.complete().unwrap().row(1e-6, 10.0);
            assert_eq!(row.name, *name);
        }
        let error = "GRPO".parse::<WhichDraft>().unwrap_err();
        assert_eq!(
            error,
            "there is no `GRPO`; expected one of `gcpo`, `grpo`, `grpo_alpha`"
        );
    }

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
}
