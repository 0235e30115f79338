//! Hugging Face `config.json` to a checked [`ModelConfig`], and back.
//!
//! Field names are Hugging Face's. What the decoder of this crate cannot compute exactly (other families, RoPE scalings and
//! activations, quantised weights) is refused by name: a checkpoint that loads is a checkpoint that is computed as
//! transformers computes it.
//!
//! What a family is stands in the table of `family.rs`; beside it, in a file each: what differs between layers (`layers.rs`),
//! what is multiplied by (`scales.rs`), and rotary positions (`rope.rs`).

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

mod experts;
mod family;
mod layers;
mod nested;
mod rope;
mod scales;
mod scaling;

pub use crate::fields::ConfigError;
use crate::fields::{Reader, ids_to_json, object, read};
use crate::json::shorten;
pub use experts::Experts;
pub use family::{Activation, ModelType};
pub(crate) use family::{AttentionBias, Family, NormWeight, Norms, QkNorm};
pub use layers::Layers;
use rope::Rope;
pub use scales::Scales;
pub use scaling::{LongRope, RopeScaling, Yarn};

/// Most layers that a network may have; the deepest that were ever trained have a tenth.
const MOST_LAYERS: usize = 10_000;

/// Most numbers that a network may have: sizes of its tensors, and what is worked out from them, are countable in bytes.
const MOST_PARAMETERS: u128 = 1 << 50;

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
    /// Base of the rotary frequencies of layers with a window, where they have one of their own; they are not scaled.
    pub rope_local_base_freq: Option<f64>,
    /// The share of a head that is rotated, its first features.
    pub partial_rotary_factor: f64,
    /// What gates the feed-forward.
    pub hidden_act: Activation,
    /// Windows, and layers without rotary positions.
    pub layers: Layers,
    /// Multipliers.
    pub scales: Scales,
    /// Experts in the place of the feed-forward, in families that have them.
    pub experts: Option<Experts>,
    /// Biases on q, k, v and o, in families that ask for them. (Qwen2 has them on q, k and v always.)
    pub attention_bias: bool,
    /// Biases in the feed-forward, in families that ask for them.
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

    pub(crate) fn family(&self) -> &'static Family {
        self.model_type.family()
    }

    /// Whether q, k and v have biases.
    pub fn has_qkv_bias(&self) -> bool {
        self.attention_bias || self.family().attention_bias == AttentionBias::Qkv
    }

    /// Whether the attention's output projection has a bias.
    pub fn has_o_bias(&self) -> bool {
        self.attention_bias
    }

    /// Whether queries and keys are normalised, each head by itself.
    pub fn has_qk_norm(&self) -> bool {
        self.family().qk_norm == QkNorm::Heads
    }

    /// Whether a layer has experts.
    pub fn is_sparse(&self, layer: usize) -> bool {
        self.experts.as_ref().is_some_and(|experts| experts.are_in(layer))
    }

    /// Features inside the feed-forward that a token goes through, in the layer where they are most.
    pub fn active_intermediate_size(&self) -> usize {
        let layers = 0..self.num_hidden_layers;
        let Some(experts) = &self.experts else {
            return self.intermediate_size;
        };
        let sparse = experts
            .num_experts_per_tok
            .saturating_mul(experts.moe_intermediate_size);
        let of = |layer| {
            if experts.are_in(layer) {
                sparse
            } else {
                self.intermediate_size
            }
        };
        layers.map(of).max().unwrap_or(0)
    }

    /// What scores of attention are multiplied by.
    pub fn attention_scale(&self) -> f64 {
        let root = self.scales.query_pre_attn_scalar.unwrap_or(self.head_dim as f64);
        self.scales
            .attention_multiplier
            .unwrap_or_else(|| root.powf(-0.5))
    }

    /// Features of a head that are rotated, its first.
    pub fn rotary_dim(&self) -> usize {
        (self.head_dim as f64 * self.partial_rotary_factor) as usize
    }

    /// Which of its tables of rotary positions a layer turns by: 0, or 1 where those with a window have a base of their own;
    /// none where it has no such positions.
    pub(crate) fn rotation(&self, layer: usize) -> Option<usize> {
        let is_local = self.rope_local_base_freq.is_some() && self.layers.window(layer).is_some();
        self.layers.rotates(layer).then_some(usize::from(is_local))
    }

    /// What cosines and sines of rotary positions are multiplied by.
    pub fn attention_factor(&self) -> f64 {
        self.rope_scaling.attention_factor(self.max_position_embeddings)
    }

    /// The longest text that is computed: `max_position_embeddings`, but with LongRoPE the length before the stretch, since
    /// every number of a longer text is another one in transformers, also those of its beginning.
    pub fn positions(&self) -> usize {
        let most = self.max_position_embeddings;
        match &self.rope_scaling {
            RopeScaling::LongRope(long) => most.min(long.original_max_position_embeddings),
            _ => most,
        }
    }

    /// Whether the decoder needs nothing beyond what those of Llama, Qwen2 and Qwen3 without windows do: biases, norms of
    /// heads, a tied head, and rotary positions that are a table of frequencies
    /// ([`inverse_frequencies`](crate::rope::inverse_frequencies)), turned by in every layer. Whoever computes those alone
    /// asks this.
    pub fn is_plain_llama(&self) -> bool {
        let family = self.family();
        family.norms == Norms::Before
            && family.norm_weight == NormWeight::Rounded
            && family.qk_norm != QkNorm::Projection
            && self.layers.are_alike(self.positions())
            && self.scales == Scales::NONE
            && self.hidden_act == Activation::Silu
            && self.partial_rotary_factor == 1.0
            && self.rope_local_base_freq.is_none()
            && self.attention_factor() == 1.0
            && !family.fused
            && !family.experts
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
        let mut layer = d * (q + 2 * kv) + q * d + 2 * d;
        if self.has_qkv_bias() {
            layer += q + 2 * kv;
        }
        if self.has_o_bias() {
            layer += d;
        }
        layer += match self.family().qk_norm {
            QkNorm::Never => 0,
            QkNorm::Heads => 2 * e,
            QkNorm::Projection => q + kv,
        };
        if self.family().norms == Norms::Around {
            layer += 2 * d;
        }
        let mut dense = 3 * d * f;
        if self.mlp_bias {
            dense += 2 * f + d;
        }
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        let layers = self.num_hidden_layers as u128;
        let feed_forwards = match &self.experts {
            None => layers * dense,
            Some(experts) => {
                let sparse = experts.parameters(d);
                let of = |layer| if experts.are_in(layer) { sparse } else { dense };
                (0..self.num_hidden_layers).map(of).sum()
            }
        };
        heads * self.vocab_size as u128 * d + layers * layer + feed_forwards + d
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
        let family = config.family();
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            map.insert(key.into(), value);
        };
        put("architectures", json!([family.architecture]));
        put("model_type", json!(family.name));
        put("vocab_size", json!(config.vocab_size));
        put("hidden_size", json!(config.hidden_size));
        put("intermediate_size", json!(config.intermediate_size));
        put("num_hidden_layers", json!(config.num_hidden_layers));
        put("num_attention_heads", json!(config.num_attention_heads));
        put("num_key_value_heads", json!(config.num_key_value_heads));
        put("head_dim", json!(config.head_dim));
        put("max_position_embeddings", json!(config.max_position_embeddings));
        put(family.activation.0, json!(config.hidden_act.name()));
        put("rms_norm_eps", json!(config.rms_norm_eps));
        let rope = Rope {
            theta: config.rope_theta,
            scaling: config.rope_scaling,
            share: config.partial_rotary_factor,
            local_theta: config.rope_local_base_freq,
        };
        rope.write(family, &mut put);
        if family.attention_bias == AttentionBias::Asked {
            put("attention_bias", json!(config.attention_bias));
        }
        if family.mlp_bias {
            put("mlp_bias", json!(config.mlp_bias));
        }
        config.layers.write(family, config.num_hidden_layers, &mut put);
        config.scales.write(family, &mut put);
        if let Some(experts) = &config.experts {
            experts.write(&mut put);
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
        let family = model_type.family();
        self.refuse_nulls(NEVER_NULL)?;
        self.refuse_nulls(&[family.activation.0])?;
        if family.head_dim.is_some() {
            self.refuse_nulls(&["head_dim"])?;
        }
        self.refuse_unsupported()?;
        let hidden_size = self.size("hidden_size")?;
        let num_attention_heads = self.size("num_attention_heads")?;
        let num_key_value_heads = self.key_value_heads(family, num_attention_heads)?;
        let head_dim = self.head_dim(family, hidden_size, num_attention_heads)?;
        let num_hidden_layers = self.layers()?;
        let rope = Rope::read(self, family, head_dim)?;
        let vocab_size = self.size("vocab_size")?;
        let attention_bias = self.flag("attention_bias")?.unwrap_or(false);
        let config = ModelConfig {
            model_type,
            vocab_size,
            hidden_size,
            intermediate_size: self.size("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings: self
                .optional_size("max_position_embeddings")?
                .unwrap_or(family.max_position_embeddings),
            rms_norm_eps: self.positive("rms_norm_eps")?.unwrap_or(family.rms_norm_eps),
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            rope_local_base_freq: rope.local_theta,
            partial_rotary_factor: rope.share,
            hidden_act: Activation::read(self, family)?,
            layers: Layers::read(self, family, num_hidden_layers)?,
            scales: Scales::read(self, family, hidden_size)?,
            experts: Experts::read(self, family)?,
            // Not every family knows these fields.
            attention_bias: attention_bias && family.attention_bias == AttentionBias::Asked,
            mlp_bias: self.flag("mlp_bias")?.unwrap_or(false) && family.mlp_bias,
            tie_word_embeddings: self
                .flag("tie_word_embeddings")?
                .unwrap_or(family.tie_word_embeddings),
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
        let name = self.string("model_type")?;
        name.and_then(ModelType::named).ok_or_else(|| {
            let names = ModelType::names();
            let problem = match name {
                Some(other) => format!("is \"{}\"; supported are {names}", shorten(other)),
                None => format!("is missing; write one of {names}"),
            };
            self.error("model_type", problem)
        })
    }

    fn key_value_heads(&self, family: &Family, query_heads: usize) -> Result<usize, ConfigError> {
        let heads = match self.optional_size("num_key_value_heads")? {
            Some(heads) => heads,
            // `null` is one for each query head in every family; that nothing is said means so in some only.
            None if family.own_kv_heads || self.map.contains_key("num_key_value_heads") => query_heads,
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

    fn head_dim(&self, family: &Family, d: usize, heads: usize) -> Result<usize, ConfigError> {
        let head_dim = match self.optional_size("head_dim")?.or(family.head_dim) {
            Some(head_dim) => head_dim,
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
    fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        if self.get("quantization_config").is_some() {
            return Err(self.error(
                "quantization_config",
                "is set; load the checkpoint's unquantised weights".to_string(),
            ));
        }
        if self.flag("use_bidirectional_attention")? == Some(true) {
            return Err(self.error(
                "use_bidirectional_attention",
                "is true; tokens that see those after them are not computed".to_string(),
            ));
        }
        Ok(())
    }
}
