//! A model's weights, laid out for this processor.

use std::sync::Mutex;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

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
    /// `[v, d]`
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

#[derive(Debug)]
pub(super) struct LayerWeights {
    pub attention_norm: Vec<f32>,
    /// Queries, keys and values side by side.
    pub qkv: Dense,
    pub q_norm: Option<Vec<f32>>,
    pub k_norm: Option<Vec<f32>>,
    pub output: Dense,
    pub mlp_norm: Vec<f32>,
    /// Gates and ups side by side.
    pub gate_up: Dense,
    pub down: Dense,
}

impl Weights {
    /// Lays out the weights of a model without autodiff, giving up each as soon as it is; the model where they are not f32 on the
    /// processor's backend.
    pub fn new(model: Llama) -> Result<Self, Box<Llama>> {
        // All parameters are of one kind, on one device.
        if host(model.model.norm.weight.val()).is_none() {
            return Err(Box::new(model));
        }
        let (config, device) = (model.config().clone(), model.device());
        let d = config.hidden_size;
        let (decoder, head) = (model.model, model.lm_head);
        let norm = norm(decoder.norm);
        let layers = decoder.layers.into_iter();
        let layers = layers.map(|layer| LayerWeights::new(layer, &config)).collect();
        let head = head.map(|head| Dense::new(d, vec![head]).matrix);
        let embedding = taken(decoder.embed_tokens.weight);
        Ok(Self {
            frequencies: inverse_frequencies(&config),
            block: BlockShape::new(&config),
            head: head.unwrap_or_else(|| Matrix::transposed(d, &embedding)),
            embedding,
            layers,
            norm,
            scratch: Mutex::default(),
            device,
            config,
        })
    }

    /// Bytes of the layers' products: what a forward of one token reads.
    pub fn bytes(&self) -> usize {
        let layer = |layer: &LayerWeights| {
            [&layer.qkv, &layer.output, &layer.gate_up, &layer.down]
                .map(|dense| dense.matrix.bytes())
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(layer).sum()
    }
}

impl LayerWeights {
    fn new(layer: Layer, config: &ModelConfig) -> Self {
        let (d, attn, mlp) = (config.hidden_size, layer.self_attn, layer.mlp);
        Self {
            attention_norm: norm(layer.input_layernorm),
            qkv: Dense::new(d, vec![attn.q_proj, attn.k_proj, attn.v_proj]),
            q_norm: attn.q_norm.map(norm),
            k_norm: attn.k_norm.map(norm),
            output: Dense::new(config.num_attention_heads * config.head_dim, vec![attn.o_proj]),
            mlp_norm: norm(layer.post_attention_layernorm),
            gate_up: Dense::new(d, vec![mlp.gate_proj, mlp.up_proj]),
            down: Dense::new(config.intermediate_size, vec![mlp.down_proj]),
        }
    }
}

impl Dense {
    fn new(k: usize, parts: Vec<Linear>) -> Self {
        let has_bias = parts.iter().any(|part| part.bias.is_some());
        let mut bias = Vec::new();
        let weights: Vec<(usize, Vec<f32>)> = parts
            .into_iter()
            .map(|part| {
                let n = part.weight.shape()[1];
                match part.bias {
                    Some(values) => bias.extend(taken(values)),
                    None => bias.resize(bias.len() + n, 0.0),
                }
                bias.resize(bias.len().next_multiple_of(PANEL), 0.0);
                (n, taken(part.weight))
            })
            .collect();
        let views: Vec<(usize, &[f32])> = weights
            .iter()
            .map(|(n, values)| (*n, values.as_slice()))
            .collect();
        Self {
            matrix: Matrix::new(k, &views),
            bias: has_bias.then_some(bias),
        }
    }
}

fn norm(norm: RmsNorm) -> Vec<f32> {
    taken(norm.weight)
}

/// A parameter's numbers, and the parameter no more.
fn taken<const D: usize>(param: Param<Tensor<D>>) -> Vec<f32> {
    // With its adapter, where it has one.
    let values = param.val();
    drop(param);
    host(values).expect("all parameters are f32 on the processor's backend")
}
