//! A model's weights, laid out for this processor.

use std::sync::Mutex;

use burn::nn::Linear;
use burn::tensor::Device;

use super::product::{Matrix, PANEL};
use super::scratch::Scratch;
use super::segment::BlockShape;
use crate::config::ModelConfig;
use crate::device::processor_f32 as host;
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
    /// Lays out the weights of a model without autodiff; none where they are not f32 on the processor's
    /// backend, or layers have experts.
    pub fn new(model: &Llama) -> Option<Self> {
        let config = model.config();
        let d = config.hidden_size;
        if config.experts.is_some() {
            return None;
        }
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
            Some(head) => Dense::new(d, vec![Part::of(head)?]).matrix,
            None => {
                let transposed = model.model.embed_tokens.weight.val().transpose();
                Matrix::new(d, &[(config.vocab_size, &host(transposed)?)])
            }
        };
        Some(Self {
            tables: tables(config),
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
        let (d, f) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        );
        let (attn, norms) = (&layer.self_attn, layer.norms());
        let qkv = match attn {
            SelfAttention::Split(split) => {
                let parts = [&split.q_proj, &split.k_proj, &split.v_proj].map(Part::of);
                parts.into_iter().collect::<Option<_>>()?
            }
            SelfAttention::Fused(fused) => Part::of(&fused.qkv_proj)?.split(&[q, kv, kv]),
        };
        let (gate_up, down) = match &layer.mlp {
            FeedForward::Split(mlp) => (
                vec![Part::of(&mlp.gate_proj)?, Part::of(&mlp.up_proj)?],
                &mlp.down_proj,
            ),
            FeedForward::Fused(mlp) => (Part::of(&mlp.gate_up_proj)?.split(&[f, f]), &mlp.down_proj),
            // There is no fused way for experts yet.
            FeedForward::Sparse(_) => return None,
        };
        let maybe = |of: Option<&RmsNorm>| match of {
            Some(of) => norm(of).map(Some),
            None => Some(None),
        };
        let [q_norm, k_norm] = attn.norms();
        Some(Self {
            before_attention: maybe(norms.before_attention)?,
            qkv: Dense::new(d, qkv),
            q_norm: maybe(q_norm)?,
            k_norm: maybe(k_norm)?,
            output: Branch {
                dense: Dense::new(q, vec![Part::of(attn.o_proj())?]),
                norm: maybe(norms.behind_attention)?,
            },
            before_feed_forward: maybe(norms.before_feed_forward)?,
            gate_up: Dense::new(d, gate_up),
            down: Branch {
                dense: Dense::new(f, vec![Part::of(down)?]),
                norm: maybe(norms.behind_feed_forward)?,
            },
        })
    }
}

/// Columns of a product: `[k, n]`, row by row, and their biases.
struct Part {
    n: usize,
    values: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Part {
    fn of(linear: &Linear) -> Option<Self> {
        // With its adapter, where it has one.
        let weight = linear.weight.val();
        Some(Self {
            n: weight.dims()[1],
            values: host(weight)?,
            bias: match &linear.bias {
                Some(bias) => Some(host(bias.val())?),
                None => None,
            },
        })
    }

    /// Its columns in parts of these widths.
    fn split(&self, widths: &[usize]) -> Vec<Self> {
        let mut from = 0;
        let part = |&width: &usize| {
            let columns = from..from + width;
            from += width;
            Self {
                n: width,
                values: self
                    .values
                    .chunks_exact(self.n)
                    .flat_map(|row| &row[columns.clone()])
                    .copied()
                    .collect(),
                bias: self.bias.as_ref().map(|bias| bias[columns.clone()].to_vec()),
            }
        };
        widths.iter().map(part).collect()
    }
}

impl Dense {
    fn new(k: usize, parts: Vec<Part>) -> Self {
        let views: Vec<(usize, &[f32])> = parts
            .iter()
            .map(|part| (part.n, part.values.as_slice()))
            .collect();
        let matrix = Matrix::new(k, &views);
        let mut bias = Vec::new();
        for part in &parts {
            bias.extend_from_slice(part.bias.as_deref().unwrap_or(&[]));
            bias.resize(bias.len().next_multiple_of(PANEL), 0.0);
            if part.bias.is_none() {
                bias.resize(bias.len() + part.n.next_multiple_of(PANEL), 0.0);
            }
        }
        Self {
            matrix,
            bias: parts.iter().any(|part| part.bias.is_some()).then_some(bias),
        }
    }
}

fn norm(norm: &RmsNorm) -> Option<Vec<f32>> {
    let mut weight = host(norm.weight.val())?;
    if norm.offset() != 0.0 {
        weight.iter_mut().for_each(|weight| *weight += norm.offset());
    }
    Some(weight)
}
