//! What every training run has in common: steps, metrics, evaluations, checkpoints, Ctrl-C and resuming.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::config::Config;
use crate::eval::EvalReport;
use crate::metrics::Metrics;
use crate::report::Progress;
use crate::rundir::RunDir;
use crate::stop;

/// A run that goes forward step by step.
pub trait Trainer {
    /// Does step `step` (from 1) and says what it measured.
    ///
    /// # Errors
    /// Whatever stops the run. The state must then still be that of the last whole step.
    fn step(&mut self, step: usize, metrics: &mut Metrics) -> Result<()>;

    /// Evaluates the state as it is, if the run has anything to evaluate on.
    ///
    /// # Errors
    /// What the evaluation fails on.
    fn evaluate(&self) -> Result<Option<EvalReport>>;

    /// Writes the state into the directory `dir`.
    ///
    /// # Errors
    /// What could not be written.
    fn save(&self, dir: &Path) -> Result<()>;

    /// Reads what [`Trainer::save`] wrote.
    ///
    /// # Errors
    /// What could not be read.
    fn restore(&mut self, dir: &Path) -> Result<()>;
}

/// How a run went.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Steps done in all.
    pub steps: usize,
    /// The evaluation before the first step.
    pub before: Option<EvalReport>,
    /// The last evaluation.
    pub after: Option<EvalReport>,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
    /// Seconds of this process.
    pub secs: f64,
}
