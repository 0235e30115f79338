//! Which Python.

use std::path::{Path, PathBuf};

use toml::Value as Toml;

use crate::section::{ConfigError, Value, text};

/// A Python by its path, or by a name that is looked for in `PATH`.
#[derive(Clone, Debug, PartialEq)]
pub struct Interpreter(pub String);

impl Interpreter {
    /// That of the virtual environment that is active, or `python3`.
    pub fn found() -> Self {
        let windows = cfg!(windows);
        match std::env::var_os("VIRTUAL_ENV").filter(|dir| !dir.is_empty()) {
            Some(dir) => {
                let inside = if windows {
                    "Scripts/python.exe"
                } else {
                    "bin/python"
                };
                Self(Path::new(&dir).join(inside).to_string_lossy().into_owned())
            }
            None => Self(if windows { "python" } else { "python3" }.to_owned()),
        }
    }
}

impl Value for Interpreter {
    fn wants() -> String {
        "a Python, such as \"venv/bin/python\" or \"python3.12\"".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        let text = text(value, &Self::wants())?;
        match text.is_empty() {
            true => Err(ConfigError::new("it is empty").help(format!("give {}", Self::wants()))),
            false => Ok(Self(text)),
        }
    }

    fn write(&self) -> Toml {
        self.0.clone().into()
    }

    fn settled(self) -> Self {
        // A bare name is looked for in PATH; of a path, links stay as they are: a virtual environment's is one.
        match Path::new(&self.0).components().count() {
            0 | 1 => self,
            _ => Self(PathBuf::from(self.0).settled().to_string_lossy().into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_settled_and_names_are_not() {
        assert_eq!(Interpreter("python3.12".into()).settled().0, "python3.12");
        let path = Interpreter("venv/bin/python".into()).settled().0;
        assert!(
            Path::new(&path).is_absolute() && path.ends_with("venv/bin/python"),
            "{path}"
        );
    }
}
