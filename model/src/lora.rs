//! LoRA (Hu et al., 2021): `y = W x + s B A x` beside frozen projections, and DoRA (Liu et al., 2024), where each output is also
//! scaled, `y = m / ‖W + s B A‖ · (W x + s B A x)`, `m` trained and the lengths of the rows constants of the gradient (section 4.3).
//! With PEFT's meaning of every number.
//!
//! burn's part is the place: a `Reparameterization`, here [`Adapter`], is attached to a projection's weight, and every walk over
//! the module then finds its factors. Three things of burn's own `LoraAdapter` do not fit and are done here:
//!
//! * burn composes `W + s A B` whenever the weight is read, so that backward makes a gradient of `W`'s size: `projection` runs
//!   the factors beside `W` instead, and only they cost anything more than the forward pass;
//! * its `A` is normal and drawn by the device: PEFT's is uniform in ±1/√in, and a run's numbers come from named streams;
//! * its factors are in `W`'s format: here they are in f32, whatever `W` is in.
//!
//! A is kept `[in, r]` and B `[r, out]`, the transposes of PEFT's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::{Module as _, Param, Reparameterizer};
use burn::nn::Linear;
use burn::tensor::{DType, Tensor, TensorData};

use crate::adapter::lengths;
pub use crate::adapter::{Adapter, adapter};
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::dtype::widen;
use crate::llama::Llama;
use crate::names::{self, ParamPath, with_value};

mod peft;

pub use peft::{CONFIG, Peft, WEIGHTS};

/// What adapters are, in PEFT's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Rank of `B A`.
    pub r: usize,
    /// What `B A` is multiplied by, times `r`.
    pub alpha: f64,
    /// Whether `alpha` is divided by √r instead of r.
    pub use_rslora: bool,
    /// Probability that a number which an adapter takes is left out while training ([`crate::dropout::Dropout`]).
    pub dropout: f64,
    /// Whether outputs are scaled as well (DoRA).
    pub use_dora: bool,
    /// Which projections have one.
    pub targets: Targets,
}

/// Which projections have an adapter.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Every linear layer but the head; of models with experts it is refused.
    AllLinear,
    /// Those that are called so, or whose path ends so.
    Named(Vec<String>),
}

/// Why adapters could not be attached, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A name of `target_modules` that no projection has.
    #[error("target_modules: `{name}` is none of the model's projections; there are {}", .known.join(", "))]
    NoTarget {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// `all-linear` of a model whose experts can have no adapters.
    #[error("target_modules: \"all-linear\" means the experts too, which have no adapters here; name projections: {}", .known.join(", "))]
    Experts {
        /// The names that there are.
        known: Vec<String>,
    },
    /// `adapter_config.json` was not accepted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file could not be read or written, or holds numbers that are no use.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The tensors of an adapter do not fit its configuration or the model.
    #[error("{path}: {problem}")]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Lora {
    /// What `B A x` is multiplied by.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.alpha / if self.use_rslora { r.sqrt() } else { r }
    }
}

impl Targets {
    /// The paths of the projections of `model` that are meant, in its order.
    ///
    /// # Errors
    /// A name means none, or all are meant and the model has experts.
    pub fn paths(&self, model: &Llama) -> Result<Vec<String>, LoraError> {
        let all = || model.projections().into_iter().map(|(path, _)| path);
        let known = || {
            let mut known: Vec<String> = all().map(|path| leaf(&path).to_owned()).collect();
            known.sort();
            known.dedup();
            known
        };
        let names = match self {
            Self::AllLinear if model.config().experts.is_some() => {
                return Err(LoraError::Experts { known: known() });
            }
            Self::AllLinear => return Ok(all().collect()),
            Self::Named(names) => names,
        };
        if let Some(name) = names.iter().find(|name| !all().any(|path| means(name, &path))) {
            let (name, known) = (name.clone(), known());
            return Err(LoraError::NoTarget { name, known });
        }
        Ok(all()
            .filter(|path| names.iter().any(|name| means(name, path)))
            .collect())
    }
}

/// As PEFT matches them.
fn means(name: &str, path: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|before| !name.is_empty() && (before.is_empty() || before.ends_with('.')))
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The model with new adapters, everything else frozen: `A` uniform in ±1/√in (kaiming-uniform with a = √5) by `draw`, which gives
/// numbers in [0, 1), and `B` 0, so that the model is at first what it was.
///
/// # Errors
/// A name of the targets means no projection.
pub fn attach(model: Llama, lora: &Lora, draw: &mut dyn FnMut() -> f64) -> Result<Llama, LoraError> {
    let targets = lora.targets.paths(&model)?;
    let mut factors = BTreeMap::new();
    for (path, projection) in model.projections() {
        if targets.contains(&path) {
            let [from, to] = projection.weight.shape().dims();
            let bound = (from as f64).powf(-0.5);
            let a = (0..from * lora.r).map(|_| ((2.0 * draw() - 1.0) * bound) as f32);
            let factors_of = Factors {
                a: a.collect(),
                b: vec![0.0; lora.r * to],
                magnitude: lora.use_dora.then(|| {
                    let lengths = lengths(widen(projection.weight.base().without_autodiff()));
                    lengths.try_into_vec_as().expect("weights can be read as f32")
                }),
            };
            factors.insert(path, factors_of);
        }
    }
    Ok(put(model, lora, factors))
}

