//! The families of models: what each is called, what its files leave unsaid, and in what its decoder differs from Llama's.
//!
//! A family is a row of values. Defaults are those of transformers' configuration classes.

use crate::fields::{ConfigError, Reader};
use crate::json::shorten;

/// The family of a checkpoint, as `model_type` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelType {
    /// Llama 2, 3 and the many models of their shape.
    Llama,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMS norm on each head of q and k.
    Qwen3,
    /// Mistral: a window over all layers, or none.
    Mistral,
    /// SmolLM3: layers without rotary positions.
    SmolLm3,
    /// OLMo-2: norms behind attention and feed-forward, and over all of q and of k.
    Olmo2,
    /// Granite: multipliers.
    Granite,
    /// Phi-3, Phi-3.5 and Phi-4-mini: fused projections, part of a head rotated.
    Phi3,
    /// Gemma: GeGLU, scaled embeddings, norms whose weights are added to 1.
    Gemma,
    /// Gemma 2: beside these, norms around attention and feed-forward, soft caps, windows in every other layer.
    Gemma2,
    /// Gemma 3, text: beside these, norms of heads, two bases of rotary positions.
    Gemma3,
    /// Qwen3 with experts.
    Qwen3Moe,
}

/// All of them, in the order that messages name them.
const ALL: [ModelType; 12] = [
    ModelType::Llama,
    ModelType::Qwen2,
    ModelType::Qwen3,
    ModelType::Mistral,
    ModelType::SmolLm3,
    ModelType::Olmo2,
    ModelType::Granite,
    ModelType::Phi3,
    ModelType::Gemma,
    ModelType::Gemma2,
    ModelType::Gemma3,
    ModelType::Qwen3Moe,
];

/// Which layers look through a window, where the file does not name them one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    /// None may.
    Never,
    /// All; the window's length where the file does not say.
    All(Option<usize>),
    /// With `use_sliding_window`, all.
    Switched,
    /// With `use_sliding_window`, those from `max_window_layers` on.
    Last,
    /// With `use_sliding_window`, those without rotary positions.
    Unrotated,
    /// All but every so many-th.
    AllBut(usize),
}

/// Where norms stand in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norms {
    /// Before attention and before the feed-forward.
    Before,
    /// Behind both, before their results are added to the stream.
    Behind,
    /// Before and behind.
    Around,
}

/// How a norm's weight comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormWeight {
    /// Behind the rounding to the format of the stream.
    Rounded,
    /// Before it.
    Wide,
    /// Before it, and 1 is added to the weight.
    Added,
}

/// What gates a feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`: SwiGLU.
    Silu,
    /// GELU in its form with tanh: GeGLU.
    GeluTanh,
}

impl Activation {
    /// Hugging Face's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_pytorch_tanh",
        }
    }

    pub(super) fn read(file: &Reader, family: &Family) -> Result<Self, ConfigError> {
        let (key, default) = family.activation;
        let read = |key| match file.string(key)? {
            None => Ok(None),
            Some("silu" | "swish") => Ok(Some(Self::Silu)),
            Some("gelu_pytorch_tanh") => Ok(Some(Self::GeluTanh)),
            // Gemma's first files meant the form with tanh.
            Some("gelu") if default == Self::GeluTanh => Ok(Some(default)),
            Some(other) => Err(file.error(
                key,
                format!(
                    "is \"{}\"; supported are silu and gelu_pytorch_tanh",
                    shorten(other)
                ),
            )),
        };
        let activation = read(key)?.unwrap_or(default);
        let other = match key {
            "hidden_act" => "hidden_activation",
            _ => "hidden_act",
        };
        match read(other)? {
            Some(second) if second != activation => Err(file.error(
                other,
                format!(
                    "is {}, but `{key}` is {}; remove the one that is wrong",
                    second.name(),
                    activation.name()
                ),
            )),
            _ => Ok(activation),
        }
    }
}

/// Which soft caps a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caps {
    /// None.
    Never,
    /// Of scores and of logits; 50 and 30 where the file does not say.
    Both,
    /// Of logits, where the file says so.
    Logits,
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QkNorm {
    /// There are none.
    Never,
    /// Of each head.
    Heads,
    /// Over all heads together.
    Projection,
}

/// Biases of attention's projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionBias {
    /// There are none.
    Never,
    /// On q, k, v and o where `attention_bias` asks for them.
    Asked,
    /// On q, k and v always.
    Qkv,
}

