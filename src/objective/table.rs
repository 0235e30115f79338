//! The objectives, a row each.

use std::str::FromStr;

use super::{Aggregation, Baseline, Clip, Kl, Objective, ObjectiveError, Ratio, Scale, Weight};
use crate::config::{self, ObjectiveName};

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

// What follows joins the table to the config as it is now. It goes when `[objective]` is a section of this room.

const NAMES: [ObjectiveName; 3] = [ObjectiveName::Gcpo, ObjectiveName::Grpo, ObjectiveName::GrpoAlpha];

pub(super) fn names() -> String {
    NAMES.map(|name| format!("`{name}`")).join(", ")
}

impl FromStr for ObjectiveName {
    type Err = ObjectiveError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut known = NAMES.into_iter();
        known
            .find(|known| known.to_string() == name)
            .ok_or_else(|| ObjectiveError::UnknownName { name: name.into() })
    }
}

impl Objective {
    /// The row of a run's `[objective]` and `[projection]`.
    pub fn of(objective: &config::Objective, projection: &config::Projection) -> Self {
        let (alpha, beta) = (objective.alpha, objective.beta);
        let clip = Clip {
            low: objective.epsilon,
            high: objective.epsilon_high.unwrap_or(objective.epsilon),
        };
        match objective.name {
            ObjectiveName::Gcpo => gcpo(
                alpha,
                objective.kappa,
                beta,
                clip,
                projection.floor,
                projection.ratio_max,
            ),
            ObjectiveName::Grpo => grpo(beta, clip),
            ObjectiveName::GrpoAlpha => grpo_alpha(alpha, beta, clip),
        }
    }
}
