//! What can be wrong with a device.

use crate::dtype::Dtype;

/// Why there is no such device, or it cannot do what is asked of it.
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

/// How many devices there are, for people.
pub(super) fn counted(count: usize) -> String {
    match count {
        0 => "none".into(),
        1 => "one, of index 0".into(),
        count => format!("{count}, of indices 0 to {}", count - 1),
    }
}