/// What a family is.
#[derive(Debug)]
pub(crate) struct Family {
    /// `model_type`.
    pub name: &'static str,
    /// The class that transformers loads it with.
    pub architecture: &'static str,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// Features of a head; none: `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    pub tie_word_embeddings: bool,
    /// Whether each query head has its own key/value head where the file does not say how many there are.
    pub own_kv_heads: bool,
    /// Whether `no_rope_layers` is read.
    pub no_rope_layers: bool,
    pub windows: Windows,
    pub norms: Norms,
    pub norm_weight: NormWeight,
    pub qk_norm: QkNorm,
    pub attention_bias: AttentionBias,
    /// Whether `mlp_bias` is read.
    pub mlp_bias: bool,
    /// Whether Granite's multipliers are read.
    pub multipliers: bool,
    /// Whether embeddings are multiplied by `√hidden_size`.
    pub scaled_embeddings: bool,
    /// `query_pre_attn_scalar`, by the root of which scores are divided.
    pub query_scalar: Option<f64>,
    pub caps: Caps,
    /// The key of the activation, and what it is where the file does not say.
    pub activation: (&'static str, Activation),
    /// Whether q, k and v are one matrix, and so are gate and up.
    pub fused: bool,
    /// `original_max_position_embeddings`, in a family that has it at the top of its file.
    pub original_positions: Option<usize>,
    /// Base of the rotary frequencies of layers with a window, in a family that has one for them.
    pub local_theta: Option<f64>,
    /// Whether layers have experts.
    pub experts: bool,
}

const LLAMA: Family = Family {
    name: "llama",
    architecture: "LlamaForCausalLM",
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000.0,
    head_dim: None,
    tie_word_embeddings: false,
    own_kv_heads: true,
    no_rope_layers: false,
    windows: Windows::Never,
    norms: Norms::Before,
    norm_weight: NormWeight::Rounded,
    qk_norm: QkNorm::Never,
    attention_bias: AttentionBias::Asked,
    mlp_bias: true,
    multipliers: false,
    scaled_embeddings: false,
    query_scalar: None,
    caps: Caps::Never,
    activation: ("hidden_act", Activation::Silu),
    fused: false,
    original_positions: None,
    local_theta: None,
    experts: false,
};

const QWEN2: Family = Family {
    name: "qwen2",
    architecture: "Qwen2ForCausalLM",
    max_position_embeddings: 32_768,
    own_kv_heads: false,
    windows: Windows::Last,
    attention_bias: AttentionBias::Qkv,
    mlp_bias: false,
    ..LLAMA
};

const QWEN3: Family = Family {
    name: "qwen3",
    architecture: "Qwen3ForCausalLM",
    head_dim: Some(128),
    qk_norm: QkNorm::Heads,
    attention_bias: AttentionBias::Asked,
    ..QWEN2
};

const MISTRAL: Family = Family {
    name: "mistral",
    architecture: "MistralForCausalLM",
    max_position_embeddings: 131_072,
    own_kv_heads: false,
    windows: Windows::All(Some(4096)),
    attention_bias: AttentionBias::Never,
    mlp_bias: false,
    ..LLAMA
};

const SMOLLM3: Family = Family {
    name: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    max_position_embeddings: 32_768,
    rope_theta: 2_000_000.0,
    tie_word_embeddings: true,
    own_kv_heads: false,
    no_rope_layers: true,
    windows: Windows::Unrotated,
    ..LLAMA
};

const OLMO2: Family = Family {
    name: "olmo2",
    architecture: "Olmo2ForCausalLM",
    rms_norm_eps: 1e-5,
    norms: Norms::Behind,
    norm_weight: NormWeight::Wide,
    qk_norm: QkNorm::Projection,
    mlp_bias: false,
    ..LLAMA
};

const GRANITE: Family = Family {
    name: "granite",
    architecture: "GraniteForCausalLM",
    multipliers: true,
    ..LLAMA
};

const PHI3: Family = Family {
    name: "phi3",
    architecture: "Phi3ForCausalLM",
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    windows: Windows::All(None),
    attention_bias: AttentionBias::Never,
    mlp_bias: false,
    fused: true,
    original_positions: Some(4096),
    ..LLAMA
};

const GEMMA: Family = Family {
    name: "gemma",
    architecture: "GemmaForCausalLM",
    max_position_embeddings: 8192,
    head_dim: Some(256),
    tie_word_embeddings: true,
    own_kv_heads: false,
    norm_weight: NormWeight::Added,
    mlp_bias: false,
    scaled_embeddings: true,
    activation: ("hidden_act", Activation::GeluTanh),
    ..LLAMA
};

const GEMMA2: Family = Family {
    name: "gemma2",
    architecture: "Gemma2ForCausalLM",
    windows: Windows::AllBut(2),
    norms: Norms::Around,
    query_scalar: Some(256.0),
    caps: Caps::Both,
    activation: ("hidden_activation", Activation::GeluTanh),
    ..GEMMA
};

const GEMMA3: Family = Family {
    name: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    max_position_embeddings: 131_072,
    rope_theta: 1_000_000.0,
    windows: Windows::AllBut(6),
    qk_norm: QkNorm::Heads,
    caps: Caps::Logits,
    local_theta: Some(10_000.0),
    ..GEMMA2
};

const QWEN3_MOE: Family = Family {
    name: "qwen3_moe",
    architecture: "Qwen3MoeForCausalLM",
    head_dim: None,
    windows: Windows::Switched,
    experts: true,
    ..QWEN3
};

impl ModelType {
    /// What `config.json` calls it.
    pub fn name(self) -> &'static str {
        self.family().name
    }

    /// The class transformers loads it with.
    pub fn architecture(self) -> &'static str {
        self.family().architecture
    }

    pub(crate) fn family(self) -> &'static Family {
        match self {
            Self::Llama => &LLAMA,
            Self::Qwen2 => &QWEN2,
            Self::Qwen3 => &QWEN3,
            Self::Mistral => &MISTRAL,
            Self::SmolLm3 => &SMOLLM3,
            Self::Olmo2 => &OLMO2,
            Self::Granite => &GRANITE,
            Self::Phi3 => &PHI3,
            Self::Gemma => &GEMMA,
            Self::Gemma2 => &GEMMA2,
            Self::Gemma3 => &GEMMA3,
            Self::Qwen3Moe => &QWEN3_MOE,
        }
    }

    /// The one that a file means.
    pub(super) fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|model_type| model_type.name() == name)
    }

    /// The names of all, as a sentence lists them.
    pub(super) fn names() -> String {
        let [most @ .., last] = ALL.map(Self::name);
        format!("{} and {last}", most.join(", "))
    }
}
