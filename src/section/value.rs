//! The values that a key may have: how each is read from TOML, written, and told to people.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use bytesize::ByteSize;
use gcpo_data::dataset::is_on_hub;
use gcpo_data::{Rule, nearest};
use gcpo_model::device::DeviceSpec;
use gcpo_model::dtype::Dtype;
use toml::Value as Toml;

use super::ConfigError;

/// A value that a key may have.
pub trait Value: Sized {
    /// What may be given: "a number".
    fn wants() -> String;

    /// Reads it.
    ///
    /// # Errors
    /// It is of another type, or impossible by itself.
    fn read(value: Toml) -> Result<Self, ConfigError>;

    /// Writes it.
    fn write(&self) -> Toml;

    /// What it means where the program runs: relative paths become absolute.
    fn settled(self) -> Self {
        self
    }
}

/// A value of a type that TOML has.
macro_rules! plain {
    ($($type:ty, $wants:literal, $pattern:pat => $read:expr;)+) => {
        $(impl Value for $type {
            fn wants() -> String {
                $wants.into()
            }

            fn read(value: Toml) -> Result<Self, ConfigError> {
                match value {
                    $pattern => Ok($read),
                    other => Err(ConfigError::wrong_type(&other, $wants)),
                }
            }

            fn write(&self) -> Toml {
                self.clone().into()
            }
        })+
    };
}

plain! {
    bool, "true or false", Toml::Boolean(value) => value;
    String, "a string", Toml::String(text) => text;
}

const F32_MIN: f64 = f32::MIN_POSITIVE as f64;
const F32_MAX: f64 = f32::MAX as f64;

impl Value for f64 {
    fn wants() -> String {
        "a number".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        let number = match value {
            Toml::Float(number) => number,
            Toml::Integer(number) => number as f64,
            other => return Err(ConfigError::wrong_type(&other, &Self::wants())),
        };
        // It is computed with in f32, which would make it infinite, or 0.
        let size = number.abs();
        if number.is_finite() && size != 0.0 && !(F32_MIN..=F32_MAX).contains(&size) {
            let what = format!("{number:e} is beyond what float32 holds");
            let help = format!("give 0, or a number of a size from {F32_MIN:.1e} to {F32_MAX:.1e}");
            return Err(ConfigError::new(what).help(help));
        }
        Ok(number)
    }

    fn write(&self) -> Toml {
        Toml::Float(*self)
    }
}

impl Value for u64 {
    fn wants() -> String {
        "a whole number, 0 or more".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        match value {
            Toml::Integer(number) => u64::try_from(number).map_err(|_| {
                let error = ConfigError::new(format!("impossible value: integer `{number}`"));
                error.help(format!("give {}", Self::wants()))
            }),
            other => Err(ConfigError::wrong_type(&other, &Self::wants())),
        }
    }

