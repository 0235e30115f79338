//! The decoder on the processor, fused: what [`crate::inference::Inference`] runs where the parameters are f32 on burn's
//! CPU backend.
//!
//! burn's operations each make a tensor, read it again in the next, and share every one of them out among the threads;
//! with the few rows of a decoding step that costs more than the arithmetic. Here a task takes some tokens through all
//! layers by itself: weights are laid out once for the registers ([`product`]), keys and values once for the attention
//! ([`segment`]), and what stands between stays in the cache of one core. The plain tensor operations of
//! [`crate::llama`] and [`crate::cache`] remain: every other device runs them, and they are this module's test.
//!
//! A token's numbers depend on its context alone, to the last bit: not on the rows beside it, not on how its context is
//! cut into segments, not on the number of threads.

mod attention;
mod forward;
pub mod math;
mod product;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use burn::backend::Flex;
use burn::nn::Linear;
use burn::tensor::{DType, Tensor};

use crate::config::ModelConfig;
use crate::inference::Source;
use crate::llama::{Layer, Llama, RmsNorm};
use crate::rope::inverse_frequencies;
use forward::Scratch;
use product::Matrix;
use segment::{BlockShape, Segment};

/// A model's weights, laid out for this processor.
#[derive(Debug)]
pub struct Weights {
    config: ModelConfig,
    frequencies: Vec<f64>,
    block: BlockShape,
    /// `[v, d]`
    embedding: Vec<f32>,
    layers: Vec<LayerWeights>,
    norm: Vec<f32>,
    /// `[d, v]`
    head: Matrix,
    /// Buffers that no task is using.
    scratch: Mutex<Vec<Scratch>>,
}

/// A product with a bias.
#[derive(Debug)]
struct Dense {
    matrix: Matrix,
    /// `[columns]`, where there is one.
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
struct LayerWeights {
    attention_norm: Vec<f32>,
    /// Queries, keys and values side by side.
    qkv: Dense,
    q_norm: Option<Vec<f32>>,
    k_norm: Option<Vec<f32>>,
    output: Dense,
    mlp_norm: Vec<f32>,
    /// Gates and ups side by side.
    gate_up: Dense,
    down: Dense,
}

/// Keys and values of the rows of a batch: for each a chain of frozen segments, shared with whoever continues them, and
/// one of its own.
#[derive(Debug, Clone)]
pub struct Cache {
    rows: Vec<Row>,
    block: BlockShape,
}

#[derive(Debug, Clone, Default)]
struct Row {
    chain: Vec<Arc<Segment>>,
    own: Arc<Segment>,
    /// Tokens seen, over the whole chain.
    length: usize,
}

impl Weights {
    /// Lays out a model's weights; none where they are not f32 on burn's CPU backend.
    pub fn new(model: &Llama) -> Option<Self> {
        let config = model.config();
        let d = config.hidden_size;
        let embedding = host(model.model.embed_tokens.weight.val())?;
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
            config: config.clone(),
        })
    }

    /// Bytes of the layers' products: what a forward of one token reads.
    fn bytes(&self) -> usize {
        let layer = |layer: &LayerWeights| {
            [&layer.qkv, &layer.output, &layer.gate_up, &layer.down]
                .map(|dense| dense.matrix.bytes())
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(layer).sum()
    }

    /// Bytes that a row holds of its own for `tokens` tokens, at most.
    pub fn row_bytes(&self, tokens: usize) -> usize {
        // A row that parts from another leaves a block behind that is not full.
        (tokens.div_ceil(product::PANEL) + 1) * self.block.bytes()
    }

    /// An empty cache for `rows` rows.
    pub fn cache(&self, rows: usize) -> Cache {
        Cache {
            rows: vec![Row::default(); rows],
            block: self.block,
        }
    }
}

