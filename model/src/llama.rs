//! The decoder of Llama and of the families beside it ([`ModelType`](crate::config::ModelType)), whole. Fields are the
//! checkpoint's paths (`model.layers.N.self_attn.q_proj.weight`); matrices are stored `[in, out]`, the transpose of Hugging
//! Face's. Where families differ, the configuration says how: here are its parts, and nothing asks for a family's name.
//!
//! Axes: `b` rows, `t` tokens, `d` features, `h`/`k` query/key-value heads, `g = h / k`, `e` features of a head, `l` layers.
//!
//! # Training and sampling
//! A model carries gradients while its parameters live on an autodiff device (`Llama::init(.., &device.autodiff())`, or
//! `model.train()`). For everything that needs none — sampling, scoring, evaluation, and always with a [`Cache`] — take
//! `model.valid()`: a snapshot with the same weights (shared, not copied) on the plain device. `model.valid().train()`
//! goes back. `burn::module::Module` must be in scope for both.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::nn::{Embedding, Linear};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use crate::attend::Attend;
use crate::cache::{Cache, Step};
use crate::config::{ModelConfig, NormWeight, Norms, QkNorm};
use crate::dropout::{Dropout, Mark};
use crate::dtype::{Dtype, cast_module, rounded};
use crate::head::Head;
use crate::layer::{Frame, times};
use crate::limits::Limits;
use crate::recompute::recomputed;
use crate::rope::RopeTable;
use crate::tokens::Tokens;

pub use crate::attention::{Attention, FusedAttention, SelfAttention};
pub use crate::feed_forward::{FeedForward, FusedMlp, Mlp, SparseMlp};
pub use crate::layer::Layer;
pub use crate::norm::RmsNorm;

/// A causal language model.
#[derive(Module, Debug)]
pub struct Llama {
    /// The decoder below the head.
    pub model: Decoder,
    /// `[d, v]`; none where the head is the embedding.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    config: ModelConfig,
    #[module(skip)]
    recomputes: bool,
    #[module(skip)]
    dropout: Option<Dropout>,
}

/// Embedding, layers and final norm.
#[derive(Module, Debug)]
pub struct Decoder {
    /// `[v, d]`
    pub embed_tokens: Embedding,
    /// The layers.
    pub layers: Vec<Layer>,
    /// Before the head.
    pub norm: RmsNorm,
}

