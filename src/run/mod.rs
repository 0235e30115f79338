//! A run on disk: its directory, the lines that it writes, and being asked to stop.

mod dir;
pub mod log;
mod metrics;
mod stop;

pub use dir::{RunDir, RunDirError, SavedStep};
pub use metrics::Metrics;
pub use stop::Stop;
