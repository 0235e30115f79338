//! What a `config.json` says of rotary positions.

use std::fmt;

use serde_json::{Map, Value, json};

use super::family::Family;
use crate::fields::{ConfigError, Reader};
use crate::json::shorten;

/// How the rotary frequencies are stretched beyond the length they were trained for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Every position divided by `factor`.
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a smooth passage between.
    Llama3 {
        /// The stretch of long wavelengths.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are stretched wholly.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The length trained for before the stretch.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// As Hugging Face writes it (`rope_scaling`; with `rope_theta` added, `rope_parameters`).
    pub(super) fn to_json(self) -> Value {
        match self {
            RopeScaling::Default => json!({ "rope_type": "default" }),
            RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        }
    }
}

/// The base of the frequencies and their scaling. `rope_parameters` of transformers 5 says both; `rope_theta` and
/// `rope_scaling` of 4 say one each. A file may say them in both ways, as those do that this crate writes, but not
/// differently: releases of transformers differ in which they read.
pub(super) fn read(file: &Reader, family: &Family) -> Result<(f64, RopeScaling), ConfigError> {
    let top = Top {
        default_theta: family.rope_theta,
        theta: file.positive("rope_theta")?,
        original: file.optional_size("original_max_position_embeddings")?,
    };
    let objects = [file.object("rope_parameters")?, file.object("rope_scaling")?];
    let inside = objects.iter().flatten().any(|map| map.contains_key("rope_theta"));
    let parse = |name| -> Result<Option<Rope>, ConfigError> {
        let map = file.object(name)?.filter(|map| !map.is_empty());
        map.map(|map| Nested::new(file, name, map).rope(&top)).transpose()
    };
    let (new, old) = (parse("rope_parameters")?, parse("rope_scaling")?);
    if let (Some(new), Some(old)) = (&new, &old)
        && new != old
    {
        return Err(file.error(
            "rope_scaling",
            format!(
                "says {old}, but `rope_parameters` says {new}; they are two spellings of one setting: remove the one that \
                 is wrong"
            ),
        ));
    }
    if top.theta.is_none() && !inside {
        file.refuse_nulls(&["rope_theta"])?;
    }
    let rope = new.or(old).unwrap_or(Rope {
        theta: top.theta.unwrap_or(top.default_theta),
        scaling: RopeScaling::Default,
    });
    Ok((rope.theta, rope.scaling))
}

/// What stands at the top of the file and is meant for the objects below.
struct Top {
    /// The family's base.
    default_theta: f64,
    theta: Option<f64>,
    original: Option<usize>,
}

/// Base and scaling.
#[derive(PartialEq)]
struct Rope {
    theta: f64,
    scaling: RopeScaling,
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with base {}", self.scaling.to_json(), self.theta)
    }
}

/// The object of a file that holds the scaling.
struct Nested<'a> {
    name: &'static str,
    fields: Reader<'a>,
}

impl<'a> Nested<'a> {
    fn new(file: &Reader<'a>, name: &'static str, map: &'a Map<String, Value>) -> Self {
        let fields = Reader { map, path: file.path };
        Self { name, fields }
    }

    fn rope(&self, top: &Top) -> Result<Rope, ConfigError> {
        if let Some((field, _)) = self.fields.map.iter().find(|(_, value)| value.is_object()) {
            return Err(self.error(
                field,
                "is an object; rotary positions that differ between layers are not supported".into(),
            ));
        }
        if let Some(share) = self.number("partial_rotary_factor")?
            && share != 1.0
        {
            return Err(self.error("partial_rotary_factor", format!("is {share}; it must be 1")));
        }
        let theta = self.same(
            "rope_theta",
            self.positive("rope_theta")?,
            "rope_theta",
            top.theta,
        )?;
        Ok(Rope {
            theta: theta.unwrap_or(top.default_theta),
            scaling: self.scaling(top)?,
        })
    }

    fn scaling(&self, top: &Top) -> Result<RopeScaling, ConfigError> {
        let name = |field| self.at(field, self.fields.string(field));
        let (new, old) = (name("rope_type")?, name("type")?);
        let old_name = format!("{}.type", self.name);
        let kind = self.same("rope_type", new, &old_name, old)?.unwrap_or("default");
        let need = |field: &str| self.need(kind, field);
        match kind {
            "default" => match self.number("factor")? {
                Some(factor) if factor != 1.0 => Err(self.error(
                    "factor",
                    format!("is {factor}, which rope type \"default\" has no use for; write the `rope_type` that is meant"),
                )),
                _ => Ok(RopeScaling::Default),
            },
            "linear" => Ok(RopeScaling::Linear { factor: need("factor")? }),
            "llama3" => {
                let (low_freq_factor, high_freq_factor) = (need("low_freq_factor")?, need("high_freq_factor")?);
                if high_freq_factor <= low_freq_factor {
                    return Err(self.error(
                        "high_freq_factor",
                        format!("is {high_freq_factor}; it must be greater than low_freq_factor = {low_freq_factor}"),
                    ));
                }
                const ORIGINAL: &str = "original_max_position_embeddings";
                let original = self.at(ORIGINAL, self.fields.optional_size(ORIGINAL))?;
                let Some(original) = self.same(ORIGINAL, original, ORIGINAL, top.original)? else {
                    return Err(self.missing(kind, ORIGINAL));
                };
                Ok(RopeScaling::Llama3 {
                    factor: need("factor")?,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings: original,
                })
            }
            other => Err(self.error(
                "rope_type",
                format!("is \"{}\"; supported are default, linear and llama3", shorten(other)),
            )),
        }
    }

    /// The value of a field of this object that the file may also say as `elsewhere`.
    fn same<T: PartialEq + fmt::Display>(
        &self,
        field: &str,
        here: Option<T>,
        elsewhere: &str,
        there: Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        match (&here, &there) {
            (Some(a), Some(b)) if a != b => Err(self.error(
                field,
                format!("is {a}, but `{elsewhere}` is {b}; they are two spellings of one setting: remove the one that is wrong"),
            )),
            _ => Ok(here.or(there)),
        }
    }

    fn need(&self, kind: &str, field: &str) -> Result<f64, ConfigError> {
        self.positive(field)?.ok_or_else(|| self.missing(kind, field))
    }

    fn missing(&self, kind: &str, field: &str) -> ConfigError {
        self.error(field, format!("is missing; rope type \"{kind}\" needs it"))
    }

    fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.at(field, self.fields.number(field))
    }

    fn positive(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.at(field, self.fields.positive(field))
    }

    /// What was read of a field, its errors with the object's name.
    fn at<T>(&self, field: &str, read: Result<T, ConfigError>) -> Result<T, ConfigError> {
        read.map_err(|error| match error {
            ConfigError::Field { problem, .. } => self.error(field, problem),
            other => other,
        })
    }

    fn error(&self, field: &str, problem: String) -> ConfigError {
        self.fields
            .error(&format!("{}.{}", self.name, shorten(field)), problem)
    }
}
