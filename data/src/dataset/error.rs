//! Why a data set cannot be used.

use crate::nearest;
use std::path::PathBuf;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file's name does not say its format.
    #[error(
        "{path}: the format is taken from the extension, and this is none of .jsonl, .ndjson, .json, .csv, .parquet (or one \
         of them and .gz)"
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The file needs a part of the program that was left out when it was built.
    #[error("{path}: {what} needs the feature `{feature}`: build with `--features {feature}`, or {instead}")]
    Feature {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        what: &'static str,
        /// The feature of the build.
        feature: &'static str,
        /// What to do without it.
        instead: String,
    },
    /// The file is damaged, or not what its extension says.
    #[error("{path}: {message}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file could not be had from the hub.
    #[error("{path}: {message}; download it yourself and give the file's path")]
    Hub {
        /// The address.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// A row cannot be used.
    #[error("{path}:{line}: {message}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The line that the row begins on, counted from 1.
        line: usize,
        /// Which field, what is wrong, what to do.
        message: String,
    },
    /// There is nothing in the file.
    #[error("{path}: no problem in it ({skipped} rows left out{first})")]
    Empty {
        /// The file.
        path: PathBuf,
        /// Rows left out as bad.
        skipped: usize,
        /// The first of them, and why.
        first: String,
    },
    /// Most of the file would be left out.
    #[error(
        "{path}: {skipped} of {all} rows cannot be used{first}; does the preset fit the file? `bad_rows = \"skip_any\"` leaves \
         out however many"
    )]
    Most {
        /// The file.
        path: PathBuf,
        /// Rows left out as bad.
        skipped: usize,
        /// Rows in all.
        all: usize,
        /// The first of them, and why.
        first: String,
    },
    /// No problem can be had with other numbers.
    #[error(
        "{path}: no row has both numbers and an equation for them, so no problem can be varied; set variants = 0"
    )]
    NoVariants {
        /// The file.
        path: PathBuf,
    },
    /// No preset or suite has this name.
    #[error("no {what} is called {name:?}{hint} Known: {known}", hint = hint(nearest.as_deref()))]
    Unknown {
        /// `preset` or `suite`.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The known name that is most like it, if one is.
        nearest: Option<String>,
        /// All known names.
        known: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or(".".to_owned(), |nearest| format!("; did you mean {nearest:?}?"))
}

impl DatasetError {
    pub(super) fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        Self::Unknown {
            what,
            name: name.to_owned(),
            nearest: nearest(name, known.iter().copied()).map(str::to_owned),
            known: known.join(", "),
        }
    }
}
