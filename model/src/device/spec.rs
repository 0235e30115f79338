//! What devices can be asked for, and how they are spelt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::DeviceError;

/// A kind of device that a user can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
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
pub(super) const KINDS: [BackendKind; 6] = [
    BackendKind::Cuda,
    BackendKind::Metal,
    BackendKind::Vulkan,
    BackendKind::Wgpu,
    BackendKind::Cpu,
    BackendKind::NdArray,
];

impl BackendKind {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
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
    pub(super) fn needs(self) -> &'static str {
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
    pub(super) fn takes_index(self) -> bool {
        matches!(self, Self::Cuda | Self::Wgpu | Self::Vulkan)
    }
}

/// What was asked for: `auto | cpu | ndarray | cuda[:i] | wgpu[:i] | vulkan[:i] | metal`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// The best device that is really there.
    #[default]
    Auto,
    /// This kind, and the device of that index where one was given.
    Named(BackendKind, Option<usize>),
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
        }
    }
}
