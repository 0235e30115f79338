//! Hugging Face `config.json` to a checked [`ModelConfig`], and back.
//!
//! Field names are Hugging Face's. What the decoder of this crate cannot compute exactly (sliding windows in use,
//! experts, other RoPE scalings, partial rotary, other activations, quantised weights) is refused by name:
//! a checkpoint that loads is a checkpoint that is computed as transformers computes it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

mod rope;

pub use crate::fields::ConfigError;
use crate::fields::{Reader, ids_to_json, object, read};
use crate::json::{short, shorten};
pub use rope::RopeScaling;

/// Most layers that a network may have; the deepest that were ever trained have a tenth.
const MOST_LAYERS: usize = 10_000;

/// Most numbers that a network may have: sizes of its tensors, and what is worked out from them, are countable in bytes.
const MOST_PARAMETERS: u128 = 1 << 50;

/// The family of a checkpoint: it decides which projections have biases and whether q and k are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelType {
    /// Llama 2, 3 and the many models of their shape.
    Llama,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMS norm on each head of q and k.
    Qwen3,
}

impl ModelType {
    /// The class transformers loads it with.
    pub fn architecture(self) -> &'static str {
        match self {
            ModelType::Llama => "LlamaForCausalLM",
            ModelType::Qwen2 => "Qwen2ForCausalLM",
            ModelType::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// `max_position_embeddings` of a file that does not say it, as in transformers' classes.
    fn default_positions(self) -> usize {
        match self {
            ModelType::Llama => 2048,
            ModelType::Qwen2 | ModelType::Qwen3 => 32_768,
        }
    }
}

/// The shape of a decoder, checked. Read it with [`ModelConfig::load`] or build it from JSON with
/// [`ModelConfig::from_json`]; `serde` goes through the same checks, so it can stand in a larger configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct ModelConfig {
    /// The family.
    pub model_type: ModelType,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Features of the residual stream, `d`.
    pub hidden_size: usize,
    /// Features inside the feed-forward.
    pub intermediate_size: usize,
    /// Layers, `l`.
    pub num_hidden_layers: usize,
    /// Query heads, `h`.
    pub num_attention_heads: usize,
    /// Key and value heads, `k`; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Features of one head; `hidden_size / num_attention_heads` where the file does not say (128 for Qwen3).
    pub head_dim: usize,
    /// Longest sequence that the positions were trained for.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Scaling of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Llama and Qwen3: biases on q, k, v and o. (Qwen2 has them on q, k and v always.)
    pub attention_bias: bool,
    /// Llama: biases in the feed-forward.
    pub mlp_bias: bool,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of random initial weights.
    pub initializer_range: f64,
    /// First token of a text, where the tokenizer puts one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text; Hugging Face writes one number or a list.
    pub eos_token_id: Vec<u32>,
    /// The filler; its value never matters to this crate.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Reads `config.json` in `dir`.
    ///
    /// # Errors
    /// The file is missing, is no JSON, or describes a model that this crate does not compute.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join("config.json");
        Self::from_json(&read(&path)?, &path)
    }

    /// Reads the JSON text of a `config.json`; `path` names it in errors.
    ///
    /// # Errors
    /// As [`ModelConfig::load`].
    pub fn from_json(json: &[u8], path: &Path) -> Result<Self, ConfigError> {
        Self::from_map(&object(json, path)?, path)
    }

    /// As [`ModelConfig::from_json`], from the object itself.
    pub(crate) fn from_map(map: &Map<String, Value>, path: &Path) -> Result<Self, ConfigError> {
        Reader { map, path }.config()
    }

    /// The `config.json` that transformers loads; weights are said to be of `dtype` (`"float32"`, …).
    pub fn to_json(&self, dtype: &str) -> String {
        let mut value: Value = self.clone().into();
        // Releases of transformers differ in which name they read.
        for key in ["dtype", "torch_dtype"] {
            value[key] = json!(dtype);
        }
        let mut text = serde_json::to_string_pretty(&value).expect("a JSON value can always be written");
        text.push('\n');
        text
    }

    /// Query heads that share one key/value head, `g`.
    pub fn groups(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// Whether q, k and v have biases.
    pub fn has_qkv_bias(&self) -> bool {
        self.attention_bias || self.model_type == ModelType::Qwen2
    }

    /// Whether the attention's output projection has a bias.
    pub fn has_o_bias(&self) -> bool {
        self.attention_bias && self.model_type != ModelType::Qwen2
    }

    /// Whether each head of q and k is normalised.
    pub fn has_qk_norm(&self) -> bool {
        self.model_type == ModelType::Qwen3
    }

    /// Trainable numbers; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.count() as usize
    }

    /// [`ModelConfig::parameters`] of sizes that are not yet known to be countable.
    fn count(&self) -> u128 {
        let [d, f, e] = [self.hidden_size, self.intermediate_size, self.head_dim].map(|n| n as u128);
        let (q, kv) = (
            self.num_attention_heads as u128 * e,
            self.num_key_value_heads as u128 * e,
        );
        let mut layer = d * (q + 2 * kv) + q * d + 3 * d * f + 2 * d;
        if self.has_qkv_bias() {
            layer += q + 2 * kv;
        }
        if self.has_o_bias() {
            layer += d;
        }
        if self.has_qk_norm() {
            layer += 2 * e;
        }
        if self.mlp_bias {
            layer += 2 * f + d;
        }
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        heads * self.vocab_size as u128 * d + self.num_hidden_layers as u128 * layer + d
    }

    /// Keys and values that one token of one row holds, in numbers.
    pub fn kv_numbers_per_token(&self) -> usize {
        2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim
    }
}

