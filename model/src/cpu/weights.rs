//! A model's weights, laid out for this processor.

use std::sync::Mutex;

use burn::nn::Linear;
use burn::tensor::Device;

use super::product::{Matrix, PANEL};
use super::scratch::Scratch;
use super::segment::BlockShape;
use crate::config::ModelConfig;
use crate::device::processor_f32 as host;
use crate::llama::{Layer, Llama, RmsNorm};
use crate::rope::inverse_frequencies;

/// A model's weights, laid out for this processor.
#[derive(Debug)]
pub(super) struct Weights {
    pub config: ModelConfig,
    pub device: Device,
    pub frequencies: Vec<f64>,
    pub block: BlockShape,
    /// `[v, d]`, multiplied by what embeddings are.
    pub embedding: Vec<f32>,
    pub layers: Vec<LayerWeights>,
    pub norm: Vec<f32>,
    /// `[d, v]`
    pub head: Matrix,
    /// Buffers that no task is using.
    pub scratch: Mutex<Vec<Scratch>>,
}

/// A product with a bias.
#[derive(Debug)]
pub(super) struct Dense {
    pub matrix: Matrix,
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
    /// Lays out the weights of a model without autodiff; none where they are not f32 on the processor's backend.
    pub fn new(model: &Llama) -> Option<Self> {
        let config = model.config();
        let d = config.hidden_size;
        let mut embedding = host(model.model.embed_tokens.weight.val())?;
        let multiplier = config.scales.embedding_multiplier as f32;
        if multiplier != 1.0 {
            embedding.iter_mut().for_each(|x| *x *= multiplier);
        }
        let layers: Option<Vec<_>> = model
            .model
            .layers
            .iter()
            .map(|layer| LayerWeights::new(layer, config))
            .collect();
        let head = match &model.lm_head {
            Some(head) => Dense::new(d, &[head])?.matrix,
            None => {
                let transposed = model.model.embed_tokens.weight.val().transpose();
                Matrix::new(d, &[(config.vocab_size, &host(transposed)?)])
            }
        };
        Some(Self {
            frequencies: inverse_frequencies(config),
            block: BlockShape::new(config),
            embedding,
            layers: layers?,
            norm: norm(&model.model.norm)?,
            head,
            scratch: Mutex::default(),
            device: model.device(),
            config: config.clone(),
        })
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

impl LayerWeights {
    fn new(layer: &Layer, config: &ModelConfig) -> Option<Self> {
        let (d, attn, mlp) = (config.hidden_size, &layer.self_attn, &layer.mlp);
        let norms = layer.norms();
        let maybe = |of: Option<&RmsNorm>| match of {
            Some(of) => norm(of).map(Some),
            None => Some(None),
        };
        Some(Self {
            before_attention: maybe(norms.before_attention)?,
            qkv: Dense::new(d, &[&attn.q_proj, &attn.k_proj, &attn.v_proj])?,
            q_norm: maybe(attn.q_norm.as_ref())?,
            k_norm: maybe(attn.k_norm.as_ref())?,
            output: Branch {
                dense: Dense::new(config.num_attention_heads * config.head_dim, &[&attn.o_proj])?,
                norm: maybe(norms.behind_attention)?,
            },
            before_feed_forward: maybe(norms.before_feed_forward)?,
            gate_up: Dense::new(d, &[&mlp.gate_proj, &mlp.up_proj])?,
            down: Branch {
                dense: Dense::new(config.intermediate_size, &[&mlp.down_proj])?,
                norm: maybe(norms.behind_feed_forward)?,
            },
        })
    }
}

impl Dense {
    fn new(k: usize, parts: &[&Linear]) -> Option<Self> {
        let weights: Option<Vec<_>> = parts
            .iter()
            .map(|part| {
                // With its adapter, where it has one.
                let weight = part.weight.val();
                Some((weight.dims()[1], host(weight)?))
            })
            .collect();
        let weights = weights?;
        let views: Vec<(usize, &[f32])> = weights
            .iter()
            .map(|(n, values)| (*n, values.as_slice()))
            .collect();
        let mut bias = Vec::new();
        for (part, (n, _)) in parts.iter().zip(&weights) {
            if let Some(values) = &part.bias {
                bias.extend(host(values.val())?);
                bias.resize(bias.len().next_multiple_of(PANEL), 0.0);
            } else {
                bias.resize(bias.len() + n.next_multiple_of(PANEL), 0.0);
            }
        }
        Some(Self {
            matrix: Matrix::new(k, &views),
            bias: parts.iter().any(|part| part.bias.is_some()).then_some(bias),
        })
    }
}

fn norm(norm: &RmsNorm) -> Option<Vec<f32>> {
    host(norm.weight.val())
}
