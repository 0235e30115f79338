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
use burn::tensor::activation::softmax;
use burn::tensor::module::linear;
use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use crate::attention::capped;
use crate::cache::{Cache, Step, causal_bias, padding_bias};
use crate::config::{ModelConfig, NormWeight, Norms, QkNorm};
use crate::dropout::Dropout;
use crate::dropout::Mark;
use crate::dtype::{Dtype, cast, cast_module, rounded, widen};
use crate::projection::Projector;
use crate::rope::{RopeTable, Rotation};
use crate::tokens::Tokens;

pub use crate::attention::{Attention, FusedAttention, SelfAttention};
pub use crate::feed_forward::{FeedForward, FusedMlp, Mlp, SparseMlp};
pub use crate::norm::RmsNorm;

/// Attention scores that one forward with a cache holds at once, in numbers; longer inputs are run in windows.
const SCORES_AT_ONCE: usize = 1 << 24;

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

/// One layer.
#[derive(Module, Debug)]
pub struct Layer {
    /// Before attention, in families that have a norm there.
    pub input_layernorm: Option<RmsNorm>,
    /// Attention.
    pub self_attn: SelfAttention,
    /// Before the feed-forward; behind attention in families with a `post_feedforward_layernorm`.
    pub post_attention_layernorm: RmsNorm,
    /// Before the feed-forward, in families that have norms around it.
    pub pre_feedforward_layernorm: Option<RmsNorm>,
    /// Feed-forward.
    pub mlp: FeedForward,
    /// Behind the feed-forward, in families that have a norm there.
    pub post_feedforward_layernorm: Option<RmsNorm>,
}

/// The norms of a layer by where they stand.
pub(crate) struct LayerNorms<'a> {
    pub before_attention: Option<&'a RmsNorm>,
    pub behind_attention: Option<&'a RmsNorm>,
    pub before_feed_forward: Option<&'a RmsNorm>,
    pub behind_feed_forward: Option<&'a RmsNorm>,
}

