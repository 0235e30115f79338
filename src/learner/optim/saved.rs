//! The optimiser's state as a file, and parts of it for ranks that have parts of the parameters.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use burn::module::Module;
use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::{DType, Tensor, TensorData, TensorReadError};
use gcpo_model::names::{Parameter, parameters};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{OptimError, Optimizer, Slot};

const STEP: &str = "step";
const EXP_AVG: &str = "exp_avg";
const EXP_AVG_SQ: &str = "exp_avg_sq";

/// The dtypes that a state may have, here and in a file.
const FLOATS: [(DType, Dtype); 4] = [
    (DType::F64, Dtype::F64),
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
];

/// The state of a parameter, or of a part of one, in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Steps made.
    time: u64,
    /// Their place in [`FLOATS`].
    float: usize,
    #[serde(with = "crate::ranks::bytes")]
    first: Vec<u8>,
    #[serde(with = "crate::ranks::bytes")]
    second: Vec<u8>,
}

impl Moments {
    /// Puts the next part of the same parameter behind this one.
    pub fn append(&mut self, next: Self) {
        self.first.extend(next.first);
        self.second.extend(next.second);
    }
}

/// The state of whole parameters: by name, the shape and the moments.
pub type Saved = BTreeMap<String, (Vec<usize>, Moments)>;

/// The state as a safetensors file: `NAME/exp_avg` and `NAME/exp_avg_sq` in the parameter's shape, `NAME/step` (u64). The same state
/// gives the same bytes.
///
/// # Errors
/// [`OptimError::Format`], if there is something that the format does not hold.
pub fn to_bytes(saved: &Saved) -> Result<Vec<u8>, OptimError> {
    let steps: Vec<[u8; 8]> = saved.values().map(|(_, of)| of.time.to_le_bytes()).collect();
    let mut views = Vec::with_capacity(3 * saved.len());
    for ((name, (shape, of)), step) in saved.iter().zip(&steps) {
        let (_, float) = FLOATS[of.float];
        views.push((
            format!("{name}/{STEP}"),
            TensorView::new(Dtype::U64, vec![], step)?,
        ));
        for (leaf, bytes) in [(EXP_AVG, &of.first), (EXP_AVG_SQ, &of.second)] {
            views.push((
                format!("{name}/{leaf}"),
                TensorView::new(float, shape.clone(), bytes)?,
            ));
        }
    }
    Ok(safetensors::serialize(views, None)?)
}

impl Optimizer {
    /// The state of parameters that are not cut.
    ///
    /// # Errors
    /// [`OptimError`] where the device does not hand out a tensor.
    pub fn saved(&self) -> Result<Saved, OptimError> {
        let of = |(name, start): &(String, usize), slot: &Slot| {
            let moments = self.moments(name, *start)?.expect("it is there");
            Ok((name.clone(), (slot.shape.clone(), moments)))
        };
        self.slots.iter().map(|(key, slot)| of(key, slot)).collect()
    }

    /// As [`to_bytes`], of parameters that are not cut.
    ///
    /// # Errors
    /// [`OptimError`] where the device does not hand out a tensor.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OptimError> {
        to_bytes(&self.saved()?)
    }

    /// The state of a parameter from one of its numbers on; none before its first step.
    ///
    /// # Errors
    /// [`OptimError`] where the device does not hand out a tensor.
    pub fn moments(&self, name: &str, start: usize) -> Result<Option<Moments>, OptimError> {
        let Some(slot) = self.slots.get(&(name.to_owned(), start)) else {
            return Ok(None);
        };
        let momentum = &slot.state.momentum;
        let read = |moment: &Tensor<1>| {
            let data = moment.clone().try_into_data().map_err(TensorReadError::from)?;
            let float = FLOATS.iter().position(|(here, _)| *here == data.dtype());
            let float = float.ok_or_else(|| OptimError::Mismatch {
                name: name.to_owned(),
                actual: format!("{:?}", data.dtype()),
                expected: "a float".into(),
            })?;
            Ok::<_, OptimError>((float, data.as_bytes().to_vec()))
        };
        let (float, first) = read(&momentum.moment_1)?;
        let (_, second) = read(&momentum.moment_2)?;
        Ok(Some(Moments {
            time: momentum.time as u64,
            float,
            first,
            second,
        }))
    }

    /// Takes the state from [`to_bytes`], for the parameters of `module`, on their devices; of each parameter the parts that
    /// `parts` says, which is told its name and how many numbers it has. What was held before is dropped.
    ///
    /// # Errors
    /// [`OptimError`] where the bytes are damaged or belong to another model; the state held
    /// before is then kept.
    pub fn load_bytes<M: Module>(
        &mut self,
        bytes: &[u8],
        module: &M,
        parts: impl Fn(&str, usize) -> Vec<Range<usize>>,
    ) -> Result<(), OptimError> {
        let file = SafeTensors::deserialize(bytes)?;
        let known = parameters(module).into_iter().map(|p| (p.name.clone(), p));
        let known: HashMap<String, Parameter> = known.collect();
        let mut slots = BTreeMap::new();
        for tensor in file.names() {
            let parameter = tensor
                .rsplit_once('/')
                .filter(|(_, leaf)| [STEP, EXP_AVG, EXP_AVG_SQ].contains(leaf))
                .and_then(|(name, _)| known.get(name))
                .ok_or_else(|| OptimError::Unexpected { name: tensor.into() })?;
            if tensor.ends_with(&format!("/{STEP}")) {
                let count = parameter.shape.iter().product();
                for part in parts(&parameter.name, count) {
                    let key = (parameter.name.clone(), part.start);
                    slots.insert(key, load_slot(&file, parameter, part)?);
                }
            } else if file.tensor(&format!("{}/{STEP}", parameter.name)).is_err() {
                let name = format!("{}/{STEP}", parameter.name);
                return Err(OptimError::Missing { name });
            }
        }
        self.slots = slots;
        Ok(())
    }
}

/// The state of a part of a parameter.
fn load_slot(file: &SafeTensors, parameter: &Parameter, part: Range<usize>) -> Result<Slot, OptimError> {
    let Parameter { shape, device, .. } = parameter;
    let tensor = |leaf: &str| {
        let name = format!("{}/{leaf}", parameter.name);
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
        match FLOATS.iter().find(|(_, dtype)| *dtype == view.dtype()) {
            Some((dtype, _)) if view.shape() == shape => {
                let bytes = &view.data()[part.start * dtype.size()..part.end * dtype.size()];
                let data = TensorData::from_bytes_vec(bytes.to_vec(), [part.len()], *dtype);
                Ok(Tensor::<1>::from_data(data, (device, *dtype)))
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
        shape: shape.clone(),
        state: AdamWState::new(momentum),
    })
}
