//! How rotary frequencies are stretched: the types of `rope_type`, as transformers names and reads them.

use serde_json::{Value, json};

use super::nested::{Nested, ORIGINAL, Top};
use crate::fields::ConfigError;
use crate::json::{short, shorten};

/// How the rotary frequencies are stretched beyond the length they were trained for.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Every position divided by `factor`.
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// Not at all up to `max_position_embeddings`, beyond which no text goes here; transformers stretches more the longer
    /// the text is.
    Dynamic {
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
    /// YaRN (Peng et al., 2023).
    Yarn(Yarn),
    /// LongRoPE (Ding et al., 2024): a stretch for each pair of features.
    LongRope(LongRope),
}

/// YaRN: pairs of features that turn often in the length trained for are kept, those that turn seldom stretched.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    /// The stretch.
    pub factor: f64,
    /// The length trained for before the stretch.
    pub original_max_position_embeddings: usize,
    /// What cosines and sines are multiplied by; none: worked out from `factor` and the two `mscale`.
    pub attention_factor: Option<f64>,
    /// Pairs that turn more often are kept; 32 where none.
    pub beta_fast: Option<f64>,
    /// Pairs that turn less often are stretched wholly; 1 where none.
    pub beta_slow: Option<f64>,
    /// Weight of the logarithm in the attention's factor.
    pub mscale: Option<f64>,
    /// The same in what it is divided by.
    pub mscale_all_dim: Option<f64>,
    /// Whether the bounds of the passage are whole.
    pub truncate: bool,
}

/// LongRoPE. A text of up to `original_max_position_embeddings` tokens is turned by `short_factor`; no other is computed here
/// ([`ModelConfig::positions`](super::ModelConfig::positions)).
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// What each frequency is divided by.
    pub short_factor: Vec<f64>,
    /// The same in longer texts.
    pub long_factor: Vec<f64>,
    /// The stretch; none: `max_position_embeddings / original_max_position_embeddings`.
    pub factor: Option<f64>,
    /// What cosines and sines are multiplied by; none: worked out from the stretch.
    pub attention_factor: Option<f64>,
    /// The length trained for before the stretch.
    pub original_max_position_embeddings: usize,
}

impl RopeScaling {
    /// As Hugging Face writes it (`rope_scaling`; with `rope_theta` added, `rope_parameters`).
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Default => json!({ "rope_type": "default" }),
            Self::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            Self::Dynamic { factor } => json!({ "rope_type": "dynamic", "factor": factor }),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                ORIGINAL: original_max_position_embeddings,
            }),
            Self::Yarn(yarn) => yarn.to_json(),
            Self::LongRope(long) => long.to_json(),
        }
    }
}

impl RopeScaling {
    /// What cosines and sines are multiplied by.
    pub(super) fn attention_factor(&self, max_position_embeddings: usize) -> f64 {
        match self {
            Self::Yarn(yarn) => yarn.attention(),
            Self::LongRope(long) => long.attention(max_position_embeddings),
            _ => 1.0,
        }
    }
}

impl Yarn {
    fn attention(&self) -> f64 {
        let scale = |weight: f64| match self.factor <= 1.0 {
            true => 1.0,
            false => 0.1 * weight * self.factor.ln() + 1.0,
        };
        let worked_out = || match (self.mscale, self.mscale_all_dim) {
            (Some(over), Some(under)) => scale(over) / scale(under),
            _ => scale(1.0),
        };
        self.attention_factor.unwrap_or_else(worked_out)
    }

    fn read(rope: &Nested, top: &Top) -> Result<Self, ConfigError> {
        let truncate = rope.at("truncate", rope.fields.flag("truncate"))?;
        let yarn = Self {
            factor: rope.need("yarn", "factor")?,
            original_max_position_embeddings: rope.original(top)?.unwrap_or(top.positions),
            attention_factor: rope.positive("attention_factor")?,
            beta_fast: rope.positive("beta_fast")?,
            beta_slow: rope.positive("beta_slow")?,
            mscale: rope.positive("mscale")?,
            mscale_all_dim: rope.positive("mscale_all_dim")?,
            truncate: truncate.unwrap_or(true),
        };
        let (fast, slow) = yarn.betas();
        match fast < slow {
            true => Err(rope.error(
                "beta_fast",
                format!("is {fast}; it must be at least beta_slow = {slow}"),
            )),
            false => Ok(yarn),
        }
    }

    /// [`Yarn::beta_fast`] and [`Yarn::beta_slow`].
    pub(crate) fn betas(&self) -> (f64, f64) {
        (self.beta_fast.unwrap_or(32.0), self.beta_slow.unwrap_or(1.0))
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "rope_type": "yarn",
            "factor": self.factor,
            ORIGINAL: self.original_max_position_embeddings,
        });
        for (key, value) in [
            ("attention_factor", self.attention_factor),
            ("beta_fast", self.beta_fast),
            ("beta_slow", self.beta_slow),
            ("mscale", self.mscale),
            ("mscale_all_dim", self.mscale_all_dim),
        ] {
            if let Some(value) = value {
                json[key] = json!(value);
            }
        }
        if !self.truncate {
            json["truncate"] = json!(false);
        }
        json
    }
}

