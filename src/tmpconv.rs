//! tmp
use crate::config as c;
impl From<c::Scheduler> for crate::schedule::LrSchedulerType { fn from(x: c::Scheduler) -> Self { match x { c::Scheduler::Constant => Self::ConstantWithWarmup, c::Scheduler::Linear => Self::Linear, c::Scheduler::Cosine => Self::Cosine } } }
impl From<c::ObjectiveName> for crate::objective::Objective { fn from(x: c::ObjectiveName) -> Self { match x { c::ObjectiveName::Gcpo => Self::Gcpo, c::ObjectiveName::Grpo => Self::Grpo, c::ObjectiveName::GrpoAlpha => Self::GrpoAlpha } } }
impl From<c::FeatureContext> for crate::projection::FeatureContext { fn from(x: c::FeatureContext) -> Self { match x { c::FeatureContext::Response => Self::Response, c::FeatureContext::InContext => Self::InContext } } }
impl From<c::Similarity> for crate::projection::Similarity { fn from(x: c::Similarity) -> Self { match x { c::Similarity::Cosine => Self::Cosine, c::Similarity::Euclidean => Self::Euclidean, c::Similarity::Gaussian => Self::Gaussian } } }
