//! What was typed. What it means is worked out in `run.rs` and in each command's own file.

// The comments are the help texts, in which brackets are no links.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;
use std::sync::LazyLock;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use gcpo_data::Rule;
use gcpo_model::device::DeviceSpec;
use gcpo_model::dtype::Dtype;

use crate::bench::{Size, Workload};
use crate::objective::WhichDraft;
use crate::policy::ModelPath;
use crate::ranks;
use crate::sweep::Axis;

use values::{at_least_one, completions, shard_size};

mod read;
mod setup;
mod values;

pub use read::TalkArgs;
pub use setup::{CompletionsArgs, InitArgs, ManArgs};

/// Group Causal Policy Optimization: RL post-training of language models.
///
/// Without a command it trains the quickstart: a tiny bundled model on generated arithmetic, in minutes on a CPU.
#[derive(Debug, Parser)]
#[command(name = "gcpo", version, long_version = BUILT_WITH.as_str())]
pub struct Cli {
    /// What to do; nothing is the quickstart.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The quickstart's own options.
    #[command(flatten)]
    pub quickstart: RunArgs,
    /// What is said, and how.
    #[command(flatten)]
    pub talk: TalkArgs,
}

/// The version, and what the binary was built with.
static BUILT_WITH: LazyLock<String> = LazyLock::new(|| {
    let mut features = gcpo_model::device::features();
    features.extend(gcpo_data::features());
    features.extend(ranks::BUILT.then_some("mpi"));
    features.sort_unstable();
    let features = match features.is_empty() {
        true => "none".to_owned(),
        false => features.join(", "),
    };
    format!("{}\nfeatures: {features}", env!("CARGO_PKG_VERSION"))
});

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a config for a checkpoint and problems, which are looked at
    Init(InitArgs),
    /// Train by reinforcement learning
    Train(TrainArgs),
    /// Train on demonstrations, from random weights or a checkpoint
    Sft(TrainArgs),
    /// Train every choice of a grid with several seeds, one run after the other, and compare them
    Sweep(SweepArgs),
    /// Work out the memory, tokens and seconds of a training run before it begins
    Plan(PlanArgs),
    /// Write one page of HTML on runs: curves, samples, evaluations, configs
    Report(ReportArgs),
    /// Say how two runs differ: configs, numbers at equal steps and seconds, evaluations by problem
    Compare(CompareArgs),
    /// Measure how often a model is right on sets of problems; grade again; compare
    Eval(EvalArgs),
    /// Sample from a model
    Generate(GenerateArgs),
    /// Print the log-probability of each token of given texts
    Score(ScoreArgs),
    /// Say whether an answer is right and why, or score a grader on labelled cases
    Grade(GradeArgs),
    /// Write the model that a base model and an adapter are, as a whole Hugging Face directory
    Merge(MergeArgs),
    /// Print a model's architecture, parameters, number format and memory
    Inspect(InspectArgs),
    /// Measure speed with random weights
    Bench(BenchArgs),
    /// Compare the numbers that a device computes with the processor's
    Check(CheckArgs),
    /// List the devices that this binary can see
    Devices(DevicesArgs),
    /// Print what makes a shell complete commands and options
    Completions(CompletionsArgs),
    /// Print the manual page, or write that of each command
    Man(ManArgs),
}

/// Where to compute.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// Device: auto, cpu, ndarray, cuda[:i], wgpu[:i], vulkan[:i] or metal, as far as they are built in
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceSpec,
}

/// What to compute with, where there is no config that says it.
#[derive(Debug, Clone, Args)]
pub struct DtypeArgs {
    /// Number format: float32, bfloat16 or float16, as far as the device computes in it
    #[arg(long, value_name = "DTYPE", default_value = "float32")]
    pub dtype: Dtype,
}

