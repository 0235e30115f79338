//! AdamW over a module, and what is done to gradients before it.
//!
//! The optimiser is burn's AdamW, tensor by tensor; on the processor the same arithmetic in one pass ([`gcpo_model::adamw`]). State and gradient norms go by the parameter's name
//! ([`gcpo_model::names`]): burn's `ParamId`s are drawn at random when a module is made, so that state by id could not be
//! loaded in another process. Moments are flat inside: AdamW acts on each element alone.
//!
//! A parameter has one name: tie weights by using one field twice, not by two fields.

mod saved;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer as _};
use burn::tensor::{Tensor, TensorReadError};
use gcpo_model::adamw::AdamWStep;
use gcpo_model::dtype::widen;
use gcpo_model::names::{self, ParamPath, with_value};
use gcpo_model::sums;

use super::Train;
pub use saved::{Moments, Saved, to_bytes};

/// Why a state of the optimiser could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// The bytes are not a safetensors file.
    #[error("optimiser state: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A tensor could not be read from the device.
    #[error("optimiser state: cannot read a tensor from the device: {0}")]
    Device(#[from] TensorReadError),
    /// A tensor of the file belongs to no parameter of the module.
    #[error("optimiser state: `{name}` belongs to no parameter of this model")]
    Unexpected {
        /// The tensor's name.
        name: String,
    },
    /// A parameter has only a part of its state.
    #[error("optimiser state: `{name}` is missing")]
    Missing {
        /// The missing tensor's name.
        name: String,
    },
    /// A tensor does not have its parameter's shape, or a dtype that is no state's.
    #[error("optimiser state: `{name}` is {actual}, expected {expected}")]
    Mismatch {
        /// The tensor's name.
        name: String,
        /// What the file has.
        actual: String,
        /// What the parameter needs.
        expected: String,
    },
}

/// AdamW with its state. A clone shares the state's tensors until one of them makes a step.
#[derive(Clone)]
pub struct Optimizer {
    matrices: (AdamW, AdamWStep),
    vectors: (AdamW, AdamWStep),
    /// By the parameter's name, and the number of it that the state begins at: 0, where a parameter is not cut over ranks.
    slots: BTreeMap<(String, usize), Slot>,
}

#[derive(Clone)]
struct Slot {
    /// The whole parameter's.
    shape: Vec<usize>,
    state: AdamWState<1>,
}

impl Optimizer {
    /// An optimiser that has not made a step, with the βs, ε and weight decay of `[train]`. Only parameters of two axes
    /// and more decay: norms and biases do not.
    pub fn new(train: &Train) -> Self {
        let with_decay = |weight_decay| {
            let step = AdamWStep {
                beta_1: train.adam_beta1 as f32,
                beta_2: train.adam_beta2 as f32,
                epsilon: train.adam_epsilon as f32,
                weight_decay,
                scale: 1.0,
                lr: 0.0,
                time: 0,
            };
            let adamw = AdamWConfig::new()
                .with_beta_1(step.beta_1)
                .with_beta_2(step.beta_2)
                .with_epsilon(step.epsilon)
                .with_weight_decay(weight_decay)
                .build();
            (adamw, step)
        };
        Self {
            matrices: with_decay(train.weight_decay as f32),
            vectors: with_decay(0.0),
            slots: BTreeMap::new(),
        }
    }

    /// One step with learning rate `lr`, with the gradients times `scale`. Parameters without a gradient stay as they are.
    pub fn step<M: Module>(&mut self, module: M, grads: GradientsParams, scale: f64, lr: f64) -> M {
        let (optimizer, how) = (self, (scale, lr));
        names::map(
            module,
            &mut Step {
                optimizer,
                grads,
                how,
            },
        )
    }

    /// One step of a part of a parameter, flat: the numbers from `at.1` on of the one called `at.0`, which has this shape. A part must be the same
    /// in every step.
    pub fn step_piece(
        &mut self,
        at: (&str, usize),
        shape: &[usize],
        value: Tensor<1>,
        grad: Tensor<1>,
        (scale, lr): (f64, f64),
    ) -> Tensor<1> {
        let Self {
            matrices,
            vectors,
            slots,
        } = self;
        let (adamw, step) = if shape.len() < 2 { vectors } else { matrices };
        let key = (at.0.to_owned(), at.1);
        let state = slots.remove(&key).map(|slot| slot.state);
        let step = AdamWStep {
            scale: scale as f32,
            lr,
            ..*step
        };
        let (value, state) = match at_once(step, &value, grad, state) {
            Ok((value, state)) => (value, Some(state)),
            Err((grad, state)) => adamw.step(lr, value, grad.mul_scalar(scale), state),
        };
        if let Some(state) = state {
            let shape = shape.to_vec();
            slots.insert(key, Slot { shape, state });
        }
        value
    }
}

struct Step<'a> {
    optimizer: &'a mut Optimizer,
    grads: GradientsParams,
    /// What gradients are multiplied by, and the learning rate.
    how: (f64, f64),
}

impl names::Map for Step<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return param;
        };
        let (optimizer, how) = (&mut *self.optimizer, self.how);
        with_value(param, |value| {
            let (name, shape) = (at.name(), value.shape());
            let flat = [shape.num_elements()];
            let (value, grad) = (value.reshape(flat), grad.reshape(flat));
            let dims = shape.to_vec();
            optimizer
                .step_piece((&name, 0), &dims, value, grad, how)
                .reshape(shape)
        })
    }
}

