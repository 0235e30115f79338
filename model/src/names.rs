//! The names of a model's parameters in a checkpoint. Fields are named as checkpoints name them,
//! so a walk through the module spells the names; reading and writing both walk with [`ParamPath`].

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

use crate::llama::Llama;

/// Every parameter with its name, in the order of the fields.
/// The ids are the same in every process for the same configuration.
pub fn parameter_names(model: &Llama) -> Vec<(String, ParamId)> {
    let mut walk = Walk::default();
    model.visit(&mut walk);
    walk.found.into_iter().map(|(name, id, _)| (name, id)).collect()
}

/// Every parameter's name and its shape as a checkpoint has it.
pub(crate) fn checkpoint_shapes(model: &Llama) -> Vec<(String, Vec<usize>)> {
    let mut walk = Walk::default();
    model.visit(&mut walk);
    walk.found
        .into_iter()
        .map(|(name, _, shape)| (name, shape))
        .collect()
}

#[derive(Default)]
struct Walk {
    path: ParamPath,
    found: Vec<(String, ParamId, Vec<usize>)>,
}

impl ModuleVisitor for Walk {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().to_vec();
        if self.path.is_transposed() {
            shape.reverse();
        }
        self.found.push((self.path.name(), param.id, shape));
    }
}

/// Where a walk through the module is: the fields are named as a checkpoint names them, so the path is the name.
#[derive(Default)]
pub(crate) struct ParamPath {
    /// Fields, and whether a projection holds them.
    fields: Vec<(String, bool)>,
}

impl ParamPath {
    pub fn enter(&mut self, name: &str, container_type: &str) {
        self.fields.push((name.into(), container_type == "Struct:Linear"));
    }

    pub fn exit(&mut self) {
        self.fields.pop();
    }

    pub fn name(&self) -> String {
        let fields: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        fields.join(".")
    }

    /// A projection's matrix is `[in, out]` here and `[out, in]` in a checkpoint.
    pub fn is_transposed(&self) -> bool {
        matches!(self.fields.last(), Some((name, true)) if name == "weight")
    }
}
