//! From a field back to the line or `--set` that gave it.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Table;
use toml::de::{DeTable, DeValue};

use crate::section::{ConfigError, Key, Known, Slot};

/// Where each value of a config was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// The file's name in messages.
    name: String,
    /// Line of each key in the file, by its dotted path.
    lines: BTreeMap<String, usize>,
    /// The sets, by their dotted path, as they were typed; the last one of a path counts.
    sets: BTreeMap<String, String>,
}

/// Two configs are the same run wherever their values were given.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origin {
    pub(super) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Remembers the lines of a file's keys.
    pub(super) fn add_lines(&mut self, text: &str, table: &DeTable<'_>) {
        self.add_table(text, table, "");
    }

    pub(super) fn add_set(&mut self, path: String, set: &str) {
        self.sets.insert(path, set.to_owned());
    }

    fn add_table(&mut self, text: &str, table: &DeTable<'_>, prefix: &str) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            self.add_value(text, value.get_ref(), &path);
            self.lines.insert(path, line_of(text, key.span().start));
        }
    }

    fn add_value(&mut self, text: &str, value: &DeValue<'_>, path: &str) {
        match value {
            DeValue::Table(table) => self.add_table(text, table, &format!("{path}.")),
            DeValue::Array(list) => {
                for (number, entry) in list.iter().enumerate() {
                    let path = format!("{path}.{number}");
                    self.add_value(text, entry.get_ref(), &path);
                    self.lines.insert(path, line_of(text, entry.span().start));
                }
            }
            _ => {}
        }
    }

    /// The file's name without directories and extension.
    pub(super) fn stem(&self) -> String {
        let stem = Path::new(&self.name).file_stem();
        let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
        stem.filter(|stem| !stem.is_empty())
            .unwrap_or_else(|| "run".into())
    }

    /// Adds to an error where its field was given. A field that was not given is looked for in its section's line.
    pub(super) fn blame(&self, error: ConfigError) -> ConfigError {
        let field = error.field.clone().unwrap_or_default();
        let mut path = field.as_str();
        loop {
            let below = format!("{path}.");
            let inside = || self.sets.iter().find(|(key, _)| key.starts_with(&below));
            let set = self.sets.get_key_value(path).or_else(inside);
            if let Some((key, set)) = set {
                let typed = match error.is_secret {
                    true => format!("{key}=…"),
                    false => set.clone(),
                };
                return error.in_place(&format!("--set {typed}"));
            }
            if let Some(&line) = self.lines.get(path) {
                return error.in_place(&self.name).on_line(line);
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return error.in_place(&self.name),
            }
        }
    }
}

/// Kept in a config beside its keys; no key itself.
impl Slot for Origin {
    const SPREAD: bool = true;

    fn take(_: &mut Table, _: &'static str) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn put(&self, _: &mut Table, _: &'static str) {}

    fn keys_at(_: Key) -> Vec<Key> {
        Vec::new()
    }
}

impl Known<Origin> for Origin {
    fn known(&self) -> Origin {
        self.clone()
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
}

/// An error of a text that is no TOML.
pub(super) fn syntax(text: &str, name: &str, error: &toml::de::Error) -> ConfigError {
    let said = ConfigError::new(format!("this is no TOML: {}", error.message()))
        .in_place(name)
        .help("write `key = value` lines under `[section]` headers, strings in double quotes");
    match error.span() {
        Some(span) => said.on_line(line_of(text, span.start)),
        None => said,
    }
}
