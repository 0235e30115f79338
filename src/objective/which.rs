//! The names of `[objective]`, what each takes beside what all take, and the values that it starts from.

use super::table;
use super::{
    Baseline, Clip, Estimator, Gamma, Kl, Level, Objective, Ratio, Rewards, Scale, ScaleRewards, Surrogate,
};
use crate::section::{Check, ConfigError, section, variants, within, words};

/// The paper's α (figure 3).
const ALPHA: f64 = 2.0;
/// PPO's ε.
const EPSILON: f64 = 0.2;

/// Above it a weight of a loss is a slip of the pen, and a loss in float32 may overflow.
pub(super) const LARGE: f64 = 1e4;

variants! {
    /// What is maximised; [algorithms.md](algorithms.md#6-objectives-are-rows-of-values) has a section for each. Source: paper, eq. 10.
    pub enum Which from WhichDraft by name = "gcpo" {
        /// Group Causal Policy Optimization.
        Gcpo = "gcpo" of GcpoDraft(),
        /// Group Relative Policy Optimization.
        Grpo = "grpo" of GrpoDraft(),
        /// GRPO with advantages times α: GCPO with every Υ = α and κ = 0.
        GrpoAlpha = "grpo_alpha" of GrpoAlphaDraft(),
        /// GRPO without the divisions by deviation and length.
        DrGrpo = "dr_grpo" of DrGrpoDraft(),
        /// GRPO with every token counted the same, and a wider upper clip.
        Dapo = "dapo" of DapoDraft(),
        /// GRPO with every token counted the same.
        Bnpo = "bnpo" of BnpoDraft(),
        /// A ratio for each completion.
        Gspo = "gspo" of GspoDraft(),
        /// The same with a gradient for each token.
        GspoToken = "gspo_token" of GspoTokenDraft(),
        /// GSPO with completions counted by their lengths.
        Luspo = "luspo" of LuspoDraft(),
        /// REINFORCE leave-one-out.
        Rloo = "rloo" of RlooDraft(),
        /// Group Variance Policy Optimization.
        Gvpo = "gvpo" of GvpoDraft(),
        /// The ratio as a clipped weight.
        Cispo = "cispo" of CispoDraft(),
        /// A smooth gate in place of the clip.
        Sapo = "sapo" of SapoDraft(),
        /// A smooth weight of the completion's ratio.
        Vespo = "vespo" of VespoDraft(),
        /// REINFORCE++.
        ReinforcePp = "reinforce_pp" of ReinforcePpDraft(),
        /// REINFORCE++ with the group's mean as baseline.
        ReinforcePpBaseline = "reinforce_pp_baseline" of ReinforcePpBaselineDraft(),
    }
}

impl Which {
    /// The row, with the authors' values.
    pub(super) fn row(&self, beta: f64, floor: f64, ratio_max: f64) -> Objective {
        let clip = |low, high| Clip { low, high };
        let (ppo, sequences) = (clip(EPSILON, EPSILON), clip(3e-4, 4e-4));
        match self {
            Self::Gcpo(own) => {
                let row = own.base.row(beta);
                table::causal(row, own.alpha, own.kappa, floor, ratio_max)
            }
            Self::Grpo(_) => table::grpo(beta, ppo),
            Self::GrpoAlpha(own) => table::grpo_alpha(own.alpha, beta, ppo),
            Self::DrGrpo(_) => table::dr_grpo(beta, ppo),
            Self::Dapo(_) => table::dapo(beta, clip(EPSILON, 0.28)),
            Self::Bnpo(_) => table::bnpo(beta, ppo),
            Self::Gspo(_) => table::gspo(beta, sequences),
            Self::GspoToken(_) => table::gspo_token(beta, sequences),
            Self::Luspo(_) => table::luspo(beta, sequences),
            Self::Rloo(own) => table::rloo(beta, ppo, own.normalize_advantages),
            Self::Gvpo(_) => table::gvpo(beta),
            Self::Cispo(_) => table::cispo(beta, 5.0),
            Self::Sapo(own) => table::sapo(beta, own.sapo_temperature_pos, own.sapo_temperature_neg),
            Self::Vespo(own) => table::vespo(beta, own.gamma()),
            Self::ReinforcePp(_) => table::reinforce_pp(beta, ppo),
            Self::ReinforcePpBaseline(_) => table::reinforce_pp_baseline(beta, ppo),
        }
    }