impl LongRope {
    fn attention(&self, max_position_embeddings: usize) -> f64 {
        let original = self.original_max_position_embeddings as f64;
        let factor = self.factor.unwrap_or(max_position_embeddings as f64 / original);
        self.attention_factor.unwrap_or_else(|| match factor <= 1.0 {
            true => 1.0,
            false => (1.0 + factor.ln() / original.ln()).sqrt(),
        })
    }

    fn read(rope: &Nested, top: &Top) -> Result<Self, ConfigError> {
        let list = |field: &str| {
            let value = rope
                .fields
                .get(field)
                .ok_or_else(|| rope.missing("longrope", field))?;
            let numbers = value.as_array().and_then(|list| {
                let numbers = list.iter().map(Value::as_f64);
                numbers
                    .map(|number| number.filter(|&number| number as f32 > 0.0 && (number as f32).is_finite()))
                    .collect::<Option<Vec<f64>>>()
            });
            numbers.ok_or_else(|| {
                rope.error(
                    field,
                    format!("is {}; it must be a list of numbers above 0", short(value)),
                )
            })
        };
        Ok(Self {
            short_factor: list("short_factor")?,
            long_factor: list("long_factor")?,
            factor: rope.positive("factor")?,
            attention_factor: rope.positive("attention_factor")?,
            original_max_position_embeddings: rope.original(top)?.unwrap_or(top.positions),
        })
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "rope_type": "longrope",
            "short_factor": self.short_factor,
            "long_factor": self.long_factor,
            ORIGINAL: self.original_max_position_embeddings,
        });
        for (key, value) in [
            ("factor", self.factor),
            ("attention_factor", self.attention_factor),
        ] {
            if let Some(value) = value {
                json[key] = json!(value);
            }
        }
        json
    }

    /// Whether each of `pairs` of features has its factors; what is wrong, else.
    pub(super) fn check(&self, pairs: usize) -> Result<(), (&'static str, String)> {
        for (key, list) in [
            ("short_factor", &self.short_factor),
            ("long_factor", &self.long_factor),
        ] {
            if list.len() != pairs {
                let problem = format!(
                    "holds {} numbers, but {pairs} pairs of features are rotated",
                    list.len()
                );
                return Err((key, problem));
            }
        }
        Ok(())
    }
}

/// What an object of a file says of the stretch.
pub(super) fn scaling(rope: &Nested, top: &Top) -> Result<RopeScaling, ConfigError> {
    let kind = rope.kind()?;
    match kind {
        "default" => match rope.number("factor")? {
            Some(factor) if factor != 1.0 => Err(rope.error(
                "factor",
                format!("is {factor}, which rope type \"default\" has no use for; write the `rope_type` that is meant"),
            )),
            _ => Ok(RopeScaling::Default),
        },
        "longrope" => Ok(RopeScaling::LongRope(LongRope::read(rope, top)?)),
        "su" | "yarn" if top.is_phi => Ok(RopeScaling::LongRope(LongRope::read(rope, top)?)),
        other if top.is_phi => Err(rope.error(
            "rope_type",
            format!(
                "is \"{}\"; transformers computes default and longrope for this family",
                shorten(other)
            ),
        )),
        "linear" => Ok(RopeScaling::Linear {
            factor: rope.need(kind, "factor")?,
        }),
        "dynamic" => Ok(RopeScaling::Dynamic {
            factor: rope.need(kind, "factor")?,
        }),
        "yarn" => Ok(RopeScaling::Yarn(Yarn::read(rope, top)?)),
        "llama3" => llama3(rope, top),
        other => Err(rope.error(
            "rope_type",
            format!(
                "is \"{}\"; supported are default, linear, dynamic, llama3, yarn and longrope",
                shorten(other)
            ),
        )),
    }
}

fn llama3(rope: &Nested, top: &Top) -> Result<RopeScaling, ConfigError> {
    let need = |field: &str| rope.need("llama3", field);
    let (low_freq_factor, high_freq_factor) = (need("low_freq_factor")?, need("high_freq_factor")?);
    if high_freq_factor <= low_freq_factor {
        return Err(rope.error(
            "high_freq_factor",
            format!("is {high_freq_factor}; it must be greater than low_freq_factor = {low_freq_factor}"),
        ));
    }
    let original = rope.original(top)?;
    Ok(RopeScaling::Llama3 {
        original_max_position_embeddings: original.ok_or_else(|| rope.missing("llama3", ORIGINAL))?,
        factor: need("factor")?,
        low_freq_factor,
        high_freq_factor,
    })
}
