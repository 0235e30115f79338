//! `[run]` and `[checkpoint]`.

use std::path::PathBuf;

use crate::section::{Check, section};

section! {
    /// `[run]`: where the run is written.
    pub struct Run from RunDraft(file: String) {
        /// The run's name. Default: the config file's, without `.toml`. Source: this project.
        pub name: String => file,
        /// The run directory; `--run-dir` wins. Left out of the `config.toml` in a run directory, so that it runs again as it is.
        /// Default: `runs/NAME-TIMESTAMP`. Source: this project.
        pub dir: Option<PathBuf>,
    }
}

impl Check for Run {}

section! {
    /// `[checkpoint]`: when the trainer's state is saved under the run directory.
    pub struct Checkpoint from CheckpointDraft {
        /// Save after each so many steps; 0 = never. The end of a run, by a signal too, is saved in any case. Source: this project.
        pub every: usize = 0,
        /// Keep only so many checkpoints, the last ones; 0 keeps all. Source: TRL (`save_total_limit`).
        pub keep_last: usize = 0,
    }
}

impl Check for Checkpoint {}
