//! The tensors that a configuration asks for.
//!
//! Names and shapes are those of a module of one layer, so that nothing is made in proportion to sizes that no file has
//! confirmed yet.

use std::collections::BTreeMap;

use crate::config::ModelConfig;
use crate::device;
use crate::llama::Llama;
use crate::names::parameters;

const LAYERS: &str = "model.layers.";

/// The tensors of a model, by the names of a checkpoint.
pub(super) struct Expected {
    /// Outside the layers.
    outside: BTreeMap<String, Vec<usize>>,
    /// Of each layer, by what stands behind its number.
    of_layer: BTreeMap<String, Vec<usize>>,
    layers: usize,
}

impl Expected {
    pub fn new(config: &ModelConfig) -> Self {
        let one = ModelConfig {
            num_hidden_layers: 1,
            ..config.clone()
        };
        let (mut outside, mut of_layer) = (BTreeMap::new(), BTreeMap::new());
        for parameter in parameters(&Llama::blank(&one, &device::processor())) {
            match of(&parameter.name) {
                Some((_, rest)) => of_layer.insert(rest.into(), parameter.checkpoint_shape),
                None => outside.insert(parameter.name, parameter.checkpoint_shape),
            };
        }
        Self {
            outside,
            of_layer,
            layers: config.num_hidden_layers,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.outside.len() + self.layers * self.of_layer.len()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let layer = |layer| {
            self.of_layer
                .keys()
                .map(move |rest| format!("{LAYERS}{layer}.{rest}"))
        };
        self.outside
            .keys()
            .cloned()
            .chain((0..self.layers).flat_map(layer))
    }

    /// The shape of one of them, as a checkpoint has it.
    pub fn shape(&self, name: &str) -> Option<&Vec<usize>> {
        match of(name) {
            Some((layer, rest)) if layer < self.layers => self.of_layer.get(rest),
            _ => self.outside.get(name),
        }
    }

    /// The one that a file means by a name, and its shape. Checkpoints of a decoder without its head leave `model.` out.
    pub fn find(&self, name: &str) -> Option<(String, &Vec<usize>)> {
        let with_prefix = || format!("model.{name}");
        let names = [name.to_owned(), with_prefix()];
        names.into_iter().find_map(|name| {
            let shape = self.shape(&name)?;
            Some((name, shape))
        })
    }
}

/// A layer's number, and the name within it.
fn of(name: &str) -> Option<(usize, &str)> {
    let (digits, rest) = name.strip_prefix(LAYERS)?.split_once('.')?;
    let layer: usize = digits.parse().ok()?;
    // No `+1` and no `01`.
    (layer.to_string() == digits).then_some((layer, rest))
}
