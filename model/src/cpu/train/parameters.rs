//! The parameters of a model as they are: the numbers are read where they lie, and gradients go where burn's autodiff looks for them.

use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::adapter;
use crate::config::ModelConfig;
use crate::cpu::buffer::Buffer;
use crate::cpu::{Primitive, in_f32};
use crate::device::Processor;
use crate::dropout::{Dropout, Mask};
use crate::llama::{FeedForward, Layer, Llama, RmsNorm, SelfAttention};

/// A parameter's numbers in f32, and the node that its gradient is asked for by.
#[derive(Debug)]
pub(super) struct Values {
    primitive: Primitive,
    node: Option<NodeId>,
}

impl Values {
    /// None where the tensor is not f32 on the processor's backend.
    fn new<const D: usize>(param: &Param<Tensor<D>>) -> Option<Self> {
        Self::of(param.val())
    }

    fn of<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        let node = match tensor.is_require_grad() {
            true => Some(
                tensor
                    .clone()
                    .try_into_primitive::<Autodiff<Processor>>()
                    .ok()?
                    .id(),
            ),
            false => None,
        };
        let primitive = in_f32(tensor.without_autodiff())?;
        Some(Self { primitive, node })
    }

    /// Row by row.
    pub fn get(&self) -> &[f32] {
        self.primitive.as_slice().expect("made contiguous")
    }

    /// Whether a gradient is wanted.
    pub fn is_trained(&self) -> bool {
        self.node.is_some()
    }
}

/// Gradients by the nodes of their parameters.
#[derive(Default)]
pub(super) struct Found(pub Vec<(NodeId, Primitive)>);

impl Found {
    /// Keeps what `make` makes, if it is wanted.
    pub fn put(&mut self, of: &Values, make: impl FnOnce() -> Buffer) {
        let Some(node) = of.node else { return };
        let gradient = make().into_primitive(of.primitive.layout().shape().clone());
        self.0.push((node, gradient));
    }
}

/// The factors of an adapter.
#[derive(Debug)]
pub(super) struct Adapter {
    /// `[in, r]`
    pub a: Values,
    /// `[r, out]`
    pub b: Values,
    pub r: usize,
    pub scale: f32,
    /// What is left out of what goes in.
    pub mask: Option<Mask>,
}

/// A linear layer with its adapter.
#[derive(Debug)]
pub(super) struct Projection {
    /// `[in, out]`
    pub weight: Values,
    pub bias: Option<Values>,
    pub adapter: Option<Adapter>,
    pub out: usize,
}

impl Projection {
    fn new(linear: &Linear, mask: Option<Mask>) -> Option<Self> {
        let adapter = match adapter::adapter(linear) {
            None => None,
            // There is no fused way for DoRA.
            Some(adapter) if adapter.magnitude.is_some() => return None,
            Some(adapter) => Some(Adapter {
                a: Values::new(&adapter.a)?,
                b: Values::new(&adapter.b)?,
                r: adapter.a.dims()[1],
                scale: adapter.scale as f32,
                mask,
            }),
        };
        Some(Self {
            weight: Values::of(linear.weight.base())?,
            bias: optional(&linear.bias)?,
            adapter,
            out: linear.weight.shape().dims::<2>()[1],
        })
    }

    fn is_trained(&self) -> bool {
        let adapter = self.adapter.iter().flat_map(|adapter| [&adapter.a, &adapter.b]);
        adapter
            .chain(&self.bias)
            .chain([&self.weight])
            .any(Values::is_trained)
    }
}

/// A layer.
#[derive(Debug)]
pub(super) struct LayerParameters {
    pub attention_norm: Values,
    /// Queries, keys, values.
    pub qkv: [Projection; 3],
    pub q_norm: Option<Values>,
    pub k_norm: Option<Values>,
    pub output: Projection,
    pub mlp_norm: Values,
    pub gate: Projection,
    pub up: Projection,
    pub down: Projection,
}

