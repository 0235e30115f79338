//! `[run]` and `[checkpoint]`.

use std::path::PathBuf;

use bytesize::ByteSize;

use crate::bridge::Interpreter;
use crate::section::{Check, ConfigError, at_least, impossible, section, within, words};

section! {
    /// `[run]`: where the run is written.
    pub struct Run from RunDraft(file: String) {
        /// The run's name. Default: the config file's, without `.toml`. Source: this project.
        pub name: String => file,
        /// The run directory; `--run-dir` wins. Left out of the `config.toml` in a run directory, so that it runs again as it is.
        /// Default: `runs/NAME-TIMESTAMP`. Source: this project.
        pub dir: Option<PathBuf>,
        /// Steps over which something must be wrong before it is said: all rewards equal, all completions cut, Υ nearly constant and the
        /// like (docs/runs.md#health). 0 says nothing. Source: this project.
        pub health_steps: usize = 10,
        /// What the numbers of each step are written for beside `metrics.jsonl`: "tensorboard" writes its event files into `tensorboard/` in
        /// the run directory; "wandb" and "trackio" get them by their Python packages (docs/report.md#wandb-and-trackio). Source: TRL, whose
        /// default is none, too.
        pub report_to: Vec<ReportTo> = Vec::<ReportTo>::new(),
        /// The project that wandb and trackio file the run under. Default: `WANDB_PROJECT` or `TRACKIO_PROJECT` of the environment, else
        /// "gcpo". Source: TRL.
        pub project: Option<String>,
        /// The Python that has these packages, 3.8 or later: a path, or a name in `PATH`. Default: that of the active virtual environment
        /// (`VIRTUAL_ENV`), else `python3`. Source: this project.
        pub python: Option<Interpreter>,
        /// Show a few completions with their rewards, Υ and advantages on standard error. Source: TRL.
        pub log_completions: bool = false,
        /// How many. Source: this project; TRL shows all of them.
        pub num_completions_to_print: usize = 4,
        /// Of every how many steps, where `log_completions` asks for them. Source: TRL.
        pub logging_steps: usize = 10,
    }
}

words! {
    /// A program that shows numbers.
    ReportTo {
        /// TensorBoard.
        TensorBoard = "tensorboard",
        /// Weights & Biases.
        Wandb = "wandb",
        /// Trackio.
        Trackio = "trackio",
    }
}

impl Check for Run {
    fn check(&self) -> Result<(), ConfigError> {
        let is_part_of_a_path = |c: char| c.is_control() || "/\\".contains(c);
        at_least("num_completions_to_print", self.num_completions_to_print, 1)?;
        at_least("logging_steps", self.logging_steps, 1)?;
        if let Some((at, _)) =
            (self.report_to.iter().enumerate()).find(|(at, of)| self.report_to[..*at].contains(of))
        {
            return impossible(
                "report_to",
                format!("{} is named twice", self.report_to[at]),
                "name it once",
            );
        }
        let has_packages = self.report_to.iter().any(|of| *of != ReportTo::TensorBoard);
        for (key, given) in [
            ("project", self.project.is_some()),
            ("python", self.python.is_some()),
        ] {
            if given && !has_packages {
                let what = "it is for \"wandb\" and \"trackio\", and report_to names neither";
                return impossible(key, what, "leave it out, or name one: `report_to = [\"wandb\"]`");
            }
        }
        let name = &self.name;
        if name.is_empty()
            || [".", ".."].contains(&name.as_str())
            || name.len() > 200
            || name.contains(is_part_of_a_path)
        {
            return impossible(
                "name",
                format!("{name:?} cannot be part of a directory's name"),
                "give letters, digits, - and _; `--run-dir` says where the run is written",
            );
        }
        Ok(())
    }
}

section! {
    /// `[checkpoint]`: when the trainer's state is saved under the run directory.
    pub struct Checkpoint from CheckpointDraft {
        /// Save after each so many steps; 0 = never. The end of a run, by a signal too, is saved in any case. Source: this project.
        pub every: usize = 0,
        /// Save also when so many minutes have passed since the last checkpoint; such a checkpoint goes when the next one is there. 0 =
        /// never. Source: this project.
        pub minutes: f64 = 10.0,
        /// Keep only so many checkpoints, the last ones; 0 keeps all. Source: TRL (`save_total_limit`).
        pub keep_last: usize = 0,
        /// Largest file of weights (`"5GB"`, `"4 GiB"`, or a number of bytes); larger models are written in shards, with
        /// `model.safetensors.index.json`. Source: transformers.
        pub max_shard_size: ByteSize = ByteSize::gb(50),
    }
}

impl Check for Checkpoint {
    fn check(&self) -> Result<(), ConfigError> {
        if self.max_shard_size.0 == 0 {
            return impossible(
                "max_shard_size",
                "0 is too small",
                "give 1 or more; 50GB is transformers' own",
            );
        }
        within("minutes", self.minutes, 0.0, f64::MAX)
    }
}
