//! AdamW over a module, and what is done to gradients before it.
//!
//! The optimiser is burn's AdamW, tensor by tensor. Its state is kept by module path, not by
//! `ParamId`: those are drawn at random when a module is made, so that state by id could not be
//! loaded in another process. Moments are flat inside: AdamW acts on each element alone.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{
    AdamW, AdamWConfig as BurnAdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer as _,
};
use burn::tensor::{DType, Device, Tensor, TensorData, TensorReadError};
use gcpo_model::dtype::widen;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

/// The numbers of AdamW, named as in Hugging Face's `TrainingArguments`, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub adam_beta1: f32,
    /// Decay of the second moment.
    pub adam_beta2: f32,
    /// Added to the root of the second moment.
    pub adam_epsilon: f32,
    /// Decoupled weight decay, for parameters of two axes and more: not for norms and biases.
    pub weight_decay: f32,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

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
    matrices: AdamW,
    vectors: AdamW,
    slots: BTreeMap<String, Slot>,
}

#[derive(Clone)]
struct Slot {
    shape: Vec<usize>,
    state: AdamWState<1>,
}

const STEP: &str = "step";
const EXP_AVG: &str = "exp_avg";
const EXP_AVG_SQ: &str = "exp_avg_sq";

impl Optimizer {
    /// An optimiser that has not made a step.
    pub fn new(config: &AdamWConfig) -> Self {
        let with_decay = |weight_decay| {
            BurnAdamWConfig::new()
                .with_beta_1(config.adam_beta1)
                .with_beta_2(config.adam_beta2)
                .with_epsilon(config.adam_epsilon)
                .with_weight_decay(weight_decay)
                .build()
        };
        Self {
            matrices: with_decay(config.weight_decay),
            vectors: with_decay(0.0),
            slots: BTreeMap::new(),
        }
    }

    /// One step with learning rate `lr`. Parameters without a gradient stay as they are.
    ///
    /// A parameter belongs to one path: tie weights by using one field twice, not by two fields.
    pub fn step<M: Module>(&mut self, module: M, grads: GradientsParams, lr: f64) -> M {
        module.map(&mut StepMapper {
            optimizer: self,
            grads,
            lr,
            path: Path::default(),
        })
    }

    /// The state as a safetensors file: `PATH/exp_avg` and `PATH/exp_avg_sq` in the parameter's
    /// shape, `PATH/step` (u64). The same state gives the same bytes.
    ///
    /// # Errors
    /// [`OptimError`] where the device does not hand out a tensor.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OptimError> {
        let mut tensors = Vec::new();
        for (path, Slot { shape, state }) in &self.slots {
            let momentum = &state.momentum;
            let step = (momentum.time as u64).to_le_bytes().to_vec();
            tensors.push((format!("{path}/{STEP}"), Dtype::U64, vec![], step));
            for (name, moment) in [(EXP_AVG, &momentum.moment_1), (EXP_AVG_SQ, &momentum.moment_2)] {
                let name = format!("{path}/{name}");
                let data = moment.clone().try_into_data().map_err(TensorReadError::from)?;
                let dtype = to_file_dtype(data.dtype()).ok_or_else(|| OptimError::Mismatch {
                    name: name.clone(),
                    actual: format!("{:?}", data.dtype()),
                    expected: "a float".into(),
                })?;
                let bytes = data.as_bytes().to_vec();
                tensors.push((name, dtype, shape.clone(), bytes));
            }
        }
        let mut views = Vec::with_capacity(tensors.len());
        for (name, dtype, shape, bytes) in &tensors {
            views.push((name, TensorView::new(*dtype, shape.clone(), bytes)?));
        }
        Ok(safetensors::serialize(views, None)?)
    }

    /// Takes the state from [`Optimizer::to_bytes`], for the parameters of `module`, on their
    /// devices. What was held before is dropped.
    ///
    /// # Errors
    /// [`OptimError`] where the bytes are damaged or belong to another model; the state held
    /// before is then kept.
    pub fn load_bytes<M: Module>(&mut self, bytes: &[u8], module: &M) -> Result<(), OptimError> {
        let file = SafeTensors::deserialize(bytes)?;
        let mut parameters = ParameterVisitor::default();
        module.visit(&mut parameters);
        let mut slots = BTreeMap::new();
        for name in file.names() {
            let unexpected = || OptimError::Unexpected { name: name.into() };
            let (path, _) = name
                .rsplit_once('/')
                .filter(|(_, leaf)| [STEP, EXP_AVG, EXP_AVG_SQ].contains(leaf))
                .ok_or_else(unexpected)?;
            let (shape, device) = parameters.found.get(path).ok_or_else(unexpected)?;
            if !slots.contains_key(path) {
                let slot = load_slot(&file, path, shape, device)?;
                slots.insert(path.to_string(), slot);
            }
        }
        self.slots = slots;
        Ok(())
    }
}

