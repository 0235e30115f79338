//! `[objective]`.

use crate::section::{Check, ConfigError, section, variants, within};

section! {
    /// `[objective]`: what is maximised.
    pub struct Settings from SettingsDraft {
        /// What is maximised.
        pub kind: Kind of KindDraft => kind.complete(),
        /// Weight of the KL term towards the reference model; 0 loads none. Source: TRL.
        pub beta: f64 = 0.0,
        /// Lower clip of the ratio. Source: TRL.
        pub epsilon: f64 = 0.2,
        /// Upper clip of the ratio. Source: TRL.
        pub epsilon_high: f64 => epsilon,
    }
}

impl Check for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        within("beta", self.beta, 0.0, f64::MAX)?;
        within("epsilon", self.epsilon, 0.0, 1.0)?;
        within("epsilon_high", self.epsilon_high, 0.0, f64::MAX)
    }
}

variants! {
    /// What is maximised: `"gcpo"`, `"grpo"`, or `"grpo_alpha"` (GRPO with advantages times `alpha`, a control). Source: paper, eq. 10.
    pub enum Kind from KindDraft by name = "gcpo" {
        /// Group Causal Policy Optimization.
        Gcpo = "gcpo" of GcpoDraft(),
        /// Group Relative Policy Optimization.
        Grpo = "grpo" of GrpoDraft(),
        /// GRPO with advantages times α: GCPO with every Υ = α and κ = 0.
        GrpoAlpha = "grpo_alpha" of GrpoAlphaDraft(),
    }
}

section! {
    /// GCPO's own keys.
    pub struct Gcpo from GcpoDraft {
        /// Scale of Υ. Source: paper, figure 3.
        pub alpha: f64 = 2.0,
        /// Weight of the second KL term, towards the projected reference. Source: paper, figure 3.
        pub kappa: f64 = 0.06,
    }
}

impl Check for Gcpo {
    fn check(&self) -> Result<(), ConfigError> {
        within("alpha", self.alpha, 0.0, f64::MAX)?;
        within("kappa", self.kappa, 0.0, f64::MAX)
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
        pub alpha: f64 = 2.0,
    }
}

impl Check for GrpoAlpha {
    fn check(&self) -> Result<(), ConfigError> {
        within("alpha", self.alpha, 0.0, f64::MAX)
    }
}
