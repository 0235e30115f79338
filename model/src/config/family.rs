//! The families of models: what each is called, what its files leave unsaid, and in what its decoder differs from Llama's.
//!
//! A family is a row of values. Defaults are those of transformers' configuration classes.

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
}

/// All of them, in the order that messages name them.
const ALL: [ModelType; 7] = [
    ModelType::Llama,
    ModelType::Qwen2,
    ModelType::Qwen3,
    ModelType::Mistral,
    ModelType::SmolLm3,
    ModelType::Olmo2,
    ModelType::Granite,
];

/// Which layers look through a window, where the file does not name them one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    /// None may.
    Never,
    /// All; the window's length where the file does not say.
    All(Option<usize>),
    /// With `use_sliding_window`, those from `max_window_layers` on.
    Last,
    /// With `use_sliding_window`, those without rotary positions.
    Unrotated,
}

/// Where norms stand in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norms {
    /// Before attention and before the feed-forward.
    Before,
    /// Behind both, before their results are added to the stream.
    Behind,
}

/// How a norm's weight comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormWeight {
    /// Behind the rounding to the format of the stream.
    Rounded,
    /// Before it.
    Wide,
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