impl LayerWeights {
    fn new(layer: &Layer, config: &ModelConfig) -> Option<Self> {
        let (d, attn, mlp) = (config.hidden_size, &layer.self_attn, &layer.mlp);
        let head_norm = |of: &Option<RmsNorm>| match of {
            Some(of) => norm(of).map(Some),
            None => Some(None),
        };
        Some(Self {
            attention_norm: norm(&layer.input_layernorm)?,
            qkv: Dense::new(d, &[&attn.q_proj, &attn.k_proj, &attn.v_proj])?,
            q_norm: head_norm(&attn.q_norm)?,
            k_norm: head_norm(&attn.k_norm)?,
            output: Dense::new(config.num_attention_heads * config.head_dim, &[&attn.o_proj])?,
            mlp_norm: norm(&layer.post_attention_layernorm)?,
            gate_up: Dense::new(d, &[&mlp.gate_proj, &mlp.up_proj])?,
            down: Dense::new(config.intermediate_size, &[&mlp.down_proj])?,
        })
    }
}

impl Dense {
    fn new(k: usize, parts: &[&Linear]) -> Option<Self> {
        let weights: Option<Vec<_>> = parts
            .iter()
            .map(|part| Some((part.weight.val().dims()[1], host(part.weight.val())?)))
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
                bias.resize(bias.len().next_multiple_of(product::PANEL), 0.0);
            } else {
                bias.resize(bias.len() + n.next_multiple_of(product::PANEL), 0.0);
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

/// The numbers of an f32 tensor on burn's CPU backend, row by row.
fn host<const D: usize>(tensor: Tensor<D>) -> Option<Vec<f32>> {
    let primitive = tensor.without_autodiff().try_into_primitive::<Flex>().ok()?;
    if primitive.dtype() != DType::F32 {
        return None;
    }
    primitive.into_data().try_into_vec().ok()
}

impl Cache {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Tokens that each row has seen.
    pub fn lengths(&self) -> Vec<usize> {
        self.rows.iter().map(|row| row.length).collect()
    }

    /// New rows that each continue one of these, nothing of their own yet.
    pub fn fork(&self, parents: &[usize]) -> Cache {
        Cache {
            rows: parents.iter().map(|&parent| self.rows[parent].fork()).collect(),
            block: self.block,
        }
    }

    /// A batch with one row for each source; see [`crate::inference::KvCache::seated`].
    pub fn seated(old: Option<Cache>, trunk: &Cache, sources: &[Source]) -> Cache {
        let mut old = old.map_or_else(Vec::new, |old| old.rows);
        let mut uses = vec![0; old.len()];
        for source in sources {
            if let Source::Row(row) = source {
                uses[*row] += 1;
            }
        }
        let rows = sources
            .iter()
            .map(|&source| match source {
                // Moved, it stays the only one that may write to its own segment.
                Source::Row(row) if uses[row] == 1 => std::mem::take(&mut old[row]),
                Source::Row(row) => old[row].fork(),
                Source::Trunk(row) => trunk.rows[row].fork(),
            })
            .collect();
        Cache {
            rows,
            block: trunk.block,
        }
    }

    /// Bytes of keys and values held; what rows share counts once.
    pub fn bytes(&self) -> usize {
        bytes(self.rows.iter())
    }

    /// Bytes that this and another cache hold together.
    pub fn bytes_with(&self, other: &Cache) -> usize {
        bytes(self.rows.iter().chain(&other.rows))
    }
}

fn bytes<'a>(rows: impl Iterator<Item = &'a Row>) -> usize {
    let mut seen = HashSet::new();
    rows.flat_map(|row| row.chain.iter().chain([&row.own]))
        .filter(|segment| seen.insert(Arc::as_ptr(segment)))
        .map(|segment| segment.bytes())
        .sum()
}

impl Row {
    fn fork(&self) -> Row {
        let mut chain = self.chain.clone();
        if self.own.len() > 0 {
            chain.push(self.own.clone());
        }
        Row {
            chain,
            own: Arc::default(),
            length: self.length,
        }
    }
}
