//! Where tensors live. The only room that names a backend; everything else takes a [`Device`].
//!
//! The processor's backend is in every build; the others are Cargo features: `cuda`, `wgpu`, `vulkan`, `metal`, `ndarray`,
//! and `remote` for the devices of other machines.

mod backends;
mod memory;
pub mod remote;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Once;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;

pub use memory::Memory;
pub use remote::Remote;

/// A kind of device that a user can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The processor: burn's `flex`.
    Cpu,
    /// The processor by burn's older, slower backend.
    NdArray,
    /// An NVIDIA GPU.
    Cuda,
    /// A GPU by the graphics interface that the system has, shaders in WGSL.
    Wgpu,
    /// A GPU by Vulkan, shaders in SPIR-V.
    Vulkan,
    /// An Apple GPU.
    Metal,
}

/// Every kind, best first: the order in which `auto` looks.
const KINDS: [Kind; 6] = [
    Kind::Cuda,
    Kind::Metal,
    Kind::Vulkan,
    Kind::Wgpu,
    Kind::Cpu,
    Kind::NdArray,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::NdArray => "ndarray",
            Self::Cuda => "cuda",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
        }
    }

    /// What makes such a device appear, for people.
    fn needs(self) -> &'static str {
        match self {
            Self::Cpu | Self::NdArray => "it is always there",
            Self::Cuda => "install NVIDIA's driver (`nvidia-smi` should list the GPU)",
            Self::Metal => "it needs a Mac with an Apple GPU",
            Self::Wgpu if cfg!(target_os = "macos") => "it needs a GPU that Metal knows",
            Self::Wgpu | Self::Vulkan => {
                "install the GPU's Vulkan driver (`vulkaninfo --summary` should list it)"
            }
        }
    }

    /// Whether a machine may have several of it.
    fn takes_index(self) -> bool {
        matches!(self, Self::Cuda | Self::Wgpu | Self::Vulkan)
    }
}

/// What was asked for: `auto | cpu | ndarray | cuda[:i] | wgpu[:i] | vulkan[:i] | metal | remote:host:port[/i]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// The best device that is really there.
    #[default]
    Auto,
    /// This kind, and the device of that index where one was given.
    Named(Kind, Option<usize>),
    /// A device that another process serves; `auto` never looks for one.
    Remote(Remote),
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if let Some(rest) = text.strip_prefix("remote:") {
            return Remote::parse(rest).map(Self::Remote).ok_or_else(unknown);
        }
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let kind = KINDS
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(unknown)?;
        if index.is_some() && !kind.takes_index() {
            return Err(unknown());
        }
        Ok(Self::Named(kind, index))
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        spec.to_string()
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(kind, None) => f.write_str(kind.name()),
            Self::Named(kind, Some(index)) => write!(f, "{}:{index}", kind.name()),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

/// Why there is no such device, or it cannot do what is asked of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The text names no kind of device.
    #[error(
        "there is no device `{0}`; give one of auto, cpu, ndarray, cuda, cuda:0, wgpu, wgpu:0, vulkan, vulkan:0, metal, remote:HOST:PORT"
    )]
    Unknown(String),
    /// The binary was built without the backend.
    #[error("this binary was built without {0}; build it with `--features {0}`, or use `--device cpu`")]
    NotBuilt(&'static str),
    /// The backend finds no such device on this machine.
    #[error(
        "device `{spec}` is not there: looked for {kind} devices and found {found}; {help}, or use `--device cpu`"
    )]
    Absent {
        /// What was asked for.
        spec: String,
        /// The kind that was looked for.
        kind: &'static str,
        /// What is there instead.
        found: String,
        /// What to do.
        help: &'static str,
    },
    /// The device is listed, but a first computation on it failed.
    #[error("device `{spec}` does not work: {reason}; update its driver, or use `--device cpu`")]
    Broken {
        /// What was asked for.
        spec: String,
        /// The backend's words.
        reason: String,
    },
    /// Nobody answers for a remote device.
    #[error(
        "device `{spec}` does not answer: {reason}; see that `gcpo serve` runs there and listens on port {port} of an address that \
         this machine reaches (`--listen 0.0.0.0:{port}`)"
    )]
    Unreachable {
        /// What was asked for.
        spec: String,
        /// The system's words, or burn's.
        reason: String,
        /// Where it was looked for.
        port: String,
    },
    /// The binary was built without the server.
    #[error(
        "this binary was built without remote devices and cannot serve one; build it with `--features remote`"
    )]
    NoServer,
    /// A remote device is to be served.
    #[error("device `{0}` is served already; serve one of this machine, or use that one where it is needed")]
    ServedElsewhere(String),
    /// The server did not start, or broke off.
    #[error("cannot serve at {listen}: {reason}; give a free HOST:PORT of this machine with --listen")]
    NotServed {
        /// Where it was to listen.
        listen: String,
        /// The system's words, or burn's.
        reason: String,
    },
    /// The device does not compute with such numbers.
    #[error("{device} does not compute in {dtype}: take {works}")]
    Dtype {
        /// The device's name.
        device: String,
        /// What was asked for.
        dtype: Dtype,
        /// What it does compute in.
        works: String,
    },
}

