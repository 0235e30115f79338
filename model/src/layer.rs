//! A layer of the decoder, and its forward pass around whatever attention there is.
//!
//! Axes: as in [`crate::llama`]; `n = b · t`.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Tensor};

use crate::attention::SelfAttention;
use crate::config::ModelConfig;
use crate::dropout::{Dropout, Mark};
use crate::dtype::{cast, widen};
use crate::feed_forward::FeedForward;
use crate::norm::RmsNorm;
use crate::projection::Projector;
use crate::rope::Rotation;

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

/// What a forward pass runs its layers with.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    config: ModelConfig,
    rows: usize,
    width: usize,
    /// By the model's tables of rotary positions: of queries, whose turn scales them, and of keys.
    turns: Vec<[Rotation; 2]>,
    /// What is left out of the inputs of adapters, and the marks of the tokens.
    dropout: Option<(Dropout, Arc<[Mark]>)>,
}

impl Frame {
    /// Of `[rows, width]` tokens at the positions of `rotations`.
    pub fn new(
        config: &ModelConfig,
        [rows, width]: [usize; 2],
        rotations: &[Rotation],
        dtype: DType,
    ) -> Self {
        let scale = config.attention_scale();
        let turns = rotations
            .iter()
            .map(|rotation| [rotation.scaled(scale).cast(dtype), rotation.cast(dtype)]);
        Self {
            config: config.clone(),
            rows,
            width,
            turns: turns.collect(),
            dropout: None,
        }
    }

    /// The same, which leaves something out of the inputs of adapters; `marks` are those of the tokens, a row after the other.
    pub fn with_dropout(self, dropout: Dropout, marks: Vec<Mark>) -> Self {
        Self {
            dropout: Some((dropout, marks.into())),
            ..self
        }
    }

    /// Layer `index`, around whatever `attend` makes of queries, keys and values: `[k, b, g·t, e]`, `[k, b, t, e]` twice, to
    /// `[k, b, g·t, e]`.
    ///
    /// # Shapes
    /// `x`: `[n, d]`, and so is the result
    pub fn run(
        &self,
        index: usize,
        layer: &Layer,
        x: Tensor<2>,
        attend: impl FnOnce(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<2> {
        let c = &self.config;
        let (rows, width) = (self.rows, self.width);
        let (k, g, e) = (c.num_key_value_heads, c.groups(), c.head_dim);
        let n = rows * width;
        let (attn, norms) = (&layer.self_attn, layer.norms());
        let dropout = self.dropout.as_ref();
        let with = Projector {
            layer: index,
            dropout: dropout.map(|(dropout, marks)| (*dropout, &marks[..])),
        };
        let normed = normalised(norms.before_attention, x.clone());
        let [queries, keys, values] = attn.project(with, normed, [k * g * e, k * e, k * e]);
        let [q_norm, k_norm] = attn.norms();
        let queries = normalised_as(q_norm, queries, [n, k * g, e]);
        let keys = normalised_as(k_norm, keys, [n, k, e]);
        let (queries, keys) = match c.rotation(index).map(|table| &self.turns[table]) {
            Some([scaled, turn]) => (scaled.apply(queries), turn.apply(keys)),
            None => (queries * c.attention_scale(), keys),
        };
        let queries = queries
            .reshape([rows, width, k, g, e])
            .permute([2, 0, 3, 1, 4])
            .reshape([k, rows, g * width, e]);
        let keys = keys.reshape([rows, width, k, e]).permute([2, 0, 1, 3]);
        let values = values.reshape([rows, width, k, e]).permute([2, 0, 1, 3]);
        let mixed = attend(queries, keys, values)
            .reshape([k, rows, g, width, e])
            .permute([1, 3, 0, 2, 4])
            .reshape([n, k * g * e]);
        let attended = normalised(
            norms.behind_attention,
            with.project("o_proj", attn.o_proj(), mixed),
        );
        let x = x + times(attended, c.scales.residual_multiplier);
        let normed = normalised(norms.before_feed_forward, x.clone());
        let fed = layer.mlp.forward(with, normed, c.hidden_act);
        let fed = normalised(norms.behind_feed_forward, fed);
        x + times(fed, c.scales.residual_multiplier)
    }
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
pub(crate) fn times<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    let dtype = x.dtype();
    match factor {
        1.0 => x,
        factor => cast(widen(x) * factor, dtype),
    }
}
