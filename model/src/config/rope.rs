//! What a `config.json` says of rotary positions.

use serde_json::{Map, Value, json};

use crate::fields::{ConfigError, Reader};

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

/// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of 4: the base of the frequencies and their
/// scaling.
pub(super) fn read(file: &Reader) -> Result<(f64, RopeScaling), ConfigError> {
    let (name, map) = match file.object("rope_parameters")? {
        Some(map) => ("rope_parameters", Some(map)),
        None => ("rope_scaling", file.object("rope_scaling")?),
    };
    let theta = file.positive("rope_theta")?;
    let Some(map) = map else {
        return Ok((theta.unwrap_or(10_000.0), RopeScaling::Default));
    };
    let rope = Nested::new(file, name, map);
    let theta = rope.fields.number("rope_theta")?.or(theta).unwrap_or(10_000.0);
    if theta <= 0.0 {
        return Err(rope.error("rope_theta", format!("is {theta}; it must be > 0")));
    }
    if let Some(share) = rope.fields.number("partial_rotary_factor")?
        && share != 1.0
    {
        return Err(rope.error("partial_rotary_factor", format!("is {share}; it must be 1")));
    }
    Ok((theta, rope.scaling()?))
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

    fn scaling(&self) -> Result<RopeScaling, ConfigError> {
        let kind = match self.fields.string("rope_type")? {
            Some(kind) => Some(kind),
            None => self.fields.string("type")?,
        };
        match kind {
            None | Some("default") => Ok(RopeScaling::Default),
            Some("linear") => Ok(RopeScaling::Linear {
                factor: self.need("linear", "factor")?,
            }),
            Some("llama3") => {
                let need = |field: &str| self.need("llama3", field);
                let low_freq_factor = need("low_freq_factor")?;
                let high_freq_factor = need("high_freq_factor")?;
                if high_freq_factor <= low_freq_factor {
                    return Err(self.error(
                        "high_freq_factor",
                        format!("is {high_freq_factor}; it must be greater than low_freq_factor = {low_freq_factor}"),
                    ));
                }
                Ok(RopeScaling::Llama3 {
                    factor: need("factor")?,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings: need("original_max_position_embeddings")? as usize,
                })
            }
            Some(other) => Err(self.error(
                "rope_type",
                format!("is \"{other}\"; supported are default, linear and llama3"),
            )),
        }
    }

    fn need(&self, kind: &str, field: &str) -> Result<f64, ConfigError> {
        match self.fields.number(field)? {
            Some(value) if value > 0.0 => Ok(value),
            Some(value) => Err(self.error(field, format!("is {value}; it must be > 0"))),
            None => Err(self.error(field, format!("is missing; rope type \"{kind}\" needs it"))),
        }
    }

    fn error(&self, field: &str, problem: String) -> ConfigError {
        self.fields.error(&format!("{}.{field}", self.name), problem)
    }
}
