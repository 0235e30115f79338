//! What a `config.json` says of numbers that a decoder multiplies by.

use serde_json::{Value, json};

use super::family::{Caps, Family};
use crate::fields::{ConfigError, Reader};

const QUERY: &str = "query_pre_attn_scalar";
const SCORES: &str = "attn_logit_softcapping";
const LOGITS: &str = "final_logit_softcapping";

/// What a decoder multiplies by, beside its weights. Names are Hugging Face's.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// Embeddings are multiplied by it.
    pub embedding_multiplier: f64,
    /// What attention and the feed-forward add to the stream is multiplied by it.
    pub residual_multiplier: f64,
    /// Scores of attention are multiplied by it; none: by `1/√head_dim`.
    pub attention_multiplier: Option<f64>,
    /// Scores of attention are divided by its root, in place of `√head_dim`.
    pub query_pre_attn_scalar: Option<f64>,
    /// Logits are divided by it.
    pub logits_scaling: f64,
    /// `c` in the scores `c · tanh(x / c)` of attention.
    pub attn_logit_softcapping: Option<f64>,
    /// `c` in the logits `c · tanh(x / c)`.
    pub final_logit_softcapping: Option<f64>,
}

impl Scales {
    /// Llama's: none.
    pub const NONE: Self = Self {
        embedding_multiplier: 1.0,
        residual_multiplier: 1.0,
        attention_multiplier: None,
        query_pre_attn_scalar: None,
        logits_scaling: 1.0,
        attn_logit_softcapping: None,
        final_logit_softcapping: None,
    };

    pub(super) fn read(file: &Reader, family: &Family, hidden_size: usize) -> Result<Self, ConfigError> {
        let mut scales = Self::NONE;
        if family.multipliers {
            let one_or = |key| Ok(file.positive(key)?.unwrap_or(1.0));
            scales.embedding_multiplier = one_or("embedding_multiplier")?;
            scales.residual_multiplier = one_or("residual_multiplier")?;
            scales.attention_multiplier = Some(one_or("attention_multiplier")?);
            scales.logits_scaling = one_or("logits_scaling")?;
        }
        if family.scaled_embeddings {
            scales.embedding_multiplier = (hidden_size as f64).sqrt();
        }
        if let Some(scalar) = family.query_scalar {
            file.refuse_nulls(&[QUERY])?;
            scales.query_pre_attn_scalar = Some(file.positive(QUERY)?.unwrap_or(scalar));
        }
        // Null is none; that nothing is said may not be.
        let cap = |key: &str, default| match file.map.contains_key(key) {
            true => file.positive(key),
            false => Ok(default),
        };
        match family.caps {
            Caps::Never => {}
            Caps::Both => {
                scales.attn_logit_softcapping = cap(SCORES, Some(50.0))?;
                scales.final_logit_softcapping = cap(LOGITS, Some(30.0))?;
            }
            Caps::Logits => {
                if file.get(SCORES).is_some() {
                    let problem = "is set, which transformers does not compute for this family; write null";
                    return Err(file.error(SCORES, problem.to_string()));
                }
                scales.final_logit_softcapping = cap(LOGITS, None)?;
            }
        }
        Ok(scales)
    }

    /// Writes what [`Scales::read`] reads.
    pub(super) fn write(&self, family: &Family, mut put: impl FnMut(&str, Value)) {
        if family.multipliers {
            put("embedding_multiplier", json!(self.embedding_multiplier));
            put("residual_multiplier", json!(self.residual_multiplier));
            put("attention_multiplier", json!(self.attention_multiplier));
            put("logits_scaling", json!(self.logits_scaling));
        }
        if family.query_scalar.is_some() {
            put(QUERY, self.query_pre_attn_scalar.map_or(Value::Null, number));
        }
        if family.caps != Caps::Never {
            put(SCORES, json!(self.attn_logit_softcapping));
            put(LOGITS, json!(self.final_logit_softcapping));
        }
    }
}

/// transformers' type for it is a whole number.
fn number(value: f64) -> Value {
    match value.fract() == 0.0 && value < 1e15 {
        true => json!(value as u64),
        false => json!(value),
    }
}
