//! A run on disk: its directory, its checkpoints, the lines that it writes, and being asked to stop.

mod config;
pub mod digest;
mod dir;
mod error;
mod events;
pub mod log;
pub mod metrics;
mod saved;
mod stop;
mod tracker;

pub use config::{Checkpoint, CheckpointDraft, ReportTo, Run, RunDraft};
pub use dir::{EVALUATION, LOGS, RunDir};
pub use error::RunDirError;
pub use events::{EventLog, TENSORBOARD};
pub use metrics::Metrics;
pub use saved::{Inputs, SavedStep, TrainerState};
pub use stop::Stop;
pub use tracker::{TrackerError, Trackers};
