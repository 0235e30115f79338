//! What a `config.json` says of numbers that a decoder multiplies by.

use serde_json::{Value, json};

use super::family::Family;
use crate::fields::{ConfigError, Reader};

/// What a decoder multiplies by, beside its weights. Names are Hugging Face's.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// Embeddings are multiplied by it.
    pub embedding_multiplier: f64,
    /// What attention and the feed-forward add to the stream is multiplied by it.
    pub residual_multiplier: f64,
    /// Scores of attention are multiplied by it; none: by `1/√head_dim`.
    pub attention_multiplier: Option<f64>,
    /// Logits are divided by it.
    pub logits_scaling: f64,
}

impl Scales {
    /// Llama's: none.
    pub const NONE: Self = Self {
        embedding_multiplier: 1.0,
        residual_multiplier: 1.0,
        attention_multiplier: None,
        logits_scaling: 1.0,
    };

    pub(super) fn read(file: &Reader, family: &Family) -> Result<Self, ConfigError> {
        if !family.multipliers {
            return Ok(Self::NONE);
        }
        let one_or = |key| Ok(file.positive(key)?.unwrap_or(1.0));
        Ok(Self {
            embedding_multiplier: one_or("embedding_multiplier")?,
            residual_multiplier: one_or("residual_multiplier")?,
            attention_multiplier: Some(one_or("attention_multiplier")?),
            logits_scaling: one_or("logits_scaling")?,
        })
    }

    /// Writes what [`Scales::read`] reads.
    pub(super) fn write(&self, family: &Family, mut put: impl FnMut(&str, Value)) {
        if family.multipliers {
            put("embedding_multiplier", json!(self.embedding_multiplier));
            put("residual_multiplier", json!(self.residual_multiplier));
            put("attention_multiplier", json!(self.attention_multiplier));
            put("logits_scaling", json!(self.logits_scaling));
        }
    }
}