/// A device that has done a first computation.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device, without autodiff; a trainer asks for that with [`Device::autodiff`].
    pub device: Device,
    /// Its name, for people.
    pub name: String,
    /// Where `auto` was asked for: what was built in and looked for first, and why it was not taken.
    pub passed_over: Vec<String>,
}

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
    /// Kinds of number that it computes with.
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
    match spec {
        DeviceSpec::Auto => {
            let mut passed_over = Vec::new();
            for kind in KINDS.into_iter().filter(|&kind| backends::is_built(kind)) {
                match open_kind(kind, None, true) {
                    Ok(opened) => {
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
        DeviceSpec::Named(kind, index) => open_kind(*kind, *index, false),
        DeviceSpec::Remote(remote) => remote.open(),
    }
}

impl Opened {
    /// Whether the device computes with such numbers.
    ///
    /// # Errors
    /// [`DeviceError::Dtype`]
    pub fn check(&self, dtype: Dtype) -> Result<(), DeviceError> {
        let works = dtypes(&self.device);
        match works.contains(&dtype) {
            true => Ok(()),
            false => Err(DeviceError::Dtype {
                device: self.name.clone(),
                dtype,
                works: works
                    .iter()
                    .map(|dtype| dtype.name())
                    .collect::<Vec<_>>()
                    .join(" or "),
            }),
        }
    }
}

/// Every device that this binary can see, best kinds first, and the kinds that it cannot; of remote ones, which nobody lists,
/// only whether they are missing.
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
    if !remote::BUILT {
        missing.push(not_built("remote"));
    }
    (listed, missing)
}

/// Threads that the processor's backend computes with.
pub fn threads() -> usize {
    // rayon, which the backend uses, reads this variable before it counts cores.
    let asked = std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|text| text.parse().ok());
    asked
        .filter(|&threads| threads > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
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

/// `hardware_only` refuses a GPU that is simulated by the processor: slower than the processor itself.
fn open_kind(kind: Kind, index: Option<usize>, hardware_only: bool) -> Result<Opened, DeviceError> {
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
    Ok(Opened {
        device,
        name: match simulated {
            true => format!("{name}, simulated by the processor"),
            false => name,
        },
        passed_over: Vec::new(),
    })
}

/// How many devices there are, for people.
fn counted(count: usize) -> String {
    match count {
        0 => "none".into(),
        1 => "one, of index 0".into(),
        count => format!("{count}, of indices 0 to {}", count - 1),
    }
}

/// A first computation. Gives the device's name.
///
/// # Panics
/// The device does not compute, or wrongly.
fn try_out(device: &Device, kind: Kind) -> String {
    sum(device);
    backends::describe(device, kind)
}

/// The sum of a few numbers.
///
/// # Panics
/// The device does not compute, or wrongly.
fn sum(device: &Device) {
    let sum = Tensor::<1>::from_floats([1.0, 2.0], device)
        .add_scalar(1.0)
        .into_data();
    let right = sum.iter::<f32>().eq([2.0, 3.0]);
    assert!(right, "a sum came out wrong");
}

/// The kinds of number that a device computes with.
fn dtypes(device: &Device) -> Vec<Dtype> {
    let works = |dtype: &Dtype| quietly(|| device.supports_dtype(dtype.float())).unwrap_or(false);
    Dtype::ALL.into_iter().filter(works).collect()
}

/// Runs what may panic, because a driver is missing, say, and returns the panic's message instead of printing it.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    // The hook is the whole process's, and stays: other threads' panics are printed as ever.
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                print(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        text.lines().next().unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests;
