//! A run on disk: its directory, the lines that it writes, and being asked to stop.

mod config;
mod dir;
pub mod log;
mod metrics;
mod stop;

pub use config::{Checkpoint, CheckpointDraft, Run, RunDraft};
pub use dir::{RunDir, RunDirError, SavedStep};
pub use metrics::Metrics;
pub use stop::Stop;