impl TryFrom<Value> for ModelConfig {
    type Error = ConfigError;

    fn try_from(value: Value) -> Result<Self, ConfigError> {
        let path = Path::new("model");
        match value {
            Value::Object(map) => Self::from_map(&map, path),
            _ => Err(ConfigError::Field {
                path: path.into(),
                field: "(root)".into(),
                problem: "must be a table of a model's fields".into(),
            }),
        }
    }
}

impl From<ModelConfig> for Value {
    fn from(config: ModelConfig) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            map.insert(key.into(), value);
        };
        put("architectures", json!([config.model_type.architecture()]));
        put("model_type", json!(config.model_type));
        put("vocab_size", json!(config.vocab_size));
        put("hidden_size", json!(config.hidden_size));
        put("intermediate_size", json!(config.intermediate_size));
        put("num_hidden_layers", json!(config.num_hidden_layers));
        put("num_attention_heads", json!(config.num_attention_heads));
        put("num_key_value_heads", json!(config.num_key_value_heads));
        put("head_dim", json!(config.head_dim));
        put("max_position_embeddings", json!(config.max_position_embeddings));
        put("hidden_act", json!("silu"));
        put("rms_norm_eps", json!(config.rms_norm_eps));
        // Both layouts: `rope_parameters` is what transformers 5 reads, the other two what 4 reads.
        let mut rope = config.rope_scaling.to_json();
        let scaling = match config.rope_scaling {
            RopeScaling::Default => Value::Null,
            _ => rope.clone(),
        };
        rope["rope_theta"] = json!(config.rope_theta);
        put("rope_parameters", rope);
        put("rope_theta", json!(config.rope_theta));
        put("rope_scaling", scaling);
        if config.model_type != ModelType::Qwen2 {
            put("attention_bias", json!(config.attention_bias));
        } else {
            put("use_sliding_window", json!(false));
        }
        if config.model_type == ModelType::Llama {
            put("mlp_bias", json!(config.mlp_bias));
        }
        put("tie_word_embeddings", json!(config.tie_word_embeddings));
        put("initializer_range", json!(config.initializer_range));
        put("bos_token_id", json!(config.bos_token_id));
        put("eos_token_id", ids_to_json(&config.eos_token_id));
        put("pad_token_id", json!(config.pad_token_id));
        Value::Object(map)
    }
}

