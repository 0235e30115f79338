//! `config.json` as it was: what this crate does not use of it is written again as it was read.

use serde_json::{Map, Value, json};

use crate::config::ModelConfig;
use crate::dtype::Dtype;

/// The keys for the format of the weights: transformers 5 writes the first, 4 the second.
pub(super) const DTYPES: [&str; 2] = ["dtype", "torch_dtype"];

const TIED: &str = "tie_word_embeddings";

/// The `config.json` that a checkpoint came with; empty for a model that came with none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigJson {
    map: Map<String, Value>,
    /// Whether it says that the head is the embedding.
    is_tied: bool,
}

impl ConfigJson {
    /// `config`: what was read of it.
    pub(super) fn new(map: Map<String, Value>, config: &ModelConfig) -> Self {
        Self {
            map,
            is_tied: config.tie_word_embeddings,
        }
    }

    /// The format that it says the weights have.
    pub(super) fn dtype(&self) -> Option<&str> {
        DTYPES.iter().find_map(|key| self.map.get(*key)?.as_str())
    }

    /// The text to write beside the weights of a model that came with it, in format `dtype`: every key as it was, but for the format
    /// and whether the head is the embedding, where that is other.
    pub(super) fn text(&self, config: &ModelConfig, dtype: Dtype) -> String {
        if self.map.is_empty() {
            return config.to_json(dtype.name());
        }
        let mut map = self.map.clone();
        let said = DTYPES.map(|key| map.contains_key(key));
        for (key, is_said) in DTYPES.iter().zip(said) {
            if is_said || said == [false; 2] {
                map.insert((*key).into(), json!(dtype.name()));
            }
        }
        if self.is_tied != config.tie_word_embeddings {
            map.insert(TIED.into(), json!(config.tie_word_embeddings));
        }
        let mut text = serde_json::to_string_pretty(&map).expect("a JSON value can always be written");
        text.push('\n');
        text
    }
}
