//! GCPO's projection onto the causal graph of a group: eqs. 2, 11, 12 and 13.
//!
//! Axes: `p` prompts, `g` candidates of a prompt, `b = p·g` rows, `t` tokens, `d` features,
//! `j` (or `l`) integrations, `m` samples. Nothing here carries a gradient.
//!
//! [`project`] samples stages 2 and 3 with the rollout engine; the rest are pure functions of tensors.

mod alignment;
mod config;
mod pooled;
mod reference;
mod stages;

pub use alignment::{
    Alignment, ProjectionError, ProjectionMeans, Summary, align, projection_means, similarity,
};
pub use config::{
    Estimator, FeatureContext, Features, FeaturesDraft, Projection, ProjectionDraft, Similarity,
};
pub use reference::{project_prediction, reference};
pub use stages::{ProjectionPlan, project};
