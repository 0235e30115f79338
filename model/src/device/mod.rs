//! Where tensors live. The only room that names a backend; everything else takes a [`burn::tensor::Device`].
//!
//! The processor's backend is in every build; the others are Cargo features: `cuda`, `wgpu`, `vulkan`, `metal`, `ndarray`.

mod backends;
mod error;
mod memory;
mod open;
mod probe;
mod spec;
#[cfg(test)]
mod tests;
mod way_back;

pub(crate) use backends::{Processor, processor, processor_numbers};
pub use backends::{features, is_processor, threads};
pub use error::DeviceError;
pub use memory::{Memory, held_by_this_process, of_this_machine, peak_of_this_process};
pub use open::{Listed, Missing, list, of_tests, of_tests_in_f64, open, open_as};
pub use probe::Opened;
pub use spec::{BackendKind, DeviceSpec};
pub(crate) use way_back::{Found, Input, Place, with_way_back};
