//! What is wrong with a config, said once and in full.

use std::fmt;

use toml::Value as Toml;

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
    pub help: Option<Box<str>>,
    /// Whether what was typed is not to be repeated.
    pub(crate) is_secret: bool,
    /// Of a key that nobody knows.
    pub(crate) unknown: Option<Box<Unknown>>,
}

/// A key that a section does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// The key, and what was written below it.
    pub leaf: String,
    /// The keys that the section knows.
    pub known: Vec<String>,
}

impl ConfigError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            place: None,
            line: None,
            field: None,
            what: what.into(),
            help: None,
            is_secret: false,
            unknown: None,
        }
    }

    pub(crate) fn unknown(key: &str, unknown: Unknown) -> Self {
        Self {
            unknown: Some(Box::new(unknown)),
            ..Self::new("no such key").under(key)
        }
    }

    /// `wants`: what is to be given instead.
    pub(crate) fn wrong_type(found: &Toml, wants: &str) -> Self {
        let found = match found {
            Toml::String(text) => format!("string {text:?}"),
            Toml::Integer(number) => format!("integer `{number}`"),
            Toml::Float(number) => format!("floating point `{number}`"),
            Toml::Boolean(value) => format!("boolean `{value}`"),
            Toml::Datetime(_) => "a date".into(),
            Toml::Array(_) => "a list".into(),
            Toml::Table(_) => "a section of keys".into(),
        };
        Self::new(format!("wrong type: {found}")).help(format!("give {wants}"))
    }

    pub(crate) fn in_place(mut self, place: &str) -> Self {
        self.place = Some(place.to_owned());
        self
    }

    pub(crate) fn on_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// The same, without what was typed: it may be a secret.
    pub(crate) fn unquoted(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The same, of a field in `key`.
    pub(crate) fn under(mut self, key: &str) -> Self {
        self.field = Some(match self.field {
            Some(field) => format!("{key}.{field}"),
            None => key.to_owned(),
        });
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
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

/// How many answers a question may have, and the like.
pub(crate) const MANY: usize = 1 << 16;
/// How many rows a step may have, and the like.
pub(crate) const ROWS: usize = 1 << 24;

/// A count from `least` to `most`, which is what a machine may hold: nothing is allocated for a slip of the pen.
///
/// # Errors
/// `value` is outside.
pub(crate) fn count(key: &str, value: usize, least: usize, most: usize) -> Result<(), ConfigError> {
    if value < least {
        let help = format!("give {least} or more");
        return impossible(key, format!("{value} is too small"), help);
    }
    if value > most {
        let help = format!("give {most} or less");
        return impossible(key, format!("{value} is too large"), help);
    }
    Ok(())
}

/// # Errors
/// `value` is less than `least`.
pub(crate) fn at_least(key: &str, value: usize, least: usize) -> Result<(), ConfigError> {
    count(key, value, least, usize::MAX)
}

/// # Errors
/// `value` is not above 0, or not finite.
pub(crate) fn positive(key: &str, value: f64) -> Result<(), ConfigError> {
    if !(value > 0.0 && value.is_finite()) {
        return impossible(key, format!("{value} is impossible"), "give a number above 0");
    }
    Ok(())
}

/// `low ..= high`; a bound of ±[`f64::MAX`] asks for a finite number.
///
/// # Errors
/// `value` is outside.
pub(crate) fn within(key: &str, value: f64, low: f64, high: f64) -> Result<(), ConfigError> {
    if value >= low && value <= high {
        return Ok(());
    }
    let help = match (low == f64::MIN, high == f64::MAX) {
        (true, true) => "give a finite number".to_owned(),
        (false, true) => format!("give a number of {low} or more"),
        _ => format!("give a number from {low} to {high}"),
    };
    impossible(key, format!("{value} is impossible"), help)
}

/// An impossible value of one key: what is wrong, and what to do.
///
/// # Errors
/// Always.
pub(crate) fn impossible<T>(
    key: &str,
    what: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, ConfigError> {
    Err(ConfigError::new(what).under(key).help(help))
}
