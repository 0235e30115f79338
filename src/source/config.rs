//! `[data]`: where problems come from.

use gcpo_data::dataset::{AnswerRule, BadRows, DatasetError, Preset as Rows};
use toml::{Table, Value as Toml};

use super::Paths;
use crate::section::{
    Check, ConfigError, MANY, ROWS, Unknown, Value, count, impossible, positive, section, words,
};

section! {
    /// `[data]`: where problems come from: a file (`path`, `preset`) or the built-in generator (`generator`, `count`).
    pub struct Source from SourceDraft {
        /// A file of problems, JSONL, JSON, CSV or Parquet; a directory of such files; or a list of these. Either this or `generator`.
        /// Source: this project.
        pub path: Option<Paths>,
        /// Which split, of a directory (by the words of its files' names) or of a file of JSON, `{"train": [ … ]}`. Default: of a directory
        /// `"train"`. Source: TRL (`dataset_train_split`).
        pub split: Option<String>,
        /// How much of an epoch is of which of several paths, `[3, 1]`: an epoch has as many problems as there are, a path's in turn.
        /// Default: all of each, once. Source: this project (TRL: `datasets.interleave_datasets`).
        pub weights: Vec<f64> = Vec::<f64>::new(),
        /// How the file's rows are read: a preset's name (`"gsm8k"`, `"svamp"`, `"math"`, …) or a table of field names,
        /// `{ answer = "gold" }`. Default: what is asked is in `prompt`, `question` or `problem` (text, or a list of messages), the gold
        /// answer in `answer`, `solution`, `ground_truth`, `label` or `reward_model.ground_truth` (docs/data.md). Source: TRL, verl.
        pub preset: Option<Preset>,
        /// Built-in problems instead of a file. Source: this project.
        pub generator: Option<Generator>,
        /// How many problems the generator makes. Source: this project.
        pub count: usize = 4096,
        /// Use only this many problems of each path, or of the generator's, the first ones; 0 takes all. Source: this project.
        pub limit: usize = 0,
        /// Train also on so many copies of each problem with other numbers in it, drawn from `seed`, where the file gives the
        /// numbers and the equation (`"mawps"`, `"svamp"`). Source: this project.
        pub variants: usize = 0,
        /// Leave out problems whose gold answer the grader cannot read; without it one such problem is an error before anything is
        /// sampled. Source: this project.
        pub skip_unreadable: bool = false,
        /// Draw the problems in an order shuffled anew each epoch, from `seed`. Source: TRL (`shuffle_dataset`).
        pub shuffle: bool = true,
    }
}

impl Check for Source {
    fn check(&self) -> Result<(), ConfigError> {
        count("variants", self.variants, 0, MANY)?;
        if self.path.is_none() && self.variants > 0 {
            return impossible(
                "variants",
                "only problems of a file can be varied",
                "add `path = …` to [data], or remove the key and raise `count`",
            );
        }
        self.check_parts()?;
        check_place("data", self.path.is_some(), self.preset.as_ref(), self.generator)?;
        match self.generator {
            Some(_) => count("count", self.count, 1, ROWS),
            None => Ok(()),
        }
    }
}

impl Source {
    /// What is of a file only, and what must fit several.
    fn check_parts(&self) -> Result<(), ConfigError> {
        let paths = self.path.as_ref().map_or(0, |paths| paths.all().len());
        if self.path.is_none() && self.split.is_some() {
            return impossible(
                "split",
                "only files have splits",
                "add `path = …` to [data], or remove the key",
            );
        }
        if self.split.is_some() && self.variants > 0 {
            return impossible(
                "variants",
                "they are made of whole files, and `split` takes a part",
                "name the split's file in `path` and remove `split`",
            );
        }
        if self.weights.is_empty() {
            return Ok(());
        }
        if paths < 2 || self.weights.len() != paths {
            let what = format!("{} weights for {paths} paths", self.weights.len());
            return impossible(
                "weights",
                what,
                "give one for each of several paths, or remove the key",
            );
        }
        self.weights
            .iter()
            .try_for_each(|weight| positive("weights", *weight))
    }
}

/// What must hold of these three, in `[data]` and in `[eval]`.
///
/// # Errors
/// They do not say one place.
pub fn check_place(
    section: &str,
    has_path: bool,
    preset: Option<&Preset>,
    generator: Option<Generator>,
) -> Result<(), ConfigError> {
    if let Some(Err(error)) = preset.map(Preset::rows) {
        return impossible("preset", error.to_string(), "or give a table of field names");
    }
    match (has_path, generator) {
        (true, Some(_)) => impossible(
            "generator",
            "problems come from a file (`path`) or a generator, not both",
            "remove one of the two",
        ),
        (false, _) if preset.is_some() => impossible(
            "preset",
            "a preset is for a file",
            format!("add `path = …` to [{section}] or remove the key"),
        ),
        _ => Ok(()),
    }
}

words! {
    /// A built-in source of problems.
    Generator {
        /// Generated arithmetic problems.
        Arithmetic = "arithmetic",
    }
}

/// `data.preset`: how the rows of a file are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Preset {
    /// A preset that the program knows.
    Named(String),
    /// A table of field names: the keys of [`gcpo_data::dataset::Preset`].
    Fields(Box<Rows>),
}

/// How rows are read by a preset; without one, what they are is found by the names of their fields.
///
/// # Errors
/// There is no preset of this name.
pub fn rows_of(preset: Option<&Preset>) -> Result<&Rows, DatasetError> {
    preset.map_or(Ok(Rows::found()), Preset::rows)
}

impl Preset {
    /// How rows are read.
    ///
    /// # Errors
    /// There is no preset of this name.
    pub fn rows(&self) -> Result<&Rows, DatasetError> {
        match self {
            Self::Named(name) => Rows::named(name),
            Self::Fields(rows) => Ok(rows),
        }
    }
}

impl Value for Preset {
    fn wants() -> String {
        "a preset's name or a table of field names".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        match value {
            Toml::String(name) => Ok(Self::Named(name)),
            Toml::Table(fields) => rows(fields).map(|rows| Self::Fields(Box::new(rows))),
            other => Err(ConfigError::wrong_type(&other, &Self::wants())),
        }
    }

    fn write(&self) -> Toml {
        match self {
            Self::Named(name) => name.as_str().into(),
            Self::Fields(rows) => Toml::try_from(rows).expect("field names are TOML"),
        }
    }
}

/// A table of field names.
fn rows(fields: Table) -> Result<Rows, ConfigError> {
    // All fields that there are.
    let name = || Some(String::new());
    let all = Rows {
        question: Vec::new(),
        answer: String::new(),
        answer_rule: AnswerRule::default(),
        id: name(),
        solution: name(),
        numbers: name(),
        equation: name(),
        blank: name(),
        subject: name(),
        level: name(),
        bad_rows: BadRows::default(),
        programs: false,
    };
    let known = Table::try_from(all).expect("field names are TOML");
    if let Some(key) = fields.keys().find(|key| !known.contains_key(*key)) {
        let known = known.keys().cloned().collect();
        return Err(ConfigError::unknown(
            key,
            Unknown {
                leaf: key.clone(),
                known,
            },
        ));
    }
    serde_path_to_error::deserialize(fields).map_err(|error| {
        let path = error.path().to_string();
        let said = ConfigError::new(error.into_inner().message());
        if path == "." { said } else { said.under(&path) }
    })
}
