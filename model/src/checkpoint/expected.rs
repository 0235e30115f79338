//! The tensors that a configuration asks for.
//!
//! Names and shapes are those of a module of one layer of each kind, so that nothing is made in proportion to sizes that no file
//! has confirmed yet.

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
    /// Of a layer of each kind, by what stands behind its number.
    of_kind: Vec<BTreeMap<String, Vec<usize>>>,
    /// The kind of each layer.
    kinds: Vec<usize>,
}

impl Expected {
    pub fn new(config: &ModelConfig) -> Self {
        // Layers with experts have other tensors than those without.
        let sparse: Vec<bool> = (0..config.num_hidden_layers)
            .map(|layer| config.is_sparse(layer))
            .collect();
        let mut firsts: Vec<usize> = [false, true]
            .iter()
            .filter_map(|kind| sparse.iter().position(|is| is == kind))
            .collect();
        firsts.sort_unstable();
        let of_layer = |layer: usize| firsts.iter().position(|&first| sparse[first] == sparse[layer]);
        let (mut outside, mut of_kind) = (BTreeMap::new(), vec![BTreeMap::new(); firsts.len()]);
        for parameter in parameters(&Llama::blank_of(config, &firsts, &device::processor())) {
            match of(&parameter.name) {
                Some((kind, rest)) => of_kind[kind].insert(rest.into(), parameter.checkpoint_shape),
                None => outside.insert(parameter.name, parameter.checkpoint_shape),
            };
        }
        Self {
            outside,
            of_kind,
            kinds: (0..sparse.len()).filter_map(of_layer).collect(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let of_layers: usize = self.kinds.iter().map(|&kind| self.of_kind[kind].len()).sum();
        self.outside.len() + of_layers
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let layer = |(layer, &kind): (usize, &usize)| {
            self.of_kind[kind]
                .keys()
                .map(move |rest| format!("{LAYERS}{layer}.{rest}"))
        };
        self.outside
            .keys()
            .cloned()
            .chain(self.kinds.iter().enumerate().flat_map(layer))
    }

    /// The shape of one of them, as a checkpoint has it.
    pub fn shape(&self, name: &str) -> Option<&Vec<usize>> {
        match of(name) {
            Some((layer, rest)) if layer < self.kinds.len() => self.of_kind[self.kinds[layer]].get(rest),
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
