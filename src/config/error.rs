//! What is wrong with a config, said once and in full.

use std::fmt;

/// A mistake in a config file or a `--set`: where it is, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or `--set key=value`.
    pub place: Option<String>,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Dotted path of the field.
    pub field: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: Option<String>,
}

impl ConfigError {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            place: None,
            line: None,
            field: None,
            what: what.into(),
            help: None,
        }
    }

    pub(super) fn in_file(mut self, name: &str) -> Self {
        self.place = Some(name.to_owned());
        self
    }

    pub(super) fn on_line(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    pub(super) fn about(mut self, field: impl Into<String>) -> Self {
        let field = field.into();
        self.field = (!field.is_empty()).then_some(field);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}")?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "`{field}`: ")?;
        }
        write!(f, "{}", self.what)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
