//! What a run means: one TOML file, strict and checked, with every value filled in.
//!
//! What was typed is a [`Draft`], in which every value may be absent and which commands edit; what it means is a [`Config`],
//! complete and checked. The sections are those of the rooms, each declared there ([`crate::section`]).
//!
//! Unknown keys, wrong types and impossible values are errors that name the file, the line and the field. `--set key=value`
//! takes any key by its dotted path and is checked the same way. Relative paths are relative to the current directory, as
//! in TRL.

mod check;
mod docs;
mod foreign;
mod origin;
mod recipe;
mod rooms;
mod set;
mod style;

use std::path::Path;

use gcpo_data::files::{self, limit};
use toml::Table;
use toml::de::DeTable;

use crate::code::{CodeConfig, CodeDraft};
use crate::demonstrate::{Sft, SftDraft};
use crate::eval::{Eval, EvalDraft};
use crate::learner::{Train, TrainDraft};
use crate::objective::{Settings, SettingsDraft};
use crate::policy::{Model, ModelDraft, Prompt, PromptDraft};
use crate::projection::{Features, FeaturesDraft, Projection, ProjectionDraft};
use crate::reward::{self, GraderConfig, GraderDraft, RewardConfig, RewardDraft, Unfinished};
use crate::rollout::{Rollout, RolloutDraft};
use crate::run::{Checkpoint, CheckpointDraft, Run, RunDraft};
use crate::search::{Rest, RestDraft};
pub use crate::section::ConfigError;
use crate::section::{Known, Section, Value as _, section};
use crate::source::{Source, SourceDraft};
pub use docs::reference;
use origin::Origin;
pub use recipe::RecipeName;

section! {
    /// A whole run: complete, and possible as far as can be seen without its files.
    pub struct Config from Draft {
        /// Where each value was given; for messages, and for the run's name.
        origin: Origin of Origin => Ok::<Origin, ConfigError>(origin),
        /// Seed of everything drawn: weights, data order, samples. Source: this project (TRL: 42).
        pub seed: u64 = 0,
        /// How it trains: by reinforcement learning, `"rl"`; by tree search and supervised training on the solutions that it finds, `"rest"`
        /// (ReST-MCTS*); or on demonstrations, `"sft"`. Default: `"rl"` in `gcpo train`, `"sft"` in `gcpo sft`. Source: this project.
        pub recipe: Option<RecipeName>,
        /// The network and its tokenizer.
        pub model: Model of ModelDraft => model.complete(),
        /// The problems to train on.
        pub data: Source of SourceDraft => data.complete(),
        /// The three prompts.
        pub prompt: Prompt of PromptDraft => prompt.complete(),
        /// How answers are sampled.
        pub rollout: Rollout of RolloutDraft => rollout.complete(),
        /// Integrations, projections and the clamp of the projected reference.
        pub projection: Projection of ProjectionDraft => projection.complete(&rollout),
        /// How a text is represented for Υ.
        pub features: Features of FeaturesDraft => features.complete(),
        /// What is maximised.
        pub objective: Settings of SettingsDraft => objective.complete(),
        /// Steps, batches and the optimiser.
        pub train: Train of TrainDraft => train.complete(),
        /// How a final answer is checked.
        pub grader: GraderConfig of GraderDraft => grader.complete(),
        /// How programs are run.
        pub code: CodeConfig of CodeDraft => code.complete(),
        /// What a completion earns: the weighted sum of these.
        pub reward: Vec<RewardConfig> of Vec<RewardDraft> => reward::complete(reward, rollout.max_completion_length),
        /// How solutions are searched for, and which are learnt.
        pub rest: Rest of RestDraft => rest.complete(&rollout),
        /// What demonstrations are made of.
        pub sft: Sft of SftDraft => sft.complete(&rollout),
        /// How pass@1 is measured.
        pub eval: Eval of EvalDraft => eval.complete(&data, &rollout),
        /// When the trainer's state is saved.
        pub checkpoint: Checkpoint of CheckpointDraft => checkpoint.complete(),
        /// Where the run is written.
        pub run: Run of RunDraft => run.complete(origin.stem()),
    }
}

impl Draft {
    /// Nothing given, under the name `name` in messages.
    pub fn new(name: &str) -> Self {
        Self {
            origin: Origin::of(name),
            ..Self::default()
        }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or has an unknown key or a value of a wrong type.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        Self::read(&text_of(path, &name)?, &name)
    }

    /// Reads a file's text; `name` is what to call it in messages.
    ///
    /// # Errors
    /// As [`Draft::load`].
    pub fn read(text: &str, name: &str) -> Result<Self, ConfigError> {
        let spanned = DeTable::parse(text).map_err(|error| origin::syntax(text, name, &error))?;
        let mut origin = Origin::of(name);
        origin.add_lines(text, spanned.get_ref());
        let table = text.parse().map_err(|error| origin::syntax(text, name, &error))?;
        Self::of_table(table, origin)
    }