    /// What the defaults are read from; the clamps of the projected reference are no matter there.
    fn plain(&self) -> Objective {
        self.row(self.beta(), 0.0, f64::INFINITY)
    }

    pub(super) fn beta(&self) -> f64 {
        if self.is_gvpo() { 0.1 } else { 0.0 }
    }

    pub(super) fn epsilon(&self) -> Option<f64> {
        match self.plain().surrogate {
            Surrogate::Clipped { clip, .. } => Some(clip.low),
            _ => None,
        }
    }

    pub(super) fn epsilon_high(&self, epsilon: Option<f64>) -> Option<f64> {
        match self.plain().surrogate {
            // As wide as the lower one, which may have been given, where the row's own are alike.
            Surrogate::Clipped { clip, .. } if clip.low == clip.high => epsilon,
            Surrogate::Clipped { clip, .. } => Some(clip.high),
            Surrogate::ClippedWeight { high } => Some(high),
            _ => None,
        }
    }

    pub(super) fn level(&self) -> Option<Level> {
        match (self, self.plain().ratio) {
            (Self::Gspo(_) | Self::GspoToken(_) | Self::Vespo(_), _) | (_, Ratio::Joint) => None,
            (_, Ratio::Token) => Some(Level::Token),
            (_, Ratio::Sequence | Ratio::SequenceToken) => Some(Level::Sequence),
        }
    }

    pub(super) fn scale(&self) -> Option<ScaleRewards> {
        let row = self.plain();
        match row.scale {
            Scale::None if row.whiten && !matches!(self, Self::Rloo(_)) => None,
            Scale::None => Some(ScaleRewards::None),
            Scale::GroupStd => Some(ScaleRewards::Group),
            Scale::BatchStd => Some(ScaleRewards::Batch),
        }
    }

    /// Whether its policy term is of tokens, some of which may be left out.
    pub(super) fn has_tokens(&self) -> bool {
        self.plain().ratio != Ratio::Joint
    }

    /// How several rewards become one, where another way has a meaning.
    pub(super) fn rewards(&self) -> Option<Rewards> {
        let row = self.plain();
        let compares = row.baseline == Baseline::Mean && !row.whiten && !self.is_gvpo();
        compares.then_some(row.rewards)
    }

    pub(super) fn is_gvpo(&self) -> bool {
        matches!(self, Self::Gvpo(_))
    }

    /// Whether the ratio of its completions is made in the loss, and takes corrections of tokens only.
    pub(super) fn is_vespo(&self) -> bool {
        matches!(self, Self::Vespo(_))
    }

    /// How the KL is estimated: what REINFORCE++ subtracts from a reward is the logarithm of the ratio itself.
    pub(super) fn estimator(&self, kl: Kl, in_reward: Option<bool>) -> Estimator {
        match (self, in_reward) {
            (Self::ReinforcePp(_), Some(true)) => Estimator::K1,
            _ => kl.estimator,
        }
    }

    /// Something of the KL term, where there is one.
    pub(super) fn kl<T>(&self, beta: f64, of: impl Fn(Kl) -> T) -> Option<T> {
        let has_kl = beta != 0.0 && !self.is_gvpo();
        has_kl.then(|| of(self.plain().kl))
    }
}

words! {
    /// A row that GCPO's Υ and second KL term go on top of.
    Base {
        /// GRPO's.
        Grpo = "grpo",
        /// Dr. GRPO's.
        DrGrpo = "dr_grpo",
        /// DAPO's.
        Dapo = "dapo",
        /// BNPO's.
        Bnpo = "bnpo",
        /// CISPO's.
        Cispo = "cispo",
        /// SAPO's, with the authors' temperatures.
        Sapo = "sapo",
        /// That of REINFORCE++ with baseline.
        ReinforcePpBaseline = "reinforce_pp_baseline",
    }
}

impl Base {
    fn row(self, beta: f64) -> Objective {
        let which = match self {
            Self::Grpo => Which::Grpo(Grpo {}),
            Self::DrGrpo => Which::DrGrpo(DrGrpo {}),
            Self::Dapo => Which::Dapo(Dapo {}),
            Self::Bnpo => Which::Bnpo(Bnpo {}),
            Self::Cispo => Which::Cispo(Cispo {}),
            Self::Sapo => Which::Sapo(Sapo {
                sapo_temperature_pos: SAPO.0,
                sapo_temperature_neg: SAPO.1,
            }),
            Self::ReinforcePpBaseline => Which::ReinforcePpBaseline(ReinforcePpBaseline {}),
        };
        which.row(beta, 0.0, f64::INFINITY)
    }
}