    fn write(&self) -> Toml {
        // TOML has no greater ones; a seed that was read is none.
        Toml::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Value for usize {
    fn wants() -> String {
        u64::wants()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        u64::read(value).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }

    fn write(&self) -> Toml {
        (*self as u64).write()
    }
}

impl Value for PathBuf {
    fn wants() -> String {
        "a path in quotes".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        String::read(value).map(Self::from)
    }

    fn write(&self) -> Toml {
        self.to_string_lossy().into_owned().into()
    }

    fn settled(self) -> Self {
        if is_on_hub(&self) {
            return self;
        }
        std::path::absolute(&self).unwrap_or(self)
    }
}

impl<T: Value> Value for Vec<T> {
    fn wants() -> String {
        format!("a list in [ ], each {}", T::wants())
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        let list = match value {
            Toml::Array(list) => list,
            // A whole command line, perhaps, with what is nobody's business.
            Toml::String(_) => {
                let error = ConfigError::new("wrong type: one string");
                return Err(error.help(format!("give {}", Self::wants())).unquoted());
            }
            value => return Err(ConfigError::wrong_type(&value, &Self::wants())),
        };
        let entries = list.into_iter().enumerate();
        entries
            .map(|(number, entry)| T::read(entry).map_err(|error| error.under(&number.to_string())))
            .collect()
    }

    fn write(&self) -> Toml {
        Toml::Array(self.iter().map(Value::write).collect())
    }
}

/// A value that is written as one of a few words.
pub(crate) trait Word: Copy + Display + 'static {
    /// All of them.
    const WORDS: &'static [Self];
}

/// `"a", "b" or "c"`
pub(crate) fn or<W: Display>(words: &[W]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

/// A value as people read it.
pub(crate) fn shown(value: &impl Value) -> String {
    match value.write() {
        // 1e-6 and not 0.000001
        Toml::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}

pub(crate) fn read_word<T: Word>(value: Toml) -> Result<T, ConfigError> {
    let word = text(value, &or(T::WORDS))?;
    let found = T::WORDS.iter().find(|known| known.to_string() == word);
    found.copied().ok_or_else(|| {
        let words: Vec<String> = T::WORDS.iter().map(ToString::to_string).collect();
        not_a_word(&word, &words.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

macro_rules! of_words {
    ($type:ty, $words:expr) => {
        impl $crate::section::Word for $type {
            const WORDS: &'static [Self] = &$words;
        }

        impl $crate::section::Value for $type {
            fn wants() -> String {
                $crate::section::or(<Self as $crate::section::Word>::WORDS)
            }

            fn read(value: toml::Value) -> Result<Self, $crate::section::ConfigError> {
                $crate::section::read_word(value)
            }

            fn write(&self) -> toml::Value {
                self.to_string().into()
            }
        }
    };
}
pub(crate) use of_words;

of_words!(Dtype, Self::ALL);
of_words!(Rule, Self::ALL);

impl Value for DeviceSpec {
    fn wants() -> String {
        "a device, such as \"cuda:0\"".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        let text = text(value, &Self::wants())?;
        Self::from_str(&text).map_err(|error| ConfigError::new(error.to_string()))
    }

    fn write(&self) -> Toml {
        self.to_string().into()
    }
}

impl Value for ByteSize {
    fn wants() -> String {
        "a size: bytes, or \"512 MiB\", \"4 GiB\"".into()
    }

    fn read(value: Toml) -> Result<Self, ConfigError> {
        if let Toml::Integer(_) = value {
            return u64::read(value).map(ByteSize);
        }
        let text = text(value, &Self::wants())?;
        text.trim().parse().map_err(|_| {
            ConfigError::new(format!("`{text}` is no size")).help(format!("give {}", Self::wants()))
        })
    }

    fn write(&self) -> Toml {
        // A size that is not whole in its unit is written by its bytes, so that it reads back as it is.
        let texts = [self.to_string(), self.display().si().to_string()];
        let mut texts = texts.into_iter().map(|text| text.replace(".0 ", " "));
        match texts.find(|text| text.parse() == Ok(*self)) {
            Some(text) => text.into(),
            None => self.0.write(),
        }
    }
}

/// The text of a string.
pub(crate) fn text(value: Toml, wants: &str) -> Result<String, ConfigError> {
    match value {
        Toml::String(text) => Ok(text),
        other => Err(ConfigError::wrong_type(&other, wants)),
    }
}

/// An error about a word that is none of those that a key takes.
pub fn not_a_word(word: &str, words: &[&str]) -> ConfigError {
    let all: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let all = all.join(", ");
    let help = match nearest(word, words.iter().copied()) {
        Some(name) if words.len() > 1 => format!("did you mean \"{name}\"? It takes {all}"),
        _ => format!("it takes {all}"),
    };
    ConfigError::new(format!("\"{word}\" is not one of its values")).help(help)
}

/// Declares an enum that a config file spells as one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$meta])* #[serde(rename = $word)] $variant),+ }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }

        $crate::section::of_words!($name, [$(Self::$variant),+]);
    };
}
pub(crate) use words;
