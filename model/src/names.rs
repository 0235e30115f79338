//! Parameters by name, which is the one identity that they have: in checkpoints, in the optimiser's state, in messages.
//!
//! The fields of [`Llama`](crate::llama::Llama) are named as Hugging Face's checkpoints name them, so a walk through the
//! module spells the names; everything that needs them walks with [`visit`] or [`map`]. burn's `ParamId`s are drawn at
//! random: they tell the parameters of one process apart, and nothing that is written down may depend on them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

/// What a walk calls an adapter ([`crate::adapter`]) that is attached to a parameter.
pub const ADAPTER: &str = "lora";

/// What is done with every parameter of a module.
pub trait Visit {
    /// Looks at the parameter `at` this place.
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>);
}

/// What every parameter of a module becomes.
pub trait Map {
    /// The new parameter `at` this place.
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

/// Shows `visitor` every parameter, in the order of the fields.
pub fn visit<M: Module>(module: &M, visitor: &mut impl Visit) {
    let at = ParamPath::default();
    module.visit(&mut Walk { at, act: visitor });
}

/// The module with every parameter replaced, in the order of the fields.
pub fn map<M: Module>(module: M, mapper: &mut impl Map) -> M {
    let at = ParamPath::default();
    module.map(&mut Walk { at, act: mapper })
}

/// The parameter with the value that `new` makes of its own, without gradients. It keeps its id, and goes back into the
/// autodiff context that it came from.
pub fn with_value<const D: usize>(
    param: Param<Tensor<D>>,
    new: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    let (id, tensor, mapper) = param.consume();
    let requires_grad = tensor.is_require_grad();
    let checkpointing = tensor.gradient_checkpointing_strategy();
    let mut tensor = new(tensor.inner());
    if let Some(strategy) = checkpointing {
        tensor = tensor.autodiff().with_gradient_checkpointing_strategy(strategy);
    }
    if requires_grad {
        tensor = tensor.require_grad();
    }
    Param::from_mapped_value(id, tensor, mapper)
}

/// A parameter, its numbers apart.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its shape in the module.
    pub shape: Vec<usize>,
    /// Its shape in a checkpoint.
    pub checkpoint_shape: Vec<usize>,
    /// Where it is, without autodiff.
    pub device: Device,
}

/// Every parameter of a module, in the order of the fields. None is made that was not looked at yet.
pub fn parameters<M: Module>(module: &M) -> Vec<Parameter> {
    let mut found = Vec::new();
    visit(module, &mut found);
    found
}

impl Visit for Vec<Parameter> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().to_vec();
        let mut checkpoint_shape = shape.clone();
        if at.is_transposed() {
            checkpoint_shape.reverse();
        }
        self.push(Parameter {
            name: at.name(),
            shape,
            checkpoint_shape,
            device: param.lazy_device().without_autodiff(),
        });
    }
}

/// Where a walk through a module is.
#[derive(Debug, Default)]
pub struct ParamPath {
    /// Fields, and what holds them: variants of an enum are no fields of a checkpoint.
    fields: Vec<(String, Holder)>,
}

#[derive(Debug, PartialEq)]
enum Holder {
    Projection,
    Enum,
    Other,
}

impl ParamPath {
    fn enter(&mut self, name: &str, container_type: &str) {
        let holder = match container_type {
            "Struct:Linear" => Holder::Projection,
            of if of.starts_with("Enum:") => Holder::Enum,
            _ => Holder::Other,
        };
        self.fields.push((name.into(), holder));
    }

    fn exit(&mut self) {
        self.fields.pop();
    }

    /// The parameter's name: its fields, joined by dots.
    pub fn name(&self) -> String {
        let fields = self.fields.iter().filter(|(_, holder)| *holder != Holder::Enum);
        let names: Vec<&str> = fields.map(|(name, _)| name.as_str()).collect();
        names.join(".")
    }

    /// Whether the parameter is part of an adapter ([`crate::lora`]) that is attached to another one.
    pub fn is_adapter(&self) -> bool {
        matches!(self.fields.as_slice(), [.., (of, _), _] if of == ADAPTER)
    }

    /// A projection's matrix is `[in, out]` here and `[out, in]` in a checkpoint.
    pub fn is_transposed(&self) -> bool {
        matches!(self.fields.last(), Some((name, Holder::Projection)) if name == "weight")
    }
}

/// burn's walk, which tells its place.
struct Walk<'a, A> {
    at: ParamPath,
    act: &'a mut A,
}

impl<A: Visit> ModuleVisitor for Walk<'_, A> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.at.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.at.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.act.float(&self.at, param);
    }
}

impl<A: Map> ModuleMapper for Walk<'_, A> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.at.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.at.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.act.float(&self.at, param)
    }
}
