//! `data.path`: one path, or several.

use std::fmt::{Display, Formatter, Result as FmtResult};
use std::path::{Path, PathBuf};

use toml::Value as Toml;

use crate::section::{ConfigError, Value};

/// Files or directories of problems, one at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths(Vec<PathBuf>);

impl Paths {
    /// All of them.
    pub fn all(&self) -> &[PathBuf] {
        &self.0
    }

    /// The first.
    pub fn first(&self) -> &Path {
        &self.0[0]
    }
}

impl From<PathBuf> for Paths {
    fn from(path: PathBuf) -> Self {
        Self(vec![path])
    }
}

impl Display for Paths {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let paths: Vec<String> = self.0.iter().map(|path| path.display().to_string()).collect();
        f.write_str(&paths.join(", "))
    }
}

impl Value for Paths {
    fn wants() -> String {
        "a path in quotes, or a list of them in [ ]".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        match value {
            Toml::String(path) => Ok(PathBuf::from(path).into()),
            Toml::Array(paths) if !paths.is_empty() => Vec::read(Toml::Array(paths)).map(Self),
            other => Err(ConfigError::wrong_type(&other, &Self::wants())),
        }
    }

    fn write(&self) -> Toml {
        match self.0.as_slice() {
            [path] => path.write(),
            paths => Toml::Array(paths.iter().map(Value::write).collect()),
        }
    }

    fn settled(self) -> Self {
        Self(self.0.into_iter().map(Value::settled).collect())
    }
}
