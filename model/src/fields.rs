//! Reading fields out of a JSON object, with errors that name file and field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::files;
use crate::json::{self, short};

/// Largest size that a field may name: what 32 bits count on every device.
const MOST: u64 = i32::MAX as u64;

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

/// The object in a JSON file; `path` names it in errors.
pub(crate) fn object(json: &[u8], path: &Path) -> Result<Map<String, Value>, ConfigError> {
    json::object(json).map_err(|source| ConfigError::Parse {
        path: path.into(),
        source,
    })
}

/// The bytes of a JSON file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    files::read_json(path).map_err(|source| ConfigError::Read {
        path: path.into(),
        source,
    })
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

    /// A field's value; `null` is as good as nothing, but see [`Reader::refuse_nulls`].
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Fields that transformers does not take `null` for: what is meant by one is not known.
    pub fn refuse_nulls(&self, fields: &[&str]) -> Result<(), ConfigError> {
        match fields
            .iter()
            .find(|&&field| self.map.get(field) == Some(&Value::Null))
        {
            Some(field) => Err(self.error(field, "is null; write a value or remove it".to_string())),
            None => Ok(()),
        }
    }

    pub fn string(&self, field: &str) -> Result<Option<&str>, ConfigError> {
        self.get(field)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| self.error(field, format!("is {}; it must be a string", short(value))))
            })
            .transpose()
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>, ConfigError> {
        self.get(field)
            .map(|value| {
                value.as_bool().ok_or_else(|| {
                    self.error(field, format!("is {}; it must be true or false", short(value)))
                })
            })
            .transpose()
    }

    pub fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.get(field)
            .map(|value| {
                value
                    .as_f64()
                    .ok_or_else(|| self.error(field, format!("is {}; it must be a number", short(value))))
            })
            .transpose()
    }

    /// A number above 0, in f32 too: what networks are computed in.
    pub fn positive(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        let number = self.number(field)?;
        match number.filter(|&value| !(value as f32 > 0.0 && (value as f32).is_finite())) {
            Some(value) if value > 0.0 => Err(self.error(
                field,
                format!("is {value:?}; it must be a number above 0 that 32 bits hold (1e-38 to 1e38)"),
            )),
            Some(value) => Err(self.error(field, format!("is {value:?}; it must be > 0"))),
            None => Ok(number),
        }
    }

    pub fn object(&self, field: &str) -> Result<Option<&Map<String, Value>>, ConfigError> {
        self.get(field)
            .map(|value| {
                value
                    .as_object()
                    .ok_or_else(|| self.error(field, format!("is {}; it must be an object", short(value))))
            })
            .transpose()
    }

    pub fn optional_size(&self, field: &str) -> Result<Option<usize>, ConfigError> {
        self.get(field)
            .map(|value| match value.as_u64() {
                Some(size @ 1..=MOST) => Ok(size as usize),
                Some(size) if size > 0 => {
                    Err(self.error(field, format!("is {size}; more than {MOST} is nowhere computed")))
                }
                _ => Err(self.error(
                    field,
                    format!("is {}; it must be a whole number of at least 1", short(value)),
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
            .ok_or_else(|| {
                self.error(
                    field,
                    format!("holds {}; token ids are whole numbers", short(value)),
                )
            })
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