impl Llama {
    /// A model with random weights: matrices and embedding normal with `initializer_range` as standard deviation,
    /// biases 0, norms 1. The numbers come from ChaCha20 on the host, so a seed gives the same model on every device.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Llama {
        let mut init = RandomInit {
            rng: ChaCha20Rng::seed_from_u64(seed),
            std: config.initializer_range,
        };
        Llama::blank(config, device).map(&mut init)
    }

    /// The module with zeros for matrices and biases and ones for norms, none of them made before it is looked at.
    pub(crate) fn blank(config: &ModelConfig, device: &Device) -> Llama {
        let layers: Vec<usize> = (0..config.num_hidden_layers).collect();
        Llama::blank_of(config, &layers, device)
    }

    /// [`Llama::blank`] of some layers only.
    pub(crate) fn blank_of(config: &ModelConfig, layers: &[usize], device: &Device) -> Llama {
        let (blank, d) = (Blank { config, device }, config.hidden_size);
        let vocabulary = config.vocab_size;
        Llama {
            model: Decoder {
                embed_tokens: Embedding {
                    weight: parameter([vocabulary, d], 0.0, device),
                },
                layers: layers.iter().map(|&layer| blank.layer(layer)).collect(),
                norm: blank.norm(d),
            },
            lm_head: (!config.tie_word_embeddings).then(|| blank.dense(d, vocabulary, false)),
            config: config.clone(),
            recomputes: false,
            dropout: None,
        }
    }

    /// Whether the layers' insides are computed again on the way back instead of kept ([`crate::logp`]).
    pub fn recomputes(&self) -> bool {
        self.recomputes
    }

    /// The same model whose layers' insides are computed again on the way back, or kept.
    pub fn with_gradient_checkpointing(self, recomputes: bool) -> Llama {
        Llama { recomputes, ..self }
    }

    /// What [`crate::logp`] leaves out of the inputs of adapters.
    pub fn dropout(&self) -> Option<Dropout> {
        self.dropout
    }

    /// The same model from whose adapters' inputs [`crate::logp`] leaves out some, or nothing: for one update, and nothing else. Sampling
    /// never does.
    pub fn with_dropout(self, dropout: Option<Dropout>) -> Llama {
        Llama { dropout, ..self }
    }

    /// The model with its weights; what stays behind knows its shape alone.
    pub fn take(&mut self) -> Llama {
        let shape = Llama::blank(&self.config, &self.device());
        std::mem::replace(self, shape)
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What the parameters are kept and computed with. Norms, softmax and log-probabilities are in f32 at least.
    pub fn dtype(&self) -> DType {
        self.model.norm.weight.val().dtype()
    }

    /// The same model with parameters of another kind, gradients apart ([`cast_module`]).
    pub fn cast(self, dtype: Dtype) -> Llama {
        cast_module(self, dtype)
    }

    /// Where the parameters are, with autodiff where they carry gradients.
    pub fn device(&self) -> Device {
        self.model.norm.weight.val().device()
    }

    /// Hidden states after the final norm.
    ///
    /// Without a cache: plain causal attention over each row, differentiable; for training and scoring.
    /// With a cache: each row continues what the cache holds for it, and its new tokens are appended;
    /// take `model.valid()`. States of padding are finite and meaningless.
    ///
    /// # Shapes
    /// `tokens`: `[b, t]` to `[b, t, d]`
    ///
    /// # Panics
    /// The cache has another number of rows than `tokens`.
    pub fn forward(&self, tokens: &Tokens, cache: Option<&mut Cache>) -> Tensor<3> {
        match cache {
            None => self.forward_within(tokens, &Limits::USUAL),
            Some(cache) => self.forward_cached(tokens, cache),
        }
    }

    /// [`Llama::forward`] without a cache, which holds no more at once than it may.
    pub(crate) fn forward_within(&self, tokens: &Tokens, limits: &Limits) -> Tensor<3> {
        let device = self.device().without_autodiff();
        let width = tokens.width();
        let positions = tokens.positions(&vec![0; tokens.rows()]);
        let rotations = RopeTable::new(&self.config, width, &device).at(&positions);
        let attend = Attend::new(&self.config, tokens, &device, limits);
        let frame = Frame::new(&self.config, [tokens.rows(), width], &rotations, self.dtype());
        let frame = match self.dropout {
            Some(dropout) => frame.with_dropout(dropout, marks(tokens)),
            None => frame,
        };
        let mut x = self.embed(tokens);
        for (index, layer) in self.model.layers.iter().enumerate() {
            let (frame, attend) = (frame.clone(), attend.clone());
            let is_windowed = self.config.layers.window(index).is_some();
            let run = move |layer: &Layer, x: Tensor<2>| {
                frame.run(index, layer, x, |q, k, v| attend.mix(is_windowed, q, k, v))
            };
            x = match self.recomputes {
                true => recomputed(layer, x, run),
                false => run(layer, x),
            };
        }
        self.normed(x, tokens)
    }

    fn forward_cached(&self, tokens: &Tokens, cache: &mut Cache) -> Tensor<3> {
        let width = tokens.width();
        let per_token = self.config.num_attention_heads * tokens.rows() * (cache.slots() + width);
        let window = (Limits::USUAL.scores / per_token).max(16);
        if width <= window {
            return self.forward_window(tokens, cache);
        }
        cache.reserve(width);
        let hidden = (0..width)
            .step_by(window)
            .map(|from| {
                let window = tokens.columns(from, width.min(from + window));
                self.forward_window(&window, cache)
            })
            .collect();
        Tensor::cat(hidden, 1)
    }

    fn forward_window(&self, tokens: &Tokens, cache: &mut Cache) -> Tensor<3> {
        let step: Step = cache.begin(tokens);
        let size = [tokens.rows(), tokens.width()];
        let frame = Frame::new(&self.config, size, &step.rotations, self.dtype());
        let mut x = self.embed(tokens);
        for (index, layer) in self.model.layers.iter().enumerate() {
            x = frame.run(index, layer, x, |q, k, v| cache.attend(index, &step, q, k, v));
        }
        self.normed(x, tokens)
    }

    /// `[n, d]`: what the layers begin with.
    fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        let n = tokens.rows() * tokens.width();
        let embedded = self.model.embed_tokens.forward(tokens.ids_bt.clone());
        let mut multiplier = self.config.scales.embedding_multiplier;
        if self.config.family().scaled_embeddings {
            // Gemma's is kept in the format of the weights.
            multiplier = rounded(multiplier, embedded.dtype());
        }
        times(embedded.reshape([n, self.config.hidden_size]), multiplier)
    }

    /// `[b, t, d]`: states behind the layers, normalised.
    fn normed(&self, x: Tensor<2>, tokens: &Tokens) -> Tensor<3> {
        let d = self.config.hidden_size;
        self.model
            .norm
            .forward(x)
            .reshape([tokens.rows(), tokens.width(), d])
    }

    /// Logits of hidden states, divided and capped where the family's are; then they are in f32 at least.
    ///
    /// # Shapes
    /// `[.., d]` to `[.., v]`
    pub fn lm_head<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        self.head().logits(hidden)
    }

    /// What makes the logits.
    pub(crate) fn head(&self) -> Head {
        Head {
            weight: match &self.lm_head {
                Some(head) => head.weight.val(),
                None => self.model.embed_tokens.weight.val(),
            },
            is_embedding: self.lm_head.is_none(),
            scales: self.config.scales.clone(),
        }
    }
}

/// The marks of tokens, a row after the other; those of padding are of no text.
fn marks(tokens: &Tokens) -> Vec<Mark> {
    let ids = tokens.ids_bt.clone().without_autodiff();
    let ids: Vec<i64> = ids.try_into_vec_as().expect("token ids can be read");
    let rows = ids.chunks_exact(tokens.width()).enumerate();
    rows.flat_map(|(row, ids)| {
        let padding = vec![Mark::START; tokens.start(row)];
        let text = ids[padding.len()..].iter().map(|&id| id as u32);
        padding.into_iter().chain(Mark::of(text))
    })
    .collect()
}

