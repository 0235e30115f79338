//! A device's first computation: backends find out by panicking what they cannot do.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use burn::tensor::{Device, Tensor};

use super::error::DeviceError;
use crate::dtype::Dtype;

/// A device that has done a first computation.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device, without autodiff; a trainer asks for that with [`Device::autodiff`].
    pub device: Device,
    /// Its name, for people.
    pub name: String,
    /// All of its memory in bytes, where that can be asked for.
    pub memory: Option<u64>,
    /// Where `auto` was asked for: what was built in and looked for first, and why it was not taken.
    pub passed_over: Vec<String>,
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

/// The sum of a few numbers.
///
/// # Panics
/// The device does not compute, or wrongly.
pub(super) fn sum(device: &Device) {
    let sum = Tensor::<1>::from_floats([1.0, 2.0], device)
        .add_scalar(1.0)
        .into_data();
    let right = sum.iter::<f32>().eq([2.0, 3.0]);
    assert!(right, "a sum came out wrong");
}

/// The number formats that a device computes with.
pub(super) fn dtypes(device: &Device) -> Vec<Dtype> {
    let works = |dtype: &Dtype| quietly(|| device.supports_dtype(dtype.float())).unwrap_or(false);
    Dtype::ALL.into_iter().filter(works).collect()
}

/// Runs what may panic, because a driver is missing, say, and returns the panic's message instead of printing it.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
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