/// Fields that every family declares as numbers, words or flags in transformers, which refuses `null` for them.
const NEVER_NULL: &[&str] = &[
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
];

impl Reader<'_> {
    fn config(&self) -> Result<ModelConfig, ConfigError> {
        let model_type = self.model_type()?;
        self.refuse_nulls(NEVER_NULL)?;
        if model_type == ModelType::Qwen3 {
            self.refuse_nulls(&["head_dim"])?;
        }
        self.refuse_unsupported(model_type)?;
        let hidden_size = self.size("hidden_size")?;
        let num_attention_heads = self.size("num_attention_heads")?;
        let num_key_value_heads = self.key_value_heads(model_type, num_attention_heads)?;
        let head_dim = self.head_dim(model_type, hidden_size, num_attention_heads)?;
        let (rope_theta, rope_scaling) = rope::read(self)?;
        let vocab_size = self.size("vocab_size")?;
        let attention_bias = self.flag("attention_bias")?.unwrap_or(false);
        let config = ModelConfig {
            model_type,
            vocab_size,
            hidden_size,
            intermediate_size: self.size("intermediate_size")?,
            num_hidden_layers: self.layers()?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings: self
                .optional_size("max_position_embeddings")?
                .unwrap_or(model_type.default_positions()),
            rms_norm_eps: self.positive("rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta,
            rope_scaling,
            // Qwen2 knows no such field: its biases are fixed.
            attention_bias: attention_bias && model_type != ModelType::Qwen2,
            mlp_bias: self.flag("mlp_bias")?.unwrap_or(false) && model_type == ModelType::Llama,
            tie_word_embeddings: self.flag("tie_word_embeddings")?.unwrap_or(false),
            initializer_range: self.positive("initializer_range")?.unwrap_or(0.02),
            bos_token_id: self.id("bos_token_id")?,
            eos_token_id: self.ids_below("eos_token_id", vocab_size)?.unwrap_or_default(),
            pad_token_id: self.id("pad_token_id")?,
        };
        match config.count() {
            count if count > MOST_PARAMETERS => Err(self.error(
                "hidden_size",
                format!("and the other sizes make a network of {count} parameters; is one of them mistyped?"),
            )),
            _ => Ok(config),
        }
    }

    fn layers(&self) -> Result<usize, ConfigError> {
        match self.size("num_hidden_layers")? {
            layers if layers > MOST_LAYERS => Err(self.error(
                "num_hidden_layers",
                format!("is {layers}; networks of more than {MOST_LAYERS} layers are not computed"),
            )),
            layers => Ok(layers),
        }
    }

    fn model_type(&self) -> Result<ModelType, ConfigError> {
        match self.string("model_type")? {
            Some("llama") => Ok(ModelType::Llama),
            Some("qwen2") => Ok(ModelType::Qwen2),
            Some("qwen3") => Ok(ModelType::Qwen3),
            Some(other) => Err(self.error(
                "model_type",
                format!(
                    "is \"{}\"; supported are llama, qwen2 (also Qwen2.5) and qwen3",
                    shorten(other)
                ),
            )),
            None => Err(self.error(
                "model_type",
                "is missing; write llama, qwen2 or qwen3".to_string(),
            )),
        }
    }

    fn key_value_heads(&self, model_type: ModelType, query_heads: usize) -> Result<usize, ConfigError> {
        let heads = match self.optional_size("num_key_value_heads")? {
            Some(heads) => heads,
            // `null` is one for each query head in every family; that nothing is said means so in Llama's only.
            None if model_type == ModelType::Llama || self.map.contains_key("num_key_value_heads") => {
                query_heads
            }
            None => {
                return Err(self.error(
                    "num_key_value_heads",
                    "is missing; write the number of key/value heads".to_string(),
                ));
            }
        };
        match query_heads.is_multiple_of(heads) {
            true => Ok(heads),
            false => Err(self.error(
                "num_key_value_heads",
                format!("is {heads}, which does not divide num_attention_heads = {query_heads}"),
            )),
        }
    }

    fn head_dim(&self, model_type: ModelType, d: usize, heads: usize) -> Result<usize, ConfigError> {
        let head_dim = match self.optional_size("head_dim")? {
            Some(head_dim) => head_dim,
            // The default of transformers' Qwen3Config.
            None if model_type == ModelType::Qwen3 => 128,
            None if d.is_multiple_of(heads) => d / heads,
            None => {
                return Err(self.error(
                    "hidden_size",
                    format!("is {d}, no multiple of num_attention_heads = {heads}; mend one of them or write head_dim"),
                ));
            }
        };
        match head_dim.is_multiple_of(2) {
            true => Ok(head_dim),
            false => Err(self.error(
                "head_dim",
                format!("is {head_dim}; rotary positions need an even number"),
            )),
        }
    }

    /// Names what would be computed wrongly if it were ignored.
    fn refuse_unsupported(&self, model_type: ModelType) -> Result<(), ConfigError> {
        if let Some(act) = self.string("hidden_act")?
            && act != "silu"
            && act != "swish"
        {
            return Err(self.error(
                "hidden_act",
                format!("is \"{}\"; only silu is supported", shorten(act)),
            ));
        }
        self.refuse_windows(model_type)?;
        for field in ["num_experts", "num_local_experts", "n_routed_experts"] {
            if self.map.get(field).is_some_and(|value| !value.is_null()) {
                return Err(self.error(field, "is set; mixtures of experts are not supported".to_string()));
            }
        }
        if self.get("quantization_config").is_some() {
            return Err(self.error(
                "quantization_config",
                "is set; load the checkpoint's unquantised weights".to_string(),
            ));
        }
        if let Some(share) = self.number("partial_rotary_factor")?
            && share != 1.0
        {
            return Err(self.error(
                "partial_rotary_factor",
                format!("is {share}; only whole heads are rotated here, so it must be 1"),
            ));
        }
        Ok(())
    }

    /// Sliding windows in use; one that no layer looks through is as good as none.
    fn refuse_windows(&self, model_type: ModelType) -> Result<(), ConfigError> {
        if let Some(types) = self.get("layer_types") {
            let Value::Array(types) = types else {
                return Err(self.error("layer_types", format!("is {}; it must be a list", short(types))));
            };
            if let Some(other) = types.iter().find(|kind| *kind != "full_attention") {
                return Err(self.error(
                    "layer_types",
                    format!("holds {}; every layer must be full_attention", short(other)),
                ));
            }
            let layers = self.layers()?;
            if types.len() != layers {
                return Err(self.error(
                    "layer_types",
                    format!("names {} layers, but num_hidden_layers is {layers}", types.len()),
                ));
            }
        }
        let switch = self.flag("use_sliding_window")?;
        if model_type == ModelType::Llama {
            // Mistral-like files have a window without the switch.
            return match self.get("sliding_window") {
                Some(_) if switch != Some(false) => Err(self.error(
                    "sliding_window",
                    "is set; sliding-window attention is not supported".to_string(),
                )),
                _ => Ok(()),
            };
        }
        // Where nothing is said, Qwen2Config and Qwen3Config of transformers have a window of 4096, from layer 28 on; that is
        // not believed of a file that switches it on.
        let window = self.map.get("sliding_window") != Some(&Value::Null);
        let first = match self.get("max_window_layers") {
            None => 0,
            Some(value) => value.as_u64().ok_or_else(|| {
                self.error(
                    "max_window_layers",
                    format!("is {}; it must be a whole number", short(value)),
                )
            })?,
        };
        let in_use = window && first < self.layers()? as u64 && self.get("layer_types").is_none();
        match switch == Some(true) && in_use {
            true => Err(self.error(
                "use_sliding_window",
                "is true; sliding-window attention is not supported".to_string(),
            )),
            false => Ok(()),
        }
    }
}
