//! What options take, where it is more than a type says.

use bytesize::ByteSize;
use clap::{ColorChoice, ValueEnum};

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, as far as the environment does not say otherwise.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl When {
    /// What arguments say, before they are read: what is wrong with them is said in these colours, too.
    pub fn of_arguments(arguments: impl Iterator<Item = std::ffi::OsString>) -> Self {
        let mut found = None;
        let mut follows = false;
        for argument in arguments.take_while(|argument| argument != "--") {
            let text = argument.to_string_lossy();
            if follows {
                found = Some(text.clone().into_owned());
            }
            follows = text == "--color";
            found = text.strip_prefix("--color=").map(str::to_owned).or(found);
        }
        found
            .and_then(|text| Self::from_str(&text, false).ok())
            .unwrap_or_default()
    }

    /// Whether there are colours; none where a terminal and the environment decide.
    pub fn decided(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}

impl From<When> for ColorChoice {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

/// They are held together until they are printed.
pub(super) fn completions(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    match at_least_one(text)? {
        count if count > MOST => Err(format!("give {MOST} at most")),
        count => Ok(count),
    }
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| "give a whole number, 1 or more".into())
}

pub(super) fn shard_size(text: &str) -> Result<ByteSize, String> {
    text.parse()
        .ok()
        .filter(|size: &ByteSize| size.0 > 0)
        .ok_or_else(|| "give a size above 0, such as 5GB".into())
}
