//! What was typed of the commands that set something up.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::DeviceArgs;
use crate::objective::Which;
use crate::policy::ModelPath;

/// `gcpo init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Model directory in Hugging Face layout, or `quickstart`
    #[arg(long, value_name = "DIR")]
    pub model: ModelPath,
    /// Problems to train on: a file or a directory, as `data.path` takes them
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Problems to measure on, which are not trained on
    #[arg(long, value_name = "PATH")]
    pub eval: Option<PathBuf>,
    /// The objective
    #[arg(long, value_name = "NAME", default_value = "gcpo", value_parser = PossibleValuesParser::new(Which::NAMES))]
    pub objective: String,
    /// A Python function as the reward, in the place of the answer check
    #[arg(long, value_name = "FILE.py:NAME")]
    pub reward: Option<String>,
    /// Where the config is written
    #[arg(long, value_name = "FILE.toml", default_value = "run.toml")]
    pub out: PathBuf,
    /// Where the run is to compute: what fits there is chosen.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `gcpo completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell, such as `gcpo completions bash > ~/.local/share/bash-completion/completions/gcpo`.
    pub shell: clap_complete::Shell,
}

/// `gcpo man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write gcpo.1 and a page for each command into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
