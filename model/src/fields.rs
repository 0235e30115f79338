//! Reading fields out of a JSON object, with errors that name file and field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Why a `config.json` or `generation_config.json` was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}; is this a Hugging Face model directory?")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not JSON, or a field has the wrong type.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column where it knows them.
        source: serde_json::Error,
    },
    /// A field has a value that cannot be, or that this crate does not compute.
    #[error("{path}: `{field}` {problem}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field's name, dotted where it is nested.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// One id as a number, several as a list, none as null: as Hugging Face writes them.
pub(crate) fn ids_to_json(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

/// Reads fields out of a JSON object, with errors that name file and field.
pub(crate) struct Reader<'a> {
    pub map: &'a Map<String, Value>,
    pub path: &'a Path,
}

impl Reader<'_> {
    pub fn error(&self, field: &str, problem: String) -> ConfigError {
        ConfigError::Field {
            path: self.path.into(),
            field: field.into(),
            problem,
        }
    }

    pub fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub fn string(&self, field: &str) -> Result<Option<&str>, ConfigError> {
        self.get(field)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| self.error(field, format!("is {value}; it must be a string")))
            })
            .transpose()
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>, ConfigError> {
        self.get(field)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| self.error(field, format!("is {value}; it must be true or false")))
            })
            .transpose()
    }

    pub fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.get(field)
            .map(|value| {
                value
                    .as_f64()
                    .ok_or_else(|| self.error(field, format!("is {value}; it must be a number")))
            })
            .transpose()
    }

    pub fn positive(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        match self.number(field)? {
            Some(value) if value <= 0.0 => Err(self.error(field, format!("is {value}; it must be > 0"))),
            value => Ok(value),
        }
    }

    pub fn object(&self, field: &str) -> Result<Option<&Map<String, Value>>, ConfigError> {
        self.get(field)
            .map(|value| {
                value
                    .as_object()
                    .ok_or_else(|| self.error(field, format!("is {value}; it must be an object")))
            })
            .transpose()
    }

    pub fn optional_size(&self, field: &str) -> Result<Option<usize>, ConfigError> {
        self.get(field)
            .map(|value| match value.as_u64() {
                Some(size) if size > 0 => Ok(size as usize),
                _ => Err(self.error(
                    field,
                    format!("is {value}; it must be a whole number of at least 1"),
                )),
            })
            .transpose()
    }

    pub fn size(&self, field: &str) -> Result<usize, ConfigError> {
        self.optional_size(field)?.ok_or_else(|| {
            self.error(
                field,
                "is missing; write a whole number of at least 1".to_string(),
            )
        })
    }

    pub fn to_id(&self, field: &str, value: &Value) -> Result<u32, ConfigError> {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| self.error(field, format!("holds {value}; token ids are whole numbers")))
    }

    /// One token id, or none.
    pub fn id(&self, field: &str) -> Result<Option<u32>, ConfigError> {
        self.get(field)
            // Some old files write -1 for "none".
            .filter(|value| value.as_i64() != Some(-1))
            .map(|value| self.to_id(field, value))
            .transpose()
    }

    /// One token id, or a list of them.
    pub fn ids(&self, field: &str) -> Result<Option<Vec<u32>>, ConfigError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Array(ids)) => ids
                .iter()
                .map(|id| self.to_id(field, id))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(id) => Ok(Some(vec![self.to_id(field, id)?])),
        }
    }

    /// [`Reader::ids`], all of which must be below `vocab_size`.
    pub fn ids_below(&self, field: &str, vocab_size: usize) -> Result<Option<Vec<u32>>, ConfigError> {
        let ids = self.ids(field)?;
        match ids.iter().flatten().find(|&&id| id as usize >= vocab_size) {
            Some(id) => Err(self.error(field, format!("holds {id}, beyond vocab_size = {vocab_size}"))),
            None => Ok(ids),
        }
    }
}
