//! A model's weights, laid out for this processor.

use std::sync::Mutex;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

use super::buffer;
use super::product::PANEL;
use super::scratch::Scratch;
use super::segment::BlockShape;
use super::weight::{Numbers, Weight};
use crate::config::ModelConfig;
use crate::llama::{FeedForward, Layer, Llama, RmsNorm, SelfAttention};
use crate::rope::tables;

/// A model's weights, laid out for this processor.
#[derive(Debug)]
pub(super) struct Weights {
    pub config: ModelConfig,
    pub device: Device,
    /// Rotary frequencies and what cosines and sines are multiplied by, of each of the model's tables.
    pub tables: Vec<(Vec<f64>, f64)>,
    pub block: BlockShape,
    /// `[v, d]`; none where it is the head.
    embedding: Option<Numbers>,
    pub layers: Vec<LayerWeights>,
    pub norm: Vec<f32>,
    /// `[d, v]`
    pub head: Weight,
    /// Buffers that no task is using.
    pub scratch: Mutex<Vec<Scratch>>,
}

/// A product with a bias.
#[derive(Debug)]
pub(super) struct Dense {
    pub matrix: Weight,
    /// `[columns]`, where there is one.
    pub bias: Option<Vec<f32>>,
}

/// A product that is added to the states.
#[derive(Debug)]
pub(super) struct Branch {
    pub dense: Dense,
    /// The norm between, where there is one.
    pub norm: Option<Vec<f32>>,
}

#[derive(Debug)]
pub(super) struct LayerWeights {
    /// The norm before attention, where there is one.
    pub before_attention: Option<Vec<f32>>,
    /// Queries, keys and values side by side.
    pub qkv: Dense,
    pub q_norm: Option<Vec<f32>>,
    pub k_norm: Option<Vec<f32>>,
    pub output: Branch,
    /// The norm before the feed-forward, where there is one.
    pub before_feed_forward: Option<Vec<f32>>,
    /// Gates and ups side by side.
    pub gate_up: Dense,
    pub down: Branch,
}

impl Weights {
    /// Lays out the weights of a model without autodiff, giving up each as soon as it is; the model where they are neither f32
    /// nor bfloat16 on the processor's backend, or layers have experts. Projections with an adapter are merged, in f32.
    pub fn new(model: Llama) -> Result<Self, Box<Llama>> {
        // All parameters are of one kind, on one device.
        if Numbers::of(model.model.norm.weight.val()).is_none() || !runs(model.config()) {
            return Err(Box::new(model));
        }
        buffer::give_back_but(buffer::KEPT_WHILE_SAMPLING);
        let (config, device) = (model.config().clone(), model.device());
        let d = config.hidden_size;
        let (decoder, head) = (model.model, model.lm_head);
        let norm = norm(&decoder.norm);
        let layers = decoder.layers.into_iter();
        let layers = layers.map(|layer| LayerWeights::new(layer, &config)).collect();
        let embedding = taken(decoder.embed_tokens.weight);
        let (embedding, head) = match head {
            Some(head) => (Some(embedding), Dense::new(d, vec![Part::of(head)]).matrix),
            None => (None, embedding.transposed(d)),
        };
        Ok(Self {
            tables: tables(&config),
            block: BlockShape::new(&config),
            head,
            embedding,
            layers,
            norm,
            scratch: Mutex::default(),
            device,
            config,
        })
    }

    /// Appends a token's embedding, multiplied by what embeddings are, to `out`.
    pub fn embed(&self, token: usize, out: &mut Vec<f32>) {
        let (d, factor) = (
            self.config.hidden_size,
            self.config.scales.embedding_multiplier as f32,
        );
        match &self.embedding {
            Some(embedding) => embedding.append(token * d..(token + 1) * d, factor, out),
            None => self.head.append_column(token, factor, out),
        }
    }