/// The numbers of an adapter, as they are kept here.
struct Factors {
    a: Vec<f32>,
    b: Vec<f32>,
    magnitude: Option<Vec<f32>>,
}

/// The model with adapters of these numbers, by the paths of their projections.
fn put(model: Llama, lora: &Lora, factors: BTreeMap<String, Factors>) -> Llama {
    model.apply_reparameterization(Put {
        r: lora.r,
        scale: lora.scale(),
        factors,
    })
}

struct Put {
    r: usize,
    scale: f64,
    factors: BTreeMap<String, Factors>,
}

impl Reparameterizer for Put {
    type Reparam = Adapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Adapter>) {
        let (shape, device) = (param.lazy_shape(), param.lazy_device());
        let base = param.set_require_grad(false);
        // burn's path names the variants of enums too, which alone begin with a capital.
        let fields = path
            .split('.')
            .filter(|name| !name.starts_with(char::is_uppercase));
        let path = fields.collect::<Vec<_>>().join(".");
        let factors = path.strip_suffix(".weight");
        let Some(of) = factors.and_then(|path| self.factors.remove(path)) else {
            return (base, None);
        };
        let factor = |values: Vec<f32>, shape: [usize; 2]| {
            let tensor = Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32));
            Param::from_tensor(tensor)
        };
        let magnitude = |values: Vec<f32>| {
            let data = TensorData::new(values, [shape[1]]);
            Param::from_tensor(Tensor::from_data(data, (&device, DType::F32)))
        };
        let adapter = Adapter {
            a: factor(of.a, [shape[0], self.r]),
            b: factor(of.b, [self.r, shape[1]]),
            magnitude: of.magnitude.map(magnitude),
            scale: self.scale,
        };
        (base, Some(adapter))
    }
}

/// The model with its adapters off: the same weights, shared.
pub fn detach(model: &Llama) -> Llama {
    let mut model = model.clone();
    for projection in model.projections_mut() {
        // A parameter's own `map` leaves out what is attached to it.
        projection.weight = projection.weight.clone().map(|weight| weight);
    }
    model
}

/// The paths of the projections that have an adapter.
pub fn places(model: &Llama) -> Vec<String> {
    let all = model.projections().into_iter();
    let with = all.filter(|(_, projection)| adapter(projection).is_some());
    with.map(|(path, _)| path).collect()
}

/// `model`, whose adapters are at the same places as those of `of`, with their numbers. Its own base, its device and the
/// identities of its parameters stay.
///
/// # Panics
/// The adapters are at other places.
pub fn follow(model: Llama, of: &Llama) -> Llama {
    let mut factors = Found(Vec::new());
    names::visit(of, &mut factors);
    let mut factors = factors.0.into_iter();
    names::map(model, &mut Follow(&mut factors))
}

struct Found(Vec<Tensor<1>>);

impl names::Visit for Found {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        if at.is_adapter() {
            let value = param.val().without_autodiff();
            let count = value.shape().num_elements();
            self.0.push(value.reshape([count]));
        }
    }
}

struct Follow<'a>(&'a mut dyn Iterator<Item = Tensor<1>>);

impl names::Map for Follow<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !at.is_adapter() {
            return param;
        }
        let new = self.0.next().expect("adapters are at the same places");
        with_value(param, |old| new.to_device(&old.device()).reshape(old.shape()))
    }
}

impl Llama {
    /// Every linear layer but the head, by its path.
    pub fn projections(&self) -> Vec<(String, &Linear)> {
        let mut all = Vec::new();
        for (number, layer) in self.model.layers.iter().enumerate() {
            for (part, projections) in [
                ("self_attn", layer.self_attn.projections()),
                ("mlp", layer.mlp.projections()),
            ] {
                for (name, projection) in projections {
                    all.push((format!("model.layers.{number}.{part}.{name}"), projection));
                }
            }
        }
        all
    }

    fn projections_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.model.layers.iter_mut().flat_map(|layer| {
            let (attn, mlp) = (layer.self_attn.projections_mut(), layer.mlp.projections_mut());
            attn.into_iter().chain(mlp)
        })
    }
}
