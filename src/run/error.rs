//! Why a run directory, or a file in it, cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::section::ConfigError;

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// There is something in the directory.
    #[error(
        "the run directory {} is not empty; choose another one with --run-dir, or continue the run in it with --resume", .0.display()
    )]
    NotEmpty(PathBuf),
    /// The directory is no run's.
    #[error("{} is no run directory: it holds no config.toml; give the directory that the run printed", .0.display())]
    NotARun(PathBuf),
    /// The run saved nothing.
    #[error("the run in {} has no complete checkpoint: nothing of it can go on; remove the directory and start it again, or choose another one with --run-dir", .0.display())]
    NoCheckpoint(PathBuf),
    /// No run of that name.
    #[error("found no run to resume in {}; give its directory: --resume DIR", .0.display())]
    NoRun(PathBuf),
    /// All runs of that name are under way.
    #[error("all runs of this config in {} are under way ({busy} of them); give the directory of another: --resume DIR", .runs.display())]
    AllBusy {
        /// Where they are.
        runs: PathBuf,
        /// How many.
        busy: usize,
    },
    /// Another process writes to the directory.
    #[error("{} belongs to a run that is under way; wait for its end, or stop it", .0.display())]
    Busy(PathBuf),
    /// A checkpoint is not what was written.
    #[error("the checkpoint {} is damaged: {what}; {}", .path.display(), other(.whole.as_deref()))]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// The last one before it that is whole.
        whole: Option<PathBuf>,
    },
    /// A log is not what it was when the checkpoint was saved.
    #[error("{}: its lines up to step {step} are not those that were written (it was shortened or edited); put the file back, or fork the run with --from {}", .log.display(), .checkpoint.display())]
    Log {
        /// The file.
        log: PathBuf,
        /// The checkpoint's step.
        step: usize,
        /// The checkpoint.
        checkpoint: PathBuf,
    },
    /// The saved run is another one.
    #[error("the run in {} was started with another {}; a run is resumed with what it was started with, and `--from {}` starts a new run from its weights", .dir.display(), .what.join(", "), .dir.display())]
    Differs {
        /// The directory.
        dir: PathBuf,
        /// What differs: keys of the config in backticks, and files.
        what: Vec<String>,
    },
    /// The saved config cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn other(whole: Option<&Path>) -> String {
    match whole {
        Some(path) => format!("the one before is whole: --resume {}", path.display()),
        None => "no other one of the run is whole".to_owned(),
    }
}

/// Names the file or directory that the system refused.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    move |source| RunDirError::Io {
        path: path.to_owned(),
        source,
    }
}
