//! Finding devices and opening them.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::Serialize;

use super::backends;
use super::error::{DeviceError, counted};
use super::memory::{self, Memory};
use super::probe::{Opened, dtypes, quietly, sum};
use super::spec::{BackendKind, DeviceSpec, KINDS};
use crate::dtype::Dtype;

/// A device that this binary can see, for `gcpo devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What `--device` takes for it.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Whether the processor simulates it.
    pub simulated: bool,
    /// Its memory, where that can be asked for.
    pub memory: Option<Memory>,
    /// Number formats that it computes with.
    pub dtypes: Vec<Dtype>,
    /// Why it does not compute, where it does not.
    pub error: Option<String>,
}

/// A kind of device that this binary was built without, or of which there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The kind's name.
    pub kind: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// Opens a device, runs one small computation on it, and says its name.
///
/// # Errors
/// The binary lacks the backend, the machine lacks the device, or the device does not compute.
pub fn open(spec: &DeviceSpec) -> Result<Opened, DeviceError> {
    open_as(spec, None)
}

/// As [`open`], for process number `local` of several on this machine that have a device each: where no index is given and there may be
/// several devices of the kind, it is the one of that index.
///
/// # Errors
/// As [`open`]; the machine has fewer devices than that.
pub fn open_as(spec: &DeviceSpec, local: Option<usize>) -> Result<Opened, DeviceError> {
    let own = |kind: BackendKind| local.filter(|_| kind.takes_index());
    match spec {
        DeviceSpec::Auto => {
            let mut passed_over = Vec::new();
            for kind in KINDS.into_iter().filter(|&kind| backends::is_built(kind)) {
                match open_kind(kind, None, true) {
                    Ok(opened) => {
                        let opened = match own(kind) {
                            // Not another kind where this one is there: processes that train together have one kind.
                            Some(index) => open_kind(kind, Some(index), false)?,
                            None => opened,
                        };
                        return Ok(Opened {
                            passed_over,
                            ..opened
                        });
                    }
                    Err(DeviceError::Absent { found, .. }) => {
                        passed_over.push(format!("{}: {found}", kind.name()))
                    }
                    Err(error) => passed_over.push(error.to_string()),
                }
            }
            unreachable!("the processor is always there")
        }
        DeviceSpec::Named(kind, index) => open_kind(*kind, index.or(own(*kind)), false),
    }
}

/// Every device that this binary can see, best kinds first, and the kinds that it cannot.
pub fn list() -> (Vec<Listed>, Vec<Missing>) {
    let (mut listed, mut missing) = (Vec::new(), Vec::new());
    let not_built = |kind: &'static str| Missing {
        kind,
        reason: format!("not in this binary: build it with `--features {kind}`"),
    };
    for kind in KINDS {
        if !backends::is_built(kind) {
            missing.push(not_built(kind.name()));
            continue;
        }
        let found = match quietly(|| backends::list(kind)) {
            Ok(found) => found,
            Err(reason) => {
                missing.push(Missing {
                    kind: kind.name(),
                    reason,
                });
                continue;
            }
        };
        if found.is_empty() {
            let reason = format!("none found: {}", kind.needs());
            missing.push(Missing {
                kind: kind.name(),
                reason,
            });
        }
        for (index, (device, simulated)) in found.into_iter().enumerate() {
            let spec = DeviceSpec::Named(kind, kind.takes_index().then_some(index));
            let tried = quietly(|| try_out(&device, kind));
            let works = tried.is_ok();
            let (name, error) = match tried {
                Ok(name) => (name, None),
                Err(reason) => (kind.name().to_owned(), Some(reason)),
            };
            listed.push(Listed {
                device: spec.to_string(),
                name,
                simulated,
                memory: quietly(|| memory::of(&device, kind, simulated)).ok().flatten(),
                dtypes: if works { dtypes(&device) } else { Vec::new() },
                error,
            });
        }
    }
    (listed, missing)
}

/// `hardware_only` refuses a GPU that is simulated by the processor: slower than the processor itself.
fn open_kind(kind: BackendKind, index: Option<usize>, hardware_only: bool) -> Result<Opened, DeviceError> {
    if !backends::is_built(kind) {
        return Err(DeviceError::NotBuilt(kind.name()));
    }
    let spec = DeviceSpec::Named(kind, index).to_string();
    let broken = |reason| DeviceError::Broken {
        spec: spec.clone(),
        reason,
    };
    let devices = quietly(|| backends::list(kind)).map_err(&broken)?;
    let hardware = || devices.iter().find(|(_, simulated)| !simulated);
    let chosen = match index {
        Some(index) => devices.get(index),
        None if hardware_only => hardware(),
        None => hardware().or(devices.first()),
    };
    let Some((device, simulated)) = chosen.cloned() else {
        return Err(DeviceError::Absent {
            spec,
            kind: kind.name(),
            found: match devices.len() {
                1.. if hardware_only => "none but one that the processor simulates".into(),
                count => counted(count),
            },
            help: kind.needs(),
        });
    };
    let name = quietly(|| try_out(&device, kind)).map_err(broken)?;
    let memory = quietly(|| memory::of(&device, kind, simulated)).ok().flatten();
    Ok(Opened {
        memory: memory.map(|memory| memory.total),
        device,
        name: match simulated {
            true => format!("{name}, simulated by the processor"),
            false => name,
        },
        passed_over: Vec::new(),
    })
}

/// A first computation. Gives the device's name.
///
/// # Panics
/// The device does not compute, or wrongly.
fn try_out(device: &Device, kind: BackendKind) -> String {
    sum(device);
    backends::describe(device, kind)
}

/// The device that tests run on: the one that `GCPO_TEST_DEVICE` names, `cpu` without it.
///
/// # Panics
/// There is no such device.
pub fn of_tests() -> Device {
    let spec = std::env::var("GCPO_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    let opened = spec.parse().and_then(|spec| open(&spec));
    opened
        .unwrap_or_else(|error| panic!("GCPO_TEST_DEVICE: {error}"))
        .device
}

/// [`of_tests`], or the processor where that device does not compute in f64: graphics interfaces may have the type, but not
/// its exponential.
pub fn of_tests_in_f64() -> Device {
    let device = of_tests();
    let exact = |device: &Device| {
        let one = TensorData::new(vec![1f64], [1]);
        let e = Tensor::<1>::from_data(one, (device, DType::F64)).exp();
        let e: Vec<f64> = e.try_into_vec_as().unwrap_or_default();
        e.first().is_some_and(|e| (e - std::f64::consts::E).abs() < 1e-12)
    };
    match device.supports_dtype(DType::F64) && quietly(|| exact(&device)).unwrap_or(false) {
        true => device,
        false => backends::processor(),
    }
}
