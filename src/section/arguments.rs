//! A table of arguments by name, for what is no part of this program: a chat template, a function.

use serde_json::{Map, json};
use toml::{Table, Value as Toml};

use super::{ConfigError, Value};

/// Arguments by name, of any kind that JSON has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments(Table);

impl Arguments {
    /// As JSON.
    pub fn json(&self) -> Map<String, serde_json::Value> {
        let arguments = self.0.iter();
        arguments
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect()
    }

    /// All texts in it, each with the name that it is given under.
    pub fn texts(&self) -> Vec<(&str, &str)> {
        fn collect<'a>(name: &'a str, value: &'a Toml, texts: &mut Vec<(&'a str, &'a str)>) {
            match value {
                Toml::String(text) => texts.push((name, text)),
                Toml::Array(list) => list.iter().for_each(|value| collect(name, value, texts)),
                Toml::Table(table) => table.iter().for_each(|(name, value)| collect(name, value, texts)),
                _ => {}
            }
        }
        let mut texts = Vec::new();
        for (name, value) in &self.0 {
            collect(name, value, &mut texts);
        }
        texts
    }
}

impl Value for Arguments {
    fn wants() -> String {
        "a table of arguments by name, `{ name = value }`".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        match value {
            Toml::Table(table) => Ok(Self(table)),
            other => Err(ConfigError::wrong_type(&other, &Self::wants())),
        }
    }

    fn write(&self) -> Toml {
        Toml::Table(self.0.clone())
    }
}