/// What is put on a model.
#[derive(Debug, Clone, Default, Args)]
pub struct AdapterArgs {
    /// Adapter of that model: a directory in PEFT's layout, as a run with [model.lora] or PEFT saves it
    #[arg(long, value_name = "DIR", requires = "model")]
    pub adapter: Option<PathBuf>,
}

/// Options of everything that trains.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Set a key of the config, by its dotted path; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Directory that the run is written to [default: runs/NAME-TIMESTAMP]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Go on with the run in DIR (or from a checkpoint in it), or with the last one of this config that is not under way
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub resume: Option<Option<PathBuf>>,
    /// Start a new run from a checkpoint of another one, the last or the named one, with its weights, optimiser and step
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    pub from: Option<PathBuf>,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `gcpo train`, `gcpo sft`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The run: a TOML file
    #[arg(value_name = "CONFIG.toml")]
    pub config: PathBuf,
    /// Train on this many problems of each path only, the first ones, as `--set data.limit=N`
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
    /// Options of everything that trains.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `gcpo sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// The runs: TOML files, each of which is one of the things that are compared
    #[arg(value_name = "CONFIG.toml", required = true)]
    pub configs: Vec<PathBuf>,
    /// A key, by its dotted path, and the values that it takes in turn; may be repeated, for every combination. A value may be a list or
    /// a table: 'rollout.stop=["a","b"],["c"]', 'objective={name="grpo"},{name="gcpo",alpha=1}'
    #[arg(long = "grid", value_name = "KEY=V1,V2…")]
    pub grid: Vec<Axis>,
    /// Seeds of each: the config's `seed`, and those after it
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub seeds: usize,
    /// Directory that the runs, the table and the picture are written to; a sweep that was stopped goes on there [default: runs/sweep-NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What the others are compared with, by its name in the table [default: the first]
    #[arg(long, value_name = "SETTING")]
    pub baseline: Option<String>,
    /// Set a key in all runs, by its dotted path; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Check every run and list them, without running any
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `gcpo plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The run: a TOML file for `gcpo train`, or with `--set recipe=sft` for `gcpo sft`
    #[arg(value_name = "CONFIG.toml")]
    pub config: PathBuf,
    /// Set a key of the config, by its dotted path; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Tokens of a completion [default: the most that there may be]
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub completion_length: Option<usize>,
    /// Ranks that train together (`mpirun -n RANKS gcpo train`); the plan is of one of them
    #[arg(long, value_name = "RANKS", default_value = "1", value_parser = at_least_one)]
    pub ranks: usize,
    /// Load the model and measure for some seconds how fast the device is
    #[arg(long)]
    pub calibrate: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `gcpo report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Directories of runs, ended or under way
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The page, which needs no other file
    #[arg(long, value_name = "FILE.html")]
    pub out: PathBuf,
    /// A step whose samples the page must hold; may be repeated. Of the others it holds as many as fit
    #[arg(long = "step", value_name = "N")]
    pub steps: Vec<usize>,
    /// Open it in the browser
    #[arg(long)]
    pub open: bool,
}