fn load_slot(file: &SafeTensors, path: &str, shape: &[usize], device: &Device) -> Result<Slot, OptimError> {
    let tensor = |leaf: &str| {
        let name = format!("{path}/{leaf}");
        match file.tensor(&name) {
            Ok(view) => Ok((name, view)),
            Err(_) => Err(OptimError::Missing { name }),
        }
    };
    let mismatch = |name, view: &TensorView, expected| OptimError::Mismatch {
        name,
        actual: format!("{:?} {:?}", view.dtype(), view.shape()),
        expected,
    };
    let moment = |leaf: &str| {
        let (name, view) = tensor(leaf)?;
        match from_file_dtype(view.dtype()) {
            Some(dtype) if view.shape() == shape => {
                let numel: usize = shape.iter().product();
                let data = TensorData::from_bytes_vec(view.data().to_vec(), [numel], dtype);
                Ok(Tensor::<1>::from_data(data, (device, dtype)))
            }
            _ => Err(mismatch(name, &view, format!("a float {shape:?}"))),
        }
    };
    let (name, view) = tensor(STEP)?;
    let step = match <[u8; 8]>::try_from(view.data()) {
        Ok(bytes) if view.dtype() == Dtype::U64 => u64::from_le_bytes(bytes),
        _ => return Err(mismatch(name, &view, "U64 []".into())),
    };
    let momentum = AdaptiveMomentumState::new(step as usize, moment(EXP_AVG)?, moment(EXP_AVG_SQ)?);
    Ok(Slot {
        shape: shape.to_vec(),
        state: AdamWState::new(momentum),
    })
}

fn to_file_dtype(dtype: DType) -> Option<Dtype> {
    match dtype {
        DType::F64 => Some(Dtype::F64),
        DType::F32 => Some(Dtype::F32),
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::BF16),
        _ => None,
    }
}

fn from_file_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// Where a walk over a module is.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str) {
        self.0.push(name.to_string());
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn join(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct ParameterVisitor {
    path: Path,
    found: BTreeMap<String, (Vec<usize>, Device)>,
}

impl ModuleVisitor for ParameterVisitor {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let device = value.device().without_autodiff();
        self.found
            .insert(self.path.join(), (value.dims().to_vec(), device));
    }
}

struct StepMapper<'a> {
    optimizer: &'a mut Optimizer,
    grads: GradientsParams,
    lr: f64,
    path: Path,
}

impl ModuleMapper for StepMapper<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(grad) = self.grads.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let path = self.path.join();
        let requires_grad = tensor.is_require_grad();
        let checkpointing = tensor.gradient_checkpointing_strategy();
        let shape = tensor.shape();
        let numel = shape.num_elements();
        let adamw = match D {
            0 | 1 => &self.optimizer.vectors,
            _ => &self.optimizer.matrices,
        };
        let state = self.optimizer.slots.remove(&path).map(|slot| slot.state);
        let (updated, state) = adamw.step(
            self.lr,
            tensor.inner().reshape([numel]),
            grad.reshape([numel]),
            state,
        );
        if let Some(state) = state {
            let shape = shape.to_vec();
            self.optimizer.slots.insert(path, Slot { shape, state });
        }
        let mut updated = updated.reshape(shape);
        // The parameter goes back into the autodiff context that it came from.
        if let Some(strategy) = checkpointing {
            updated = updated.autodiff().with_gradient_checkpointing_strategy(strategy);
        }
        if requires_grad {
            updated = updated.require_grad();
        }
        Param::from_mapped_value(id, updated, mapper)
    }
}