/// Makes the parts of [`Llama::blank`].
struct Blank<'a> {
    config: &'a ModelConfig,
    device: &'a Device,
}

impl Blank<'_> {
    fn dense(&self, from: usize, to: usize, bias: bool) -> Linear {
        Linear {
            weight: parameter([from, to], 0.0, self.device),
            bias: bias.then(|| parameter([to], 0.0, self.device)),
        }
    }

    fn norm(&self, features: usize) -> RmsNorm {
        let kind = self.config.family().norm_weight;
        let one = match kind {
            NormWeight::Added => 0.0,
            NormWeight::Rounded | NormWeight::Wide => 1.0,
        };
        RmsNorm::new(
            parameter([features], one, self.device),
            self.config.rms_norm_eps,
            kind,
        )
    }

    fn layer(&self, number: usize) -> Layer {
        let (norms, d) = (self.config.family().norms, self.config.hidden_size);
        Layer {
            input_layernorm: (norms != Norms::Behind).then(|| self.norm(d)),
            self_attn: self.attention(),
            post_attention_layernorm: self.norm(d),
            pre_feedforward_layernorm: (norms == Norms::Around).then(|| self.norm(d)),
            mlp: self.feed_forward(number),
            post_feedforward_layernorm: (norms != Norms::Before).then(|| self.norm(d)),
        }
    }

    fn attention(&self) -> SelfAttention {
        let (c, d) = (self.config, self.config.hidden_size);
        let (q, kv) = (
            c.num_attention_heads * c.head_dim,
            c.num_key_value_heads * c.head_dim,
        );
        let qk_norm = |all: usize| match c.family().qk_norm {
            QkNorm::Never => None,
            QkNorm::Heads => Some(self.norm(c.head_dim)),
            QkNorm::Projection => Some(self.norm(all)),
        };
        match c.family().fused {
            false => SelfAttention::Split(Attention {
                q_proj: self.dense(d, q, c.has_qkv_bias()),
                k_proj: self.dense(d, kv, c.has_qkv_bias()),
                v_proj: self.dense(d, kv, c.has_qkv_bias()),
                o_proj: self.dense(q, d, c.has_o_bias()),
                q_norm: qk_norm(q),
                k_norm: qk_norm(kv),
            }),
            true => SelfAttention::Fused(FusedAttention {
                qkv_proj: self.dense(d, q + 2 * kv, c.has_qkv_bias()),
                o_proj: self.dense(q, d, c.has_o_bias()),
            }),
        }
    }

    fn feed_forward(&self, layer: usize) -> FeedForward {
        let (c, d, f) = (
            self.config,
            self.config.hidden_size,
            self.config.intermediate_size,
        );
        let split = |f: usize| Mlp {
            gate_proj: self.dense(d, f, c.mlp_bias),
            up_proj: self.dense(d, f, c.mlp_bias),
            down_proj: self.dense(f, d, c.mlp_bias),
        };
        match &c.experts {
            Some(experts) if experts.are_in(layer) => FeedForward::Sparse(SparseMlp {
                gate: self.dense(d, experts.num_experts, false),
                experts: (0..experts.num_experts)
                    .map(|_| split(experts.moe_intermediate_size))
                    .collect(),
                taken: experts.num_experts_per_tok,
                normalised: experts.norm_topk_prob,
            }),
            _ if c.family().fused => FeedForward::Fused(FusedMlp {
                gate_up_proj: self.dense(d, 2 * f, c.mlp_bias),
                down_proj: self.dense(f, d, c.mlp_bias),
            }),
            _ => FeedForward::Split(split(f)),
        }
    }
}

/// A parameter of one number throughout, not made before it is looked at.
fn parameter<const D: usize>(shape: [usize; D], fill: f64, device: &Device) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, requires_grad| {
            let requires_grad = requires_grad && device.is_autodiff();
            Tensor::full(shape, fill, device).set_require_grad(requires_grad)
        },
        device.clone(),
        true,
        shape.into(),
    )
}

/// Fills matrices with normal numbers and leaves vectors (norms 1, biases 0) as they are.
struct RandomInit {
    rng: ChaCha20Rng,
    std: f64,
}

impl ModuleMapper for RandomInit {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param;
        }
        let shape = param.lazy_shape();
        let values = normal(&mut self.rng, shape.num_elements(), self.std);
        let device = param.lazy_device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }
}

/// `count` normal numbers of mean 0 (Box and Muller, 1958).
fn normal(rng: &mut ChaCha20Rng, count: usize, std: f64) -> Vec<f32> {
    // 53 random bits as a number in (0, 1].
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = std * (-2.0 * uniform().ln()).sqrt();
        let (sin, cos) = (2.0 * std::f64::consts::PI * uniform()).sin_cos();
        values.push((radius * cos) as f32);
        values.push((radius * sin) as f32);
    }
    values.truncate(count);
    values
}
