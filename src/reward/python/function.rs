//! Which function.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use toml::Value as Toml;

use crate::section::{ConfigError, Value, text};

/// A function by where it is: `FILE.py:NAME` or `MODULE:NAME`.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    place: Place,
    /// Its name there; with dots, what is in a class or an object.
    name: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    File(PathBuf),
    Module(String),
}

impl Function {
    /// Its name without that of what it is in.
    pub fn own_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// Its file; none where it is in a module.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Module(_) => None,
        }
    }

    /// What the bridge is told.
    pub fn json(&self) -> Json {
        match &self.place {
            Place::File(path) => json!({"file": path.to_string_lossy(), "name": self.name}),
            Place::Module(module) => json!({"module": module, "name": self.name}),
        }
    }

    fn of(text: &str) -> Result<Self, String> {
        // The last colon: one may stand behind a drive.
        let Some((place, name)) = text.rsplit_once(':') else {
            return Err("it names no function".into());
        };
        if !is_dotted(name) {
            return Err(format!("\"{name}\" is no name of a function"));
        }
        let is_file = Path::new(place).extension().is_some_and(|end| end == "py");
        let place = match is_file {
            true => Place::File(place.into()),
            false if is_dotted(place) => Place::Module(place.into()),
            false => return Err(format!("\"{place}\" is neither a file FILE.py nor a module")),
        };
        Ok(Self {
            place,
            name: name.into(),
        })
    }
}

/// Whether a text is names of Python with dots between them.
fn is_dotted(text: &str) -> bool {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        let begins = letters.next().is_some_and(|c| c.is_alphabetic() || c == '_');
        begins && letters.all(|c| c.is_alphanumeric() || c == '_')
    };
    text.split('.').all(is_name)
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => write!(f, "{}:{}", path.display(), self.name),
            Place::Module(module) => write!(f, "{module}:{}", self.name),
        }
    }
}

impl Value for Function {
    fn wants() -> String {
        "a function, \"FILE.py:NAME\" or \"MODULE:NAME\"".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        let text = text(value, &Self::wants())?;
        Self::of(&text).map_err(|what| {
            ConfigError::new(format!("{what}: {text:?}")).help(format!("give {}", Self::wants()))
        })
    }

    fn write(&self) -> Toml {
        self.to_string().into()
    }

    fn settled(self) -> Self {
        match self.place {
            Place::File(path) => Self {
                place: Place::File(path.settled()),
                ..self
            },
            Place::Module(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_in_a_file_or_in_a_module() {
        for (text, name, is_file) in [
            ("rewards.py:brief", "brief", true),
            ("/a b/my-rewards.py:Judge.score", "score", true),
            ("C:\\x\\r.py:f", "f", true),
            ("trl.rewards:accuracy_reward", "accuracy_reward", false),
        ] {
            let function = Function::of(text).unwrap();
            assert_eq!((function.own_name(), function.to_string().as_str()), (name, text));
            assert_eq!(function.json().get("file").is_some(), is_file, "{text}");
        }
        for (text, part) in [
            ("rewards.py", "names no function"),
            ("rewards.py:", "no name of a function"),
            ("rewards.py:a-b", "no name of a function"),
            ("rewards.py:f()", "no name of a function"),
            ("my rewards:f", "neither a file"),
            ("./rewards:f", "neither a file"),
            (":f", "neither a file"),
        ] {
            let error = Function::of(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_is_settled() {
        let file = Function::of("rewards.py:f").unwrap().settled();
        assert!(Path::new(&file.to_string()).is_absolute(), "{file}");
    }
}
