//! The backends by name: what is built in, which devices it finds, what they are called.

use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
use burn::tensor::DeviceKind;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "metal"))]
use burn::tensor::DeviceType;

use super::{Kind, threads};

/// Whether this binary holds the kind's backend.
pub(super) fn is_built(kind: Kind) -> bool {
    match kind {
        Kind::Cpu => true,
        Kind::NdArray => cfg!(feature = "ndarray"),
        Kind::Cuda => cfg!(feature = "cuda"),
        Kind::Wgpu => cfg!(feature = "wgpu"),
        Kind::Vulkan => cfg!(feature = "vulkan"),
        Kind::Metal => cfg!(feature = "metal"),
    }
}

/// Every device of a kind that is built, in the backend's order; true for GPUs that the processor simulates.
pub(super) fn list(kind: Kind) -> Vec<(Device, bool)> {
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
pub(super) fn describe(device: &Device, kind: Kind) -> String {
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

/// Where the card of a device sits, `0000:07:00.0`.
pub(super) fn pci_address(device: &Device) -> Option<String> {
    #[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "metal"))]
    return Some(device.identity()?.physical?.pci_address?.to_string());
    #[cfg(not(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "metal")))]
    {
        let _ = device;
        None
    }
}