    /// Reads a config that the program wrote. Where it named the keys of every objective, as up to 0.1.0, those of the others are
    /// left out: they meant nothing. Where it says nothing of unfinished completions, they were graded.
    ///
    /// # Errors
    /// As [`Draft::load`].
    pub fn read_written(text: &str, name: &str) -> Result<Self, ConfigError> {
        let mut table: Table = text.parse().map_err(|error| origin::syntax(text, name, &error))?;
        if let Some(objective) = table.get_mut("objective").and_then(toml::Value::as_table_mut) {
            let keys = SettingsDraft::keys();
            let name = objective
                .get("name")
                .and_then(toml::Value::as_str)
                .unwrap_or("gcpo")
                .to_owned();
            objective.retain(|key, _| {
                let mut of = keys.iter().filter(|known| known.path == key).peekable();
                of.peek().is_none() || of.any(|known| known.of.iter().all(|(_, word)| *word == name))
            });
        }
        let grader = table.entry("grader").or_insert_with(|| Table::new().into());
        if let Some(grader) = grader.as_table_mut() {
            grader
                .entry("unfinished")
                .or_insert_with(|| Unfinished::Grade.write());
        }
        Self::of_table(table, Origin::of(name))
    }

    /// Applies sets, each `key=value`, in order; they may say together what would be impossible one by one.
    ///
    /// # Errors
    /// One is no set, names an unknown key or has a value of a wrong type.
    pub fn set_all(&mut self, sets: &[String]) -> Result<(), ConfigError> {
        if sets.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        self.put_keys(&mut table);
        let mut origin = self.origin.clone();
        for set in sets {
            let path = set::apply(set, &mut table)?;
            origin.add_set(path, set);
        }
        *self = Self::of_table(table, origin)?;
        Ok(())
    }

    /// Applies one set, `key=value`.
    ///
    /// # Errors
    /// As [`Draft::set_all`].
    pub fn set(&mut self, set: &str) -> Result<(), ConfigError> {
        self.set_all(&[set.to_owned()])
    }

    /// The run that is meant.
    ///
    /// # Errors
    /// A key that must be given is not, or a value is impossible, by itself or beside another one.
    pub fn finish(self) -> Result<Config, ConfigError> {
        let origin = self.origin.clone();
        self.complete().map_err(|error| origin.blame(error))
    }

    fn of_table(table: Table, origin: Origin) -> Result<Self, ConfigError> {
        let read = <Self as crate::section::Value>::read(toml::Value::Table(table));
        let read = read.map_err(|error| origin.blame(foreign::explained(error)))?;
        Ok(Self { origin, ..read })
    }
}

impl Config {
    /// Reads the file at `path`, applies `sets` (each `key=value`), fills in what is not given and checks the whole.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown key, a wrong type or an impossible value; a set likewise.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        Self::of(Draft::load(path)?, sets)
    }

    /// As [`Config::load`], with the file's text and the name to call it by in messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_str(text: &str, name: &str, sets: &[String]) -> Result<Self, ConfigError> {
        Self::of(Draft::read(text, name)?, sets)
    }

    /// Reads the file that a run wrote, as [`Draft::read_written`] does.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn of_run(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        Draft::read_written(&text_of(path, &name)?, &name)?.finish()
    }

    /// Reads what another rank of the same run made by [`Config::to_toml`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn of_first_rank(text: &str) -> Result<Self, ConfigError> {
        Draft::read_written(text, "the first rank's config")?.finish()
    }

    fn of(mut draft: Draft, sets: &[String]) -> Result<Self, ConfigError> {
        draft.set_all(sets)?;
        draft.finish()
    }

    /// An error about `field` (its dotted path): `what` is wrong with it, and what to do (`help`). It names the file and
    /// line, or the `--set`, that gave the field its value.
    pub fn blame(&self, field: &str, what: impl Into<String>, help: impl Into<String>) -> ConfigError {
        self.origin.blame(ConfigError::new(what).under(field).help(help))
    }

    /// The whole run as a file that repeats it: every value, paths absolute, without `run.dir`.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.table()).expect("a config holds only what TOML can write")
    }

    /// The same as JSON, for programs of others.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.table()).expect("a config holds only what JSON can say")
    }

    /// Dotted paths of the keys in which two runs differ, in the file's order. Where they are written is left out.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        set::differences(&self.table(), &other.table())
    }

    /// Dotted paths of all keys, in the file's order, each with its value as TOML writes it. Where it is written is left out.
    pub fn values(&self) -> Vec<(String, String)> {
        set::values(&self.table())
    }

    fn table(&self) -> Table {
        let mut draft: Draft = self.known();
        draft.run.dir = None;
        match draft.write() {
            toml::Value::Table(table) => table,
            _ => unreachable!("a section is a table"),
        }
    }
}

fn text_of(path: &Path, name: &str) -> Result<String, ConfigError> {
    files::text(path, limit::CONFIG).map_err(|e| {
        ConfigError::new(format!("cannot be read: {e}"))
            .in_place(name)
            .help("give the path of a run's TOML file, such as `configs/quickstart.toml`")
    })
}

impl Default for Config {
    fn default() -> Self {
        let complete = Draft::default().finish();
        complete.expect("the defaults are possible")
    }
}

#[cfg(test)]
mod tests;
