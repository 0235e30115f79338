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
    /// A container of docker.
    Docker,
    /// A container of podman.
    Podman,
}

impl Isolation {
    /// The program that makes containers, where one does.
    pub fn engine(self) -> Option<&'static str> {
        match self {
            Self::Docker => Some("docker"),
            Self::Podman => Some("podman"),
            Self::Full | Self::Partial => None,
        }
    }
}

/// What a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds of the processor, summed over its threads; none: as many as it likes.
    pub cpu_secs: Option<u64>,
    /// Seconds by the clock; none: until whoever started it is gone.
    pub wall_secs: Option<f64>,
    /// Memory, in bytes.
    pub memory: u64,
    /// Whether memory is what all its processes hold together, and not the addresses that each has: what some runtimes reserve is far more
    /// than they use.
    pub resident: bool,
    /// Processes at a time; with 1 it makes none.
    pub processes: u64,
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
    /// The directory that it begins in; that of its files.
    pub place: PathBuf,
    /// Files that are its own, by name and length. `{dir}` in its command is where they are.
    pub files: Vec<(String, u64)>,
    /// Whether its standard error goes where its standard output does, and not nowhere.
    pub errors: bool,
    /// The image of its container.
    pub image: String,
    /// What else the engine of the container is told.
    pub container_args: Vec<String>,
}

impl Spec {
    /// The command, its files being at this place.
    pub fn command_in(&self, place: &str) -> Vec<String> {
        let put = |argument: &String| argument.replace("{dir}", place);
        self.command.iter().map(put).collect()
    }
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
    /// Its processes held more memory than they may.
    Memory,
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
         `code.isolation = \"docker\"` or \"podman\" takes a container (`code.image`); \"partial\" does with limits and a filter of system calls only, \
         and keeps no file of yours from being read or spoilt"
    )]
    Refused(String),
    /// This program could not be started once more.
    #[error("the sandbox did not start: {0}")]
    Start(std::io::Error),
}