section! {
    /// GCPO's own keys.
    pub struct Gcpo from GcpoDraft {
        /// Scale of Υ. Source: paper, figure 3.
        pub alpha: f64 = ALPHA,
        /// Weight of the second KL term, towards the projected reference. Source: paper, figure 3.
        pub kappa: f64 = 0.06,
        /// What Υ and the second KL term go on top of: ratio, clip, scale and average are this name's. Source: paper (GRPO).
        pub base: Base = Base::Grpo,
    }
}

impl Check for Gcpo {
    fn check(&self) -> Result<(), ConfigError> {
        within("alpha", self.alpha, 0.0, LARGE)?;
        within("kappa", self.kappa, 0.0, LARGE)
    }
}

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

section! {
    /// RLOO's own key.
    pub struct Rloo from RlooDraft {
        /// Whether the advantages of a step are brought to mean 0 and deviation 1. Source: TRL.
        pub normalize_advantages: bool = false,
    }
}

impl Check for Rloo {}

/// SAPO's temperatures.
const SAPO: (f64, f64) = (1.0, 1.05);

section! {
    /// SAPO's own keys.
    pub struct Sapo from SapoDraft {
        /// Steepness of the gate where the advantage is positive. Source: TRL.
        pub sapo_temperature_pos: f64 = SAPO.0,
        /// Steepness of the gate elsewhere. Source: TRL.
        pub sapo_temperature_neg: f64 = SAPO.1,
    }
}

impl Check for Sapo {
    fn check(&self) -> Result<(), ConfigError> {
        within("sapo_temperature_pos", self.sapo_temperature_pos, 1e-3, LARGE)?;
        within("sapo_temperature_neg", self.sapo_temperature_neg, 1e-3, LARGE)
    }
}

section! {
    /// VESPO's own keys.
    pub struct Vespo from VespoDraft {
        /// How fast the weight falls for completions that have become less likely, where the advantage is not negative. Source: TRL.
        pub vespo_k_pos: f64 = 2.0,
        /// How fast it falls for those that have become more likely. Source: TRL.
        pub vespo_lambda_pos: f64 = 3.0,
        /// As `vespo_k_pos`, where the advantage is negative. Source: TRL.
        pub vespo_k_neg: f64 = 3.0,
        /// As `vespo_lambda_pos`, where the advantage is negative. Source: TRL.
        pub vespo_lambda_neg: f64 = 2.0,
    }
}

impl Vespo {
    fn gamma(&self) -> Gamma {
        Gamma {
            k_pos: self.vespo_k_pos,
            lambda_pos: self.vespo_lambda_pos,
            k_neg: self.vespo_k_neg,
            lambda_neg: self.vespo_lambda_neg,
        }
    }
}

impl Check for Vespo {
    fn check(&self) -> Result<(), ConfigError> {
        within("vespo_k_pos", self.vespo_k_pos, 0.0, 100.0)?;
        within("vespo_lambda_pos", self.vespo_lambda_pos, 1e-4, 100.0)?;
        within("vespo_k_neg", self.vespo_k_neg, 0.0, 100.0)?;
        within("vespo_lambda_neg", self.vespo_lambda_neg, 1e-4, 100.0)
    }
}

/// Names without keys of their own.
macro_rules! without_keys {
    ($($name:ident from $draft:ident;)+) => {
        $(
            section! {
                /// It has no keys of its own.
                pub struct $name from $draft {}
            }

            impl Check for $name {}
        )+
    };
}

without_keys! {
    Grpo from GrpoDraft;
    DrGrpo from DrGrpoDraft;
    Dapo from DapoDraft;
    Bnpo from BnpoDraft;
    Gspo from GspoDraft;
    GspoToken from GspoTokenDraft;
    Luspo from LuspoDraft;
    Gvpo from GvpoDraft;
    Cispo from CispoDraft;
    ReinforcePp from ReinforcePpDraft;
    ReinforcePpBaseline from ReinforcePpBaselineDraft;
}
