//! `[projection]` and `[features]`.

use crate::rollout::Rollout;
use crate::section::{Check, ConfigError, MANY, ROWS, count, positive, section, within, words};

section! {
    /// `[projection]`: stages 2 and 3 of the paper, and the clamp of the projected reference.
    pub struct Projection from ProjectionDraft(rollout: &Rollout) {
        /// Integrations a query, the paper's J. 1 is a control without a collider. Source: paper, section 4.
        pub integrations: usize => rollout.num_generations,
        /// Samples of each projection context, the paper's M. Source: paper, section 4.
        pub samples: usize => rollout.num_generations,
        /// Longest completion of stage 3 in tokens, where it is to be shorter than candidates. Default: `rollout.max_completion_length`.
        /// Source: this project.
        pub max_completion_length: usize => rollout.max_completion_length,
        /// Whether the samples of a candidate's contexts `x_{i,j}` draw the same random numbers for every `j`: noise that they have in common
        /// leaves `Z̄_i − Z̄'_i`. Source: this project (common random numbers; the paper draws each alone).
        pub common_random_numbers: bool = false,
        /// What estimates the mean representation of a context: `"own"`, its own samples, or `"pooled"`, the samples of all contexts of the
        /// candidate, weighed by how likely they are in this one. Source: paper, eq. 11 (`"own"`); this project.
        pub estimator: Estimator = Estimator::Own,
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
        count("max_completion_length", self.max_completion_length, 1, ROWS)?;
        positive("floor", self.floor)?;
        within("floor", self.floor, 0.0, 1.0)?;
        within("ratio_max", self.ratio_max, 1.0, 1e6)
    }
}

words! {
    /// What estimates the mean representation of a context of stage 3.
    Estimator {
        /// Its own samples.
        Own = "own",
        /// The samples of all contexts of a candidate, each weighed by its likelihood in this one.
        Pooled = "pooled",
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