/// A step in one pass; what it was to be made with where it needs tensor operations.
#[expect(
    clippy::result_large_err,
    reason = "what comes back are the tensors themselves"
)]
fn at_once(
    step: AdamWStep,
    value: &Tensor<1>,
    grad: Tensor<1>,
    state: Option<AdamWState<1>>,
) -> Result<(Tensor<1>, AdamWState<1>), (Tensor<1>, Option<AdamWState<1>>)> {
    let before = state.map(|state| state.momentum);
    let time = before.as_ref().map_or(0, |momentum| momentum.time);
    let state = |time, (first, second)| AdamWState::new(AdaptiveMomentumState::new(time, first, second));
    let moments = before.map(|momentum| (momentum.moment_1, momentum.moment_2));
    let step = AdamWStep {
        time: time + 1,
        ..step
    };
    match step.run(value, grad, moments) {
        Ok((value, moments)) => Ok((value, state(time + 1, moments))),
        Err((grad, moments)) => Err((grad, moments.map(|moments| state(time, moments)))),
    }
}

/// The norms of a module's gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct GradNorms {
    /// The 2-norm over all gradients (`grad/norm`, before any clipping).
    pub global: f64,
    /// Each parameter's name and the 2-norm of its gradient, in the module's order.
    pub by_parameter: Vec<(String, f64)>,
}

impl GradNorms {
    /// The name of the first parameter whose gradient holds a NaN or an infinity, or is so large
    /// that its squares overflow.
    pub fn first_non_finite(&self) -> Option<&str> {
        let mut bad = self.by_parameter.iter().filter(|(_, n)| !n.is_finite());
        bad.next().map(|(name, _)| name.as_str())
    }
}

/// The norms of the gradients of `module`: one transfer from the device.
///
/// # Errors
/// What the device answers when the computation or the transfer failed.
pub fn grad_norms<M: Module>(module: &M, grads: &GradientsParams) -> Result<GradNorms, TensorReadError> {
    let mut squares = Squares {
        grads,
        names: Vec::new(),
        sums: Vec::new(),
    };
    names::visit(module, &mut squares);
    let sums: Vec<f64> = match squares.sums.is_empty() {
        true => Vec::new(),
        false => Tensor::cat(squares.sums, 0).try_into_vec_as()?,
    };
    let roots = sums.iter().map(|sum| sum.sqrt());
    Ok(GradNorms {
        global: sums.iter().sum::<f64>().sqrt(),
        by_parameter: squares.names.into_iter().zip(roots).collect(),
    })
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    names: Vec<String>,
    sums: Vec<Tensor<1>>,
}

impl names::Visit for Squares<'_> {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.names.push(at.name());
            self.sums.push(sums::of_squares(grad));
        }
    }
}

/// The name of the first parameter of `module` that holds a NaN or an infinity, of those that are trained: one transfer from the
/// device.
///
/// # Errors
/// What the device answers when the computation or the transfer failed.
pub fn non_finite<M: Module>(module: &M) -> Result<Option<String>, TensorReadError> {
    let mut zeros = Zeros::default();
    names::visit(module, &mut zeros);
    let sums: Vec<f32> = match zeros.sums.is_empty() {
        true => Vec::new(),
        false => Tensor::cat(zeros.sums, 0).try_into_vec_as()?,
    };
    let mut bad = zeros.names.into_iter().zip(sums).filter(|(_, sum)| *sum != 0.0);
    Ok(bad.next().map(|(name, _)| name))
}

/// Sums of zero times each weight: 0 where all of them are finite, NaN where one is not.
#[derive(Default)]
struct Zeros {
    names: Vec<String>,
    sums: Vec<Tensor<1>>,
}

impl names::Visit for Zeros {
    fn float<const D: usize>(&mut self, at: &ParamPath, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_autodiff() && !value.is_require_grad() {
            return;
        }
        self.names.push(at.name());
        self.sums.push(sums::of_zeros(value.inner()));
    }
}

/// What gradients of such norms are multiplied by so that their global norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_` does; 1
/// where they stay as they are, as all do where `max_norm` is 0.
pub fn clip_factor(norms: &GradNorms, max_norm: f64) -> f64 {
    let factor = max_norm / (norms.global + 1e-6);
    if max_norm > 0.0 { factor.min(1.0) } else { 1.0 }
}

/// Adds `scale · grads` to `sum`, in f32 at least, for every parameter of `module`.
///
/// Losses that are divided by the totals of the whole batch are added with a scale of 1.
pub fn add_scaled<M: Module>(module: &M, sum: &mut GradientsParams, grads: GradientsParams, scale: f64) {
    module.visit(&mut Add { sum, grads, scale });
}

struct Add<'a> {
    sum: &'a mut GradientsParams,
    grads: GradientsParams,
    scale: f64,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return;
        };
        let grad = widen(grad);
        let grad = match self.scale {
            1.0 => grad,
            scale => grad.mul_scalar(scale),
        };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => sums::added(sum, grad),
            None => grad,
        };
        self.sum.register(param.id, sum);
    }
}

#[cfg(test)]
mod tests;