/// The norms of a module's gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct GradNorms {
    /// The 2-norm over all gradients (`grad/norm`, before any clipping).
    pub global: f64,
    /// Each parameter's path and the 2-norm of its gradient, in the module's order.
    pub by_parameter: Vec<(String, f64)>,
}

impl GradNorms {
    /// The path of the first parameter whose gradient holds a NaN or an infinity, or is so large
    /// that its squares overflow.
    pub fn first_non_finite(&self) -> Option<&str> {
        let mut bad = self.by_parameter.iter().filter(|(_, n)| !n.is_finite());
        bad.next().map(|(path, _)| path.as_str())
    }
}

/// The norms of the gradients of `module`: one transfer from the device.
///
/// # Errors
/// What the device answers when the computation or the transfer failed.
pub fn grad_norms<M: Module>(module: &M, grads: &GradientsParams) -> Result<GradNorms, TensorReadError> {
    let mut squares = SquaresVisitor {
        grads,
        path: Path::default(),
        seen: Vec::new(),
        paths: Vec::new(),
        squares: Vec::new(),
    };
    module.visit(&mut squares);
    let sums: Vec<f64> = match squares.squares.is_empty() {
        true => Vec::new(),
        false => Tensor::cat(squares.squares, 0).try_into_vec_as()?,
    };
    let roots = sums.iter().map(|sum| sum.sqrt());
    Ok(GradNorms {
        global: sums.iter().sum::<f64>().sqrt(),
        by_parameter: squares.paths.into_iter().zip(roots).collect(),
    })
}

/// Scales the gradients so that their global norm is at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_` does; 0 leaves them as they are. Returns the norms before.
///
/// # Errors
/// What the device answers when the computation or the transfer failed.
pub fn clip_grads<M: Module>(
    module: &M,
    grads: GradientsParams,
    max_norm: f64,
) -> Result<(GradientsParams, GradNorms), TensorReadError> {
    let norms = grad_norms(module, &grads)?;
    let factor = max_norm / (norms.global + 1e-6);
    let grads = match max_norm > 0.0 && factor < 1.0 {
        true => {
            let mut clipped = GradientsParams::new();
            add_scaled(module, &mut clipped, grads, factor);
            clipped
        }
        false => grads,
    };
    Ok((grads, norms))
}

/// Adds `scale · grads` to `sum`, in f32 at least, for every parameter of `module`.
///
/// Losses that are divided by the totals of the whole batch are added with a scale of 1.
pub fn add_scaled<M: Module>(module: &M, sum: &mut GradientsParams, grads: GradientsParams, scale: f64) {
    module.visit(&mut AddVisitor { sum, grads, scale });
}

struct SquaresVisitor<'a> {
    grads: &'a GradientsParams,
    path: Path,
    seen: Vec<ParamId>,
    paths: Vec<String>,
    squares: Vec<Tensor<1>>,
}

impl ModuleVisitor for SquaresVisitor<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // A parameter that two paths share has one gradient.
        if self.seen.contains(&param.id) {
            return;
        }
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        self.seen.push(param.id);
        self.paths.push(self.path.join());
        self.squares.push(grad.cast(DType::F32).square().sum());
    }
}

struct AddVisitor<'a> {
    sum: &'a mut GradientsParams,
    grads: GradientsParams,
    scale: f64,
}

impl ModuleVisitor for AddVisitor<'_> {
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
            Some(sum) => sum + grad,
            None => grad,
        };
        self.sum.register(param.id, sum);
    }
}

#[cfg(test)]
mod tests;
