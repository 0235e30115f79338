//! `generation_config.json`: which tokens end a text.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::ModelConfig;
use crate::fields::{ConfigError, Reader, ids_to_json, object, read};

/// What a checkpoint says about generating with it. What this crate does not use is kept and written back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GenerationConfig {
    /// Every token that ends a text; one number or a list in the file.
    pub eos_token_id: Vec<u32>,
    /// The filler.
    pub pad_token_id: Option<u32>,
    /// First token of a text.
    pub bos_token_id: Option<u32>,
    other: Map<String, Value>,
}

impl GenerationConfig {
    /// Reads `generation_config.json` in `dir`. Ids that it does not give are those of `config.json`,
    /// and so are all where there is no such file.
    ///
    /// # Errors
    /// The file exists but cannot be read, is no JSON object, or holds ids that are none.
    pub fn load(dir: &Path, config: &ModelConfig) -> Result<Self, ConfigError> {
        let path = dir.join("generation_config.json");
        match read(&path) {
            Ok(bytes) => Self::from_json(&bytes, &path, config),
            Err(ConfigError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(Self::from_config(config))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the JSON text of a `generation_config.json`; `path` names it in errors.
    ///
    /// # Errors
    /// As [`GenerationConfig::load`].
    pub fn from_json(json: &[u8], path: &Path, config: &ModelConfig) -> Result<Self, ConfigError> {
        let map = object(json, path)?;
        let reader = Reader { map: &map, path };
        let eos = reader.ids_below("eos_token_id", config.vocab_size)?;
        let pad = reader.id("pad_token_id")?;
        let bos = reader.id("bos_token_id")?;
        Ok(Self {
            eos_token_id: eos.unwrap_or_else(|| config.eos_token_id.clone()),
            pad_token_id: pad.or(config.pad_token_id),
            bos_token_id: bos.or(config.bos_token_id),
            other: map,
        })
    }

    /// What `config.json` alone says.
    pub fn from_config(config: &ModelConfig) -> Self {
        Self {
            eos_token_id: config.eos_token_id.clone(),
            pad_token_id: config.pad_token_id,
            bos_token_id: config.bos_token_id,
            other: Map::new(),
        }
    }

    /// The text of a `generation_config.json`.
    pub fn to_json(&self) -> String {
        let mut map = self.other.clone();
        map.insert("bos_token_id".into(), json!(self.bos_token_id));
        map.insert("eos_token_id".into(), ids_to_json(&self.eos_token_id));
        map.insert("pad_token_id".into(), json!(self.pad_token_id));
        let mut text = serde_json::to_string_pretty(&map).expect("a JSON value can always be written");
        text.push('\n');
        text
    }
}