    /// Bytes of the layers' products: what a forward of one token reads.
    pub fn bytes(&self) -> usize {
        let layer = |layer: &LayerWeights| {
            [&layer.qkv, &layer.output.dense, &layer.gate_up, &layer.down.dense]
                .map(|dense| dense.matrix.bytes())
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(layer).sum()
    }
}

/// Whether [`Weights::new`] knows such a model, in the formats that it takes.
pub(crate) fn runs(config: &ModelConfig) -> bool {
    config.experts.is_none()
}

impl LayerWeights {
    fn new(layer: Layer, config: &ModelConfig) -> Self {
        let (d, f) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        );
        let norms = layer.norms();
        let [
            before_attention,
            behind_attention,
            before_feed_forward,
            behind_feed_forward,
        ] = [
            norms.before_attention,
            norms.behind_attention,
            norms.before_feed_forward,
            norms.behind_feed_forward,
        ]
        .map(|of| of.map(norm));
        let [q_norm, k_norm] = layer.self_attn.norms().map(|of| of.map(norm));
        let (qkv, output) = match layer.self_attn {
            SelfAttention::Split(split) => (
                [split.q_proj, split.k_proj, split.v_proj].map(Part::of).into(),
                split.o_proj,
            ),
            SelfAttention::Fused(fused) => (Part::of(fused.qkv_proj).split(&[q, kv, kv]), fused.o_proj),
        };
        let (gate_up, down) = match layer.mlp {
            FeedForward::Split(mlp) => ([mlp.gate_proj, mlp.up_proj].map(Part::of).into(), mlp.down_proj),
            FeedForward::Fused(mlp) => (Part::of(mlp.gate_up_proj).split(&[f, f]), mlp.down_proj),
            FeedForward::Sparse(_) => unreachable!("there is no fused way for experts yet"),
        };
        Self {
            before_attention,
            qkv: Dense::new(d, qkv),
            q_norm,
            k_norm,
            output: Branch {
                dense: Dense::new(q, vec![Part::of(output)]),
                norm: behind_attention,
            },
            before_feed_forward,
            gate_up: Dense::new(d, gate_up),
            down: Branch {
                dense: Dense::new(f, vec![Part::of(down)]),
                norm: behind_feed_forward,
            },
        }
    }
}

/// Columns of a product: `[k, n]`, row by row, and their biases.
struct Part {
    n: usize,
    values: Numbers,
    bias: Option<Vec<f32>>,
}

impl Part {
    fn of(linear: Linear) -> Self {
        Self {
            n: linear.weight.shape()[1],
            bias: linear.bias.map(|bias| taken(bias).widened()),
            values: taken(linear.weight),
        }
    }

    /// Its columns in parts of these widths.
    fn split(self, widths: &[usize]) -> Vec<Self> {
        let mut from = 0;
        let part = |&width: &usize| {
            let columns = from..from + width;
            from += width;
            Self {
                n: width,
                values: self.values.columns(self.n, columns.clone()),
                bias: self.bias.as_ref().map(|bias| bias[columns.clone()].to_vec()),
            }
        };
        widths.iter().map(part).collect()
    }
}

impl Dense {
    fn new(k: usize, parts: Vec<Part>) -> Self {
        let mut bias = Vec::new();
        for part in &parts {
            match &part.bias {
                Some(values) => bias.extend_from_slice(values),
                None => bias.resize(bias.len() + part.n, 0.0),
            }
            bias.resize(bias.len().next_multiple_of(PANEL), 0.0);
        }
        let has_bias = parts.iter().any(|part| part.bias.is_some());
        let parts = parts.into_iter().map(|part| (part.n, part.values));
        Self {
            matrix: Weight::new(k, parts.collect()),
            bias: has_bias.then_some(bias),
        }
    }
}

fn norm(norm: &RmsNorm) -> Vec<f32> {
    let mut weight = of_processor(norm.weight.val()).widened();
    if norm.offset() != 0.0 {
        weight.iter_mut().for_each(|weight| *weight += norm.offset());
    }
    weight
}

/// A parameter's numbers, and the parameter no more.
fn taken<const D: usize>(param: Param<Tensor<D>>) -> Numbers {
    // With its adapter, where it has one.
    let values = param.val();
    drop(param);
    of_processor(values)
}

fn of_processor<const D: usize>(values: Tensor<D>) -> Numbers {
    Numbers::of(values).expect("all parameters are f32 or bfloat16 on the processor's backend")
}