impl LayerParameters {
    fn new(layer: &Layer, number: usize, dropout: Option<Dropout>) -> Option<Self> {
        let (SelfAttention::Split(attn), FeedForward::Split(mlp)) = (&layer.self_attn, &layer.mlp) else {
            return None;
        };
        let head_norm = |norm: &Option<RmsNorm>| optional(&norm.as_ref().map(|norm| norm.weight.clone()));
        let projection = |name: &str, linear: &Linear| {
            Projection::new(linear, dropout.map(|dropout| dropout.of(number, name)))
        };
        Some(Self {
            attention_norm: Values::new(&layer.input_layernorm.as_ref()?.weight)?,
            qkv: [
                projection("q_proj", &attn.q_proj)?,
                projection("k_proj", &attn.k_proj)?,
                projection("v_proj", &attn.v_proj)?,
            ],
            q_norm: head_norm(&attn.q_norm)?,
            k_norm: head_norm(&attn.k_norm)?,
            output: projection("o_proj", &attn.o_proj)?,
            mlp_norm: Values::new(&layer.post_attention_layernorm.weight)?,
            gate: projection("gate_proj", &mlp.gate_proj)?,
            up: projection("up_proj", &mlp.up_proj)?,
            down: projection("down_proj", &mlp.down_proj)?,
        })
    }

    /// Whether queries or keys are normalised head by head.
    pub fn has_head_norms(&self) -> bool {
        self.q_norm.is_some() || self.k_norm.is_some()
    }

    /// Whether a gradient of anything here is wanted.
    pub fn is_trained(&self) -> bool {
        let projections = self
            .qkv
            .iter()
            .chain([&self.output, &self.gate, &self.up, &self.down]);
        let norms = [&self.attention_norm, &self.mlp_norm].into_iter();
        norms
            .chain(&self.q_norm)
            .chain(&self.k_norm)
            .any(Values::is_trained)
            || projections.into_iter().any(Projection::is_trained)
    }
}

/// All of a model.
#[derive(Debug)]
pub(super) struct Parameters {
    pub config: ModelConfig,
    /// `[v, d]`
    pub embedding: Values,
    pub layers: Vec<LayerParameters>,
    pub norm: Values,
    /// `[d, v]`; none where it is the embedding.
    pub head: Option<Values>,
}

impl Parameters {
    /// None where the parameters are not f32 on the processor's backend, or the model has parts that Llama has not.
    pub fn new(model: &Llama) -> Option<Self> {
        if !model.config().is_plain_llama() {
            return None;
        }
        let decoder = &model.model;
        let layers = decoder.layers.iter().enumerate();
        let layers: Option<Vec<_>> = layers
            .map(|(number, layer)| LayerParameters::new(layer, number, model.dropout()))
            .collect();
        Some(Self {
            config: model.config().clone(),
            embedding: Values::new(&decoder.embed_tokens.weight)?,
            layers: layers?,
            norm: Values::new(&decoder.norm.weight)?,
            head: optional(&model.lm_head.as_ref().map(|head| head.weight.clone()))?,
        })
    }
}

fn optional<const D: usize>(param: &Option<Param<Tensor<D>>>) -> Option<Option<Values>> {
    match param {
        None => Some(None),
        Some(param) => Values::new(param).map(Some),
    }
}

/// A parameter of a model that carries gradients, to hang an operation on.
pub(super) fn a_trained_node(model: &Llama) -> Option<NodeGuard> {
    use burn::module::{Module as _, ModuleVisitor};
    #[derive(Default)]
    struct First(Option<NodeGuard>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            if self.0.is_none() && value.is_require_grad() {
                let primitive = value.try_into_primitive::<Autodiff<Processor>>();
                self.0 = primitive.ok().map(|primitive| primitive.node());
            }
        }
    }
    let mut first = First::default();
    model.visit(&mut first);
    first.0
}