/// `gcpo compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Directory of a run
    #[arg(value_name = "RUN")]
    pub first: PathBuf,
    /// Directory of another one; differences are this one less the first
    #[arg(value_name = "RUN")]
    pub second: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gcpo eval`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("of").required(true).multiple(true).args(["config", "data", "suites", "regrade", "compare"]))]
pub struct EvalArgs {
    /// A run's TOML file, whose [eval], [prompt] and [grader] are used
    #[arg(value_name = "CONFIG.toml", conflicts_with_all = ["data", "preset"])]
    pub config: Option<PathBuf>,
    /// Model directory in Hugging Face layout, or `quickstart`
    #[arg(long, value_name = "DIR", required_unless_present_any = ["regrade", "compare"])]
    pub model: Option<ModelPath>,
    /// What is put on the model.
    #[command(flatten)]
    pub adapter: AdapterArgs,
    /// A suite: aime24, aime25, amc23, math500, minerva, olympiadbench, gsm8k, svamp, mawps, humaneval or mbpp, and its file; may be repeated
    #[arg(long = "suite", value_name = "NAME[=FILE]", conflicts_with_all = ["data", "preset"])]
    pub suites: Vec<String>,
    /// File of problems: JSONL, JSON or CSV
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// How the file's rows are read: gsm8k, svamp, mawps, math, aime, amc, minerva, olympiadbench, verl, humaneval, mbpp [default: by the names of their fields]
    #[arg(long, value_name = "NAME", requires = "data")]
    pub preset: Option<String>,
    /// Where the completions are kept [default: runs/eval-TIMESTAMP.jsonl]
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: Option<PathBuf>,
    /// Go on with the evaluation in --out where it was stopped
    #[arg(long, requires = "out", conflicts_with_all = ["regrade", "compare"])]
    pub resume: bool,
    /// Grade the completions of an evaluation again, without a model; --set grader.… changes how
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["config", "model", "suites", "data", "samples", "compare"])]
    pub regrade: Option<PathBuf>,
    /// Compare two evaluations of the same problems: files, or directories of runs for their last ones
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["config", "model", "suites", "data", "samples", "out", "sets"])]
    pub compare: Vec<PathBuf>,
    /// Ask only this many problems of each set, the first ones
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with_all = ["regrade", "compare"])]
    pub limit: Option<usize>,
    /// Answers to each problem
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    pub samples: Option<usize>,
    /// Set a key of the config, by its dotted path; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `gcpo generate`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("prompts").required(true))]
pub struct GenerateArgs {
    /// Model directory in Hugging Face layout, or `quickstart`
    #[arg(long, value_name = "DIR")]
    pub model: ModelPath,
    /// What is put on the model.
    #[command(flatten)]
    pub adapter: AdapterArgs,
    /// The prompt, taken as it is
    #[arg(long, value_name = "TEXT", group = "prompts")]
    pub prompt: Option<String>,
    /// Prompts, one `{"prompt": …}` or, with --chat, `{"messages": […]}` a line
    #[arg(long, value_name = "FILE.jsonl", group = "prompts")]
    pub input: Option<PathBuf>,
    /// Take a prompt for what the user says, and write it by the checkpoint's chat template
    #[arg(long)]
    pub chat: bool,
    /// Completions of each prompt
    #[arg(short, value_name = "N", default_value = "1", value_parser = completions)]
    pub n: usize,
    /// Set a key of [rollout] or [prompt], by its dotted path, or `seed`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Print one JSON object a prompt
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What to compute with.
    #[command(flatten)]
    pub dtype: DtypeArgs,
}

/// `gcpo score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Model directory in Hugging Face layout
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// What is put on the model.
    #[command(flatten)]
    pub adapter: AdapterArgs,
    /// Rows of `{"text": …}` or `{"ids": […]}`
    #[arg(long, value_name = "FILE.jsonl")]
    pub input: PathBuf,
    /// Print one `{"ids": […], "logprobs": [null, …]}` a row, instead of a line for people
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What to compute with.
    #[command(flatten)]
    pub dtype: DtypeArgs,
}

/// `gcpo merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Base model: a directory in Hugging Face layout, or `quickstart`
    #[arg(long, value_name = "DIR")]
    pub model: ModelPath,
    /// Its adapter: a directory in PEFT's layout
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Where the merged model is written, in the base model's number format; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Largest file of weights; a larger model is written in shards
    #[arg(long, value_name = "SIZE", default_value = "50GB", value_parser = shard_size)]
    pub max_shard_size: ByteSize,
}