impl Layer {
    pub(crate) fn norms(&self) -> LayerNorms<'_> {
        let behind = self.post_feedforward_layernorm.as_ref();
        let middle = Some(&self.post_attention_layernorm);
        let before = self.pre_feedforward_layernorm.as_ref();
        LayerNorms {
            before_attention: self.input_layernorm.as_ref(),
            behind_attention: middle.filter(|_| behind.is_some()),
            before_feed_forward: before.or(middle.filter(|_| behind.is_none())),
            behind_feed_forward: behind,
        }
    }
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
            None => self.forward_plain(tokens),
            Some(cache) => self.forward_cached(tokens, cache),
        }
    }

    fn forward_plain(&self, tokens: &Tokens) -> Tensor<3> {
        let device = self.device().without_autodiff();
        let (rows, width) = (tokens.rows(), tokens.width());
        let positions = tokens.positions(&vec![0; rows]);
        let rotations = RopeTable::new(&self.config, width, &device).at(&positions);
        let cap = self.config.scales.attn_logit_softcapping;
        let (groups, layers) = (self.config.groups(), &self.config.layers);
        let causal = causal_bias(groups, width, 0, None, &device);
        let windowed = layers.sliding_window().filter(|&window| window < width);
        let windowed = windowed.map(|window| causal_bias(groups, width, 0, Some(window), &device));
        let padding = padding_bias(tokens, &device);
        let mut attend = |layer: usize, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>| {
            let windowed = windowed.as_ref().filter(|_| layers.window(layer).is_some());
            let bias = windowed.unwrap_or(&causal).clone();
            let mut scores = capped(widen(q.matmul(k.swap_dims(2, 3))), cap) + bias;
            if let Some(padding) = &padding {
                scores = scores + padding.clone();
            }
            cast(softmax(scores, 3), v.dtype()).matmul(v)
        };
        let marks = self.dropout.map(|dropout| (dropout, marks(tokens)));
        let dropout = marks
            .as_ref()
            .map(|(dropout, marks)| (*dropout, marks.as_slice()));
        self.run(tokens, &rotations, dropout, &mut attend)
    }

    fn forward_cached(&self, tokens: &Tokens, cache: &mut Cache) -> Tensor<3> {
        let width = tokens.width();
        let per_token = self.config.num_attention_heads * tokens.rows() * (cache.slots() + width);
        let window = (SCORES_AT_ONCE / per_token).max(16);
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
        let mut attend =
            |layer: usize, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>| cache.attend(layer, &step, q, k, v);
        self.run(tokens, &step.rotations, None, &mut attend)
    }

    /// The layers, around whatever `attend` makes of `(layer, q, k, v)`:
    /// `[k, b, g·t, e]`, `[k, b, t, e]` twice, to `[k, b, g·t, e]`.
    fn run(
        &self,
        tokens: &Tokens,
        rotations: &[Rotation],
        dropout: Option<(Dropout, &[Mark])>,
        attend: &mut dyn FnMut(usize, Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let c = &self.config;
        let (rows, width, d) = (tokens.rows(), tokens.width(), c.hidden_size);
        let (k, g, e) = (c.num_key_value_heads, c.groups(), c.head_dim);
        let n = rows * width;
        let embedded = self.model.embed_tokens.forward(tokens.ids_bt.clone());
        let mut multiplier = c.scales.embedding_multiplier;
        if c.family().scaled_embeddings {
            // Gemma's is kept in the format of the weights.
            multiplier = rounded(multiplier, embedded.dtype());
        }
        let mut x = times(embedded.reshape([n, d]), multiplier);
        let scale = c.attention_scale();
        let turns: Vec<[Rotation; 2]> = rotations
            .iter()
            .map(|rotation| [rotation.scaled(scale).cast(x.dtype()), rotation.cast(x.dtype())])
            .collect();
        for (index, layer) in self.model.layers.iter().enumerate() {
            let (attn, norms) = (&layer.self_attn, layer.norms());
            let with = Projector {
                layer: index,
                dropout,
            };
            let normed = normalised(norms.before_attention, x.clone());
            let [queries, keys, values] = attn.project(with, normed, [k * g * e, k * e, k * e]);
            let [q_norm, k_norm] = attn.norms();
            let queries = normalised_as(q_norm, queries, [n, k * g, e]);
            let keys = normalised_as(k_norm, keys, [n, k, e]);
            let (queries, keys) = match c.rotation(index).map(|table| &turns[table]) {
                Some([scaled, turn]) => (scaled.apply(queries), turn.apply(keys)),
                None => (queries * scale, keys),
            };
            let queries = queries
                .reshape([rows, width, k, g, e])
                .permute([2, 0, 3, 1, 4])
                .reshape([k, rows, g * width, e]);
            let keys = keys.reshape([rows, width, k, e]).permute([2, 0, 1, 3]);
            let values = values.reshape([rows, width, k, e]).permute([2, 0, 1, 3]);
            let mixed = attend(index, queries, keys, values)
                .reshape([k, rows, g, width, e])
                .permute([1, 3, 0, 2, 4])
                .reshape([n, k * g * e]);
            let attended = with.project("o_proj", attn.o_proj(), mixed);
            let attended = normalised(norms.behind_attention, attended);
            x = x + times(attended, c.scales.residual_multiplier);
            let normed = normalised(norms.before_feed_forward, x.clone());
            let fed = layer.mlp.forward(with, normed, c.hidden_act);
            let fed = normalised(norms.behind_feed_forward, fed);
            x = x + times(fed, c.scales.residual_multiplier);
        }
        self.model.norm.forward(x).reshape([rows, width, d])
    }

    /// Logits of hidden states, divided and capped where the family's are; then they are in f32 at least.
    ///
    /// # Shapes
    /// `[.., d]` to `[.., v]`
    pub fn lm_head<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        let logits = match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => linear(hidden, self.model.embed_tokens.weight.val().transpose(), None),
        };
        let scales = &self.config.scales;
        let logits = match scales.logits_scaling {
            1.0 => logits,
            scaling => widen(logits) / scaling,
        };
        match scales.final_logit_softcapping {
            None => logits,
            cap => capped(widen(logits), cap),
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

/// `x`, normalised where there is a norm.
fn normalised<const D: usize>(norm: Option<&RmsNorm>, x: Tensor<D>) -> Tensor<D> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// Heads of `x`, normalised where there is a norm: as wide as a head it is for each of them, else for all together.
///
/// # Shapes
/// `[n, heads · e]` to `heads` = `[n, heads, e]`
fn normalised_as(norm: Option<&RmsNorm>, x: Tensor<2>, heads: [usize; 3]) -> Tensor<3> {
    match norm {
        Some(norm) if norm.weight.shape().dims() == [heads[2]] => norm.forward(x.reshape(heads)),
        norm => normalised(norm, x).reshape(heads),
    }
}

/// A product in f32 at least, in the format of `x` again.
fn times<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    let dtype = x.dtype();
    match factor {
        1.0 => x,
        factor => cast(widen(x) * factor, dtype),
    }
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
