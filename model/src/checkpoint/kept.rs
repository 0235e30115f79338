//! `config.json` as it was: what this crate does not use of it is written again as it was read.

use serde_json::{Map, Value};

use crate::config::ModelConfig;
use crate::dtype::Dtype;
use crate::json;

/// The keys for the format of the weights: transformers 5 writes the first, 4 the second.
pub(super) const DTYPES: [&str; 2] = ["dtype", "torch_dtype"];

/// Such keys of heads that a language model has not.
const OF_OTHER_HEADS: [&str; 3] = [
    "classifier_dropout",
    "summary_first_dropout",
    "seq_classif_dropout",
];

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

    /// The keys, with their values, that have transformers leave something out at random while it trains (`attention_dropout`,
    /// `resid_pdrop`, `layerdrop`, …): nothing is, here.
    pub fn dropouts(&self) -> Vec<String> {
        let is_one = |key: &str| key.contains("drop") && !OF_OTHER_HEADS.contains(&key);
        let above_0 = self
            .map
            .iter()
            .filter(|(key, value)| is_one(key) && value.as_f64().is_some_and(|rate| rate != 0.0));
        above_0
            .map(|(key, value)| format!("{} = {value}", json::shorten(key)))
            .collect()
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
                map.insert((*key).into(), dtype.name().into());
            }
        }
        if self.is_tied != config.tie_word_embeddings {
            map.insert(TIED.into(), config.tie_word_embeddings.into());
        }
        let mut text = serde_json::to_string_pretty(&map).expect("a JSON value can always be written");
        text.push('\n');
        text
    }
}