/// `gcpo grade`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["gold", "cases", "suite"]))]
pub struct GradeArgs {
    /// The gold answer, bare, in \boxed{} or behind ####
    #[arg(long, value_name = "TEXT", requires = "pred", allow_hyphen_values = true)]
    pub gold: Option<String>,
    /// The answer to grade, or the text that holds it
    #[arg(
        long,
        value_name = "TEXT",
        requires = "gold",
        conflicts_with = "cases",
        allow_hyphen_values = true
    )]
    pub pred: Option<String>,
    /// Labelled cases, one `{"gold": …, "pred": …, "equal": …}` a line
    #[arg(long, value_name = "FILE.jsonl")]
    pub cases: Option<PathBuf>,
    /// A suite whose answers are programs, humaneval=FILE or mbpp=FILE, by whose tests --completions are run in a sandbox
    #[arg(long, value_name = "NAME=FILE", requires = "completions", conflicts_with_all = ["gold", "cases"])]
    pub suite: Option<String>,
    /// What to run, one `{"id": …, "completion": …}` a line
    #[arg(long, value_name = "FILE.jsonl", requires = "suite")]
    pub completions: Option<PathBuf>,
    /// The Python that runs programs, code.python [default: python3]
    #[arg(long, value_name = "PROGRAM", requires = "suite")]
    pub python: Option<String>,
    /// Seconds of the processor for each program, code.timeout [default: 3]
    #[arg(long, value_name = "SECS", requires = "suite")]
    pub timeout: Option<f64>,
    /// Memory of each program, code.memory [default: 1GiB]
    #[arg(long, value_name = "SIZE", requires = "suite")]
    pub memory: Option<ByteSize>,
    /// What programs are run in, code.isolation: full, partial, docker or podman (docs/code.md) [default: full]
    #[arg(long, value_name = "HOW", requires = "suite")]
    pub isolation: Option<String>,
    /// Set a key of [code], by its dotted path; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "suite")]
    pub sets: Vec<String>,
    /// Take numbers only, as the quickstart does
    #[arg(long)]
    pub numbers: bool,
    /// Look for the answer only so: boxed, hashes, answer_is, whole, math, last_number; may be repeated, the first that applies decides
    #[arg(long = "rule", value_name = "RULE")]
    pub rules: Vec<Rule>,
    /// Do not take a rounded decimal, 0.3333, for 1/3
    #[arg(long)]
    pub exact: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `gcpo inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Model directory in Hugging Face layout
    #[arg(value_name = "DIR")]
    pub model: PathBuf,
    /// Rows that memory is worked out for
    #[arg(long, value_name = "ROWS", default_value = "1", value_parser = at_least_one)]
    pub batch: usize,
    /// Tokens in each row [default: the longest that the model takes]
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub length: Option<usize>,
}

/// `gcpo bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Size of the network
    #[arg(long)]
    pub shape: Size,
    /// What is measured
    #[arg(long)]
    pub work: Workload,
    /// Objective of `rollout` and `step`: gcpo, grpo, grpo_alpha
    #[arg(long, value_name = "NAME", default_value = "gcpo")]
    pub objective: WhichDraft,
    /// Candidates of each prompt, `num_generations`
    #[arg(long, value_name = "N", default_value = "8", value_parser = at_least_one)]
    pub group: usize,
    /// Run every completion's whole context by itself, as without a tree of prefixes (`rollout`, `step`)
    #[arg(long)]
    pub flat: bool,
    /// Prompts of `decode` and `prefill`, rows of `train` and `logp`
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub rows: Option<usize>,
    /// New tokens of `decode`, tokens of a row of `prefill`, `train` and `logp`
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub length: Option<usize>,
    /// Vocabulary of `logp`
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub vocab: Option<usize>,
    /// Features of a state in `logp`
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub hidden: Option<usize>,
    /// Compute the insides of layers again in the backward pass (`train`, `step`)
    #[arg(long)]
    pub checkpointing: bool,
    /// How often it is measured, after a warm-up
    #[arg(long, value_name = "R", default_value = "5", value_parser = at_least_one)]
    pub repeats: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What to compute with.
    #[command(flatten)]
    pub dtype: DtypeArgs,
}

/// `gcpo check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What to compute with.
    #[command(flatten)]
    pub dtype: DtypeArgs,
}

/// `gcpo devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests;
