//! What is run, within which limits, and how it ended.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much of the system is hidden from a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Namespaces of its own, a read-only view, a filter of system calls, limits.
    #[default]
    Full,
    /// Limits and the filter only: it reads, and spoils, what its user may.
    Partial,
}

/// What a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds of the processor, summed over its threads; none: as many as it likes.
    pub cpu_secs: Option<u64>,
    /// Seconds by the clock; none: until whoever started it is gone.
    pub wall_secs: Option<f64>,
    /// Address space, in bytes.
    pub memory: u64,
    /// What it may write to its own `/tmp`, in bytes.
    pub disk: u64,
    /// Threads at a time.
    pub threads: u64,
}

/// A program, and what it is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The program and its arguments; the first is a path.
    pub command: Vec<String>,
    /// The only variables of its environment.
    pub env: Vec<(String, String)>,
    /// Files and directories that it sees, at the same place, and cannot change.
    pub view: Vec<PathBuf>,
    /// What it may use.
    pub limits: Limits,
    /// What is hidden from it.
    pub isolation: Isolation,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// By itself, with this code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It took more seconds of the processor than it may.
    Cpu,
    /// It took longer than it may.
    Wall,
    /// It was stopped, because nobody listened any more.
    Stopped,
    /// It did not begin.
    Failed(String),
}

/// Why programs cannot be run.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The system does not allow it.
    #[error(
        "programs that a model wrote are run in a sandbox, and this system does not allow one: {0}. See docs/code.md for what it needs; \
         `isolation = \"partial\"` of the reward, `--isolation partial` of `gcpo grade`, does with limits and a filter of system calls only, and keeps no \
         file of yours from being read or spoilt"
    )]
    Refused(String),
    /// This program could not be started once more.
    #[error("the sandbox did not start: {0}")]
    Start(std::io::Error),
}
