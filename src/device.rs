//! Where tensors live. The only file that names a backend; everything else takes a [`Device`].
//!
//! The processor's backend is in every build; the others are Cargo features: `cuda`, `wgpu`, `vulkan`, `metal`, `ndarray`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use burn::tensor::{Device, Tensor};
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
use burn::tensor::DeviceKind;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "metal"))]
use burn::tensor::DeviceType;

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

    /// Whether this binary holds its backend.
    fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::NdArray => cfg!(feature = "ndarray"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }

    /// Whether a machine may have several of it.
    fn takes_index(self) -> bool {
        matches!(self, Self::Cuda | Self::Wgpu | Self::Vulkan)
    }
}

/// What was asked for: `auto | cpu | ndarray | cuda[:i] | wgpu[:i] | vulkan[:i] | metal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The best device that is really there.
    #[default]
    Auto,
    /// This kind, and the device of that index where one was given.
    Named(Kind, Option<usize>),
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        if text == "auto" {
            return Ok(Self::Auto);
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

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(kind, None) => f.write_str(kind.name()),
            Self::Named(kind, Some(index)) => write!(f, "{}:{index}", kind.name()),
        }
    }
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The text names no kind of device.
    #[error(
        "there is no device `{0}`; give one of auto, cpu, ndarray, cuda, cuda:0, wgpu, wgpu:0, vulkan, vulkan:0, metal"
    )]
    Unknown(String),
    /// The binary was built without the backend.
    #[error("this binary was built without {0}; build it with `--features {0}`, or use `--device cpu`")]
    NotBuilt(&'static str),
    /// The backend finds no such device on this machine.
    #[error("device `{spec}` is not there: looked for {kind} devices and found {found}; {help}")]
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
}

/// Opens a device, runs one small computation on it, and says its name.
///
/// The device has no autodiff; a trainer asks for that with [`Device::autodiff`].
///
/// # Errors
/// The binary lacks the backend, the machine lacks the device, or the device does not compute.
pub fn open(spec: &DeviceSpec) -> Result<(Device, String), DeviceError> {
    match *spec {
        // Broken or absent accelerators are passed over: the processor is always there.
        DeviceSpec::Auto => KINDS
            .into_iter()
            .filter(|kind| kind.is_built())
            .filter_map(|kind| open_kind(kind, None, true).ok())
            .next()
            .map_or_else(|| open_kind(Kind::Cpu, None, false), Ok),
        DeviceSpec::Named(kind, index) => open_kind(kind, index, false),
    }
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

/// `hardware_only` refuses a GPU that is simulated by the processor: slower than the processor itself.
fn open_kind(kind: Kind, index: Option<usize>, hardware_only: bool) -> Result<(Device, String), DeviceError> {
    if !kind.is_built() {
        return Err(DeviceError::NotBuilt(kind.name()));
    }
    let spec = DeviceSpec::Named(kind, index).to_string();
    let broken = |reason| DeviceError::Broken {
        spec: spec.clone(),
        reason,
    };
    let devices = quietly(|| list(kind)).map_err(&broken)?;
    let chosen = match index {
        Some(index) => devices.get(index),
        None => devices
            .iter()
            .find(|(_, simulated)| !simulated)
            .or(devices.first()),
    };
    let chosen = chosen.filter(|(_, simulated)| !(hardware_only && *simulated));
    let Some((device, simulated)) = chosen.cloned() else {
        return Err(DeviceError::Absent {
            spec,
            kind: kind.name(),
            found: match devices.len() {
                0 => "none".into(),
                1 => "one, of index 0".into(),
                count => format!("{count}, of indices 0 to {}", count - 1),
            },
            help: match kind {
                Kind::Cuda => {
                    "install NVIDIA's driver (`nvidia-smi` should list the GPU), or use `--device cpu`"
                }
                Kind::Metal => "it needs a Mac with an Apple GPU; use `--device cpu` elsewhere",
                _ => "install the GPU's Vulkan driver (`vulkaninfo` should list it), or use `--device cpu`",
            },
        });
    };
    let name = quietly(|| {
        let sum = Tensor::<1>::from_floats([1.0, 2.0], &device)
            .add_scalar(1.0)
            .into_data();
        assert_eq!(
            sum.iter::<f32>().collect::<Vec<_>>(),
            [2.0, 3.0],
            "a sum came out wrong"
        );
        describe(&device, kind)
    })
    .map_err(broken)?;
    Ok((
        device,
        if simulated {
            format!("{name}, simulated by the processor")
        } else {
            name
        },
    ))
}

/// Every device of a kind that is built, in the backend's order; true for GPUs that the processor simulates.
fn list(kind: Kind) -> Vec<(Device, bool)> {
    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
    let gpus = |of: DeviceType, simulated: Device| {
        let found = Device::enumerate(of).into_vec();
        found
            .into_iter()
            .map(|device| (device.clone(), device == simulated))
            .collect()
    };
    match kind {
        Kind::Cpu => vec![(Device::flex(), false)],
        #[cfg(feature = "ndarray")]
        #[allow(deprecated, reason = "burn keeps this backend, and users were promised it")]
        Kind::NdArray => vec![(Device::ndarray(), false)],
        #[cfg(feature = "cuda")]
        Kind::Cuda => {
            let found = Device::enumerate(DeviceType::Cuda).into_vec();
            found.into_iter().map(|device| (device, false)).collect()
        }
        #[cfg(feature = "wgpu")]
        Kind::Wgpu => gpus(DeviceType::Wgpu, Device::wgpu(DeviceKind::Cpu)),
        #[cfg(feature = "vulkan")]
        Kind::Vulkan => gpus(DeviceType::Vulkan, Device::vulkan(DeviceKind::Cpu)),
        #[cfg(feature = "metal")]
        Kind::Metal => gpus(DeviceType::Metal, Device::metal(DeviceKind::Cpu)),
        #[allow(unreachable_patterns, reason = "every kind may be built in")]
        _ => Vec::new(),
    }
}

/// A device's name for people.
fn describe(device: &Device, kind: Kind) -> String {
    #[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "metal"))]
    if let Some(identity) = device.identity() {
        return format!("{} ({})", kind.name(), identity.name);
    }
    let _ = device;
    let threads = threads();
    format!(
        "{} ({threads} thread{})",
        kind.name(),
        if threads == 1 { "" } else { "s" }
    )
}

/// Runs what may panic, because a driver is missing, say, and returns the panic's message instead of printing it.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        text.lines().next().unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_reads_back() {
        for text in [
            "auto", "cpu", "ndarray", "cuda", "cuda:1", "wgpu", "wgpu:0", "vulkan:3", "metal",
        ] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_device_is_named() {
        for text in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "metal:0"] {
            let error = text.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("cuda:0"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_processor_computes_and_says_its_threads() {
        let (device, name) = open(&"cpu".parse().unwrap()).unwrap();
        assert_eq!(device, Device::flex());
        assert!(name.starts_with("cpu (") && name.contains("thread"), "{name}");
    }

    #[test]
    fn auto_always_finds_something() {
        assert!(open(&DeviceSpec::Auto).is_ok());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_backend_that_is_not_built_says_how_to_build_it() {
        let error = open(&"cuda".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(
            quietly(|| -> () { panic!("no {}", "driver") }),
            Err("no driver".into())
        );
    }
}
