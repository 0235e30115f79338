//! `[projection]` and `[features]`.

use crate::rollout::Rollout;
use crate::section::{Check, ConfigError, MANY, count, positive, section, within, words};

section! {
    /// `[projection]`: stages 2 and 3 of the paper, and the clamp of the projected reference.
    pub struct Projection from ProjectionDraft(rollout: &Rollout) {
        /// Integrations a query, the paper's J. 1 is a control without a collider. Source: paper, section 4.
        pub integrations: usize => rollout.num_generations,
        /// Samples of each projection context, the paper's M. Source: paper, section 4.
        pub samples: usize => rollout.num_generations,
        /// Last tokens kept of each candidate in a context that would outgrow the model; 0 keeps all. Source: this project.
        pub candidate_tokens: usize = 0,
        /// Skip stage 3 of queries whose rewards are all equal (their Υ is never used). Source: this project.
        pub skip_flat_groups: bool = true,
        /// Lower clamp of π'_ref, a probability. Source: this project (the paper leaves it open).
        pub floor: f64 = 1e-6,
        /// Clamp of ρ = π'_ref / π_θ to `[1/ratio_max, ratio_max]`. Source: this project (the paper leaves it open).
        pub ratio_max: f64 = 10.0,
    }
}

impl Check for Projection {
    fn check(&self) -> Result<(), ConfigError> {
        count("integrations", self.integrations, 1, MANY)?;
        count("samples", self.samples, 1, MANY)?;
        positive("floor", self.floor)?;
        within("floor", self.floor, 0.0, 1.0)?;
        within("ratio_max", self.ratio_max, 1.0, 1e6)
    }
}

section! {
    /// `[features]`: how a text is represented for Υ.
    pub struct Features from FeaturesDraft {
        /// `"response"`: the last hidden state of the text run alone. `"in_context"`: the state in the context it was generated in,
        /// which costs nothing. Source: paper, eq. 8, step 1.
        pub context: FeatureContext = FeatureContext::Response,
        /// How alike two features are. `"constant"` takes all for the same: every Υ is `objective.alpha`, and stage 3 is not sampled, a
        /// control. Source: paper, eq. 8 and figure 3d.
        pub similarity: Similarity = Similarity::Cosine,
        /// Width of the gaussian similarity. Source: this project.
        pub sigma: f64 = 1.0,
    }
}

impl Check for Features {
    fn check(&self) -> Result<(), ConfigError> {
        within("sigma", self.sigma, 1e-6, 1e6)
    }
}

impl Default for Features {
    fn default() -> Self {
        let complete = FeaturesDraft::default().complete();
        complete.expect("the defaults are possible")
    }
}

words! {
    /// The text around an answer when its feature is taken.
    FeatureContext {
        /// None: the text alone.
        Response = "response",
        /// The context it was generated in.
        InContext = "in_context",
    }
}

words! {
    /// Similarity of two features.
    Similarity {
        /// Cosine of the angle.
        Cosine = "cosine",
        /// `1 / (1 + ‖a − b‖ / √d)`.
        Euclidean = "euclidean",
        /// `exp(−‖a − b‖² / (2 σ² d))`.
        Gaussian = "gaussian",
        /// 1: the control without Υ.
        Constant = "constant",
    }
}
