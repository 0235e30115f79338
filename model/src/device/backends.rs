//! The backends by name: what is built in, which devices it finds, what they are called.

use burn::backend::Flex;
#[cfg(any(
    feature = "vulkan",
    feature = "metal",
    all(feature = "wgpu", any(target_os = "macos", windows))
))]
use burn::tensor::DeviceKind;
#[cfg(any(
    feature = "cuda",
    feature = "vulkan",
    feature = "metal",
    all(feature = "wgpu", any(target_os = "macos", windows))
))]
use burn::tensor::DeviceType;
use burn::tensor::{Device, Element, Tensor};

use super::spec::BackendKind;

/// Whether this binary holds the kind's backend.
pub(super) fn is_built(kind: BackendKind) -> bool {
    match kind {
        BackendKind::Cpu => true,
        BackendKind::NdArray => cfg!(feature = "ndarray"),
        BackendKind::Cuda => cfg!(feature = "cuda"),
        BackendKind::Wgpu => cfg!(feature = "wgpu"),
        BackendKind::Vulkan => cfg!(feature = "vulkan"),
        BackendKind::Metal => cfg!(feature = "metal"),
    }
}

/// The features that this binary was built with.
pub fn features() -> Vec<&'static str> {
    let kinds = [
        ("cuda", BackendKind::Cuda),
        ("metal", BackendKind::Metal),
        ("ndarray", BackendKind::NdArray),
        ("vulkan", BackendKind::Vulkan),
        ("wgpu", BackendKind::Wgpu),
    ];
    let built = kinds.into_iter().filter(|(_, kind)| is_built(*kind));
    built.map(|(name, _)| name).collect()
}

/// The backend of the processor, for what works on its numbers themselves.
pub(crate) type Processor = Flex;

/// The device that is always there.
pub(crate) fn processor() -> Device {
    Device::flex()
}

/// Whether a device is the processor, with its own kernels.
pub fn is_processor(device: &Device) -> bool {
    device.clone().inner() == processor()
}

/// The numbers of a tensor on the processor's backend, row by row; the tensor, if it is there, where it is of another format than `E`.
#[expect(clippy::result_large_err, reason = "what comes back is the tensor itself")]
pub(crate) fn processor_numbers<E: Element, const D: usize>(
    tensor: Tensor<D>,
) -> Result<Vec<E>, Option<Tensor<D>>> {
    let tensor = tensor.without_autodiff();
    if tensor.dtype() != E::dtype() {
        return Err(Some(tensor));
    }
    let primitive = tensor.try_into_primitive::<Processor>().map_err(|_| None)?;
    primitive.into_data().try_into_vec().map_err(|_| None)
}

/// Every device of a kind that is built, in the backend's order; true for GPUs that the processor simulates.
pub(super) fn list(kind: BackendKind) -> Vec<(Device, bool)> {
    #[cfg(any(
        feature = "vulkan",
        feature = "metal",
        all(feature = "wgpu", any(target_os = "macos", windows))
    ))]
    let gpus = |of: DeviceType, simulated: Device| {
        let found = Device::enumerate(of).into_vec();
        found
            .into_iter()
            .map(|device| (device.clone(), device == simulated))
            .collect()
    };
    match kind {
        BackendKind::Cpu => vec![(processor(), false)],
        #[cfg(feature = "ndarray")]
        #[allow(deprecated, reason = "burn keeps this backend, and users were promised it")]
        BackendKind::NdArray => vec![(Device::ndarray(), false)],
        #[cfg(feature = "cuda")]
        BackendKind::Cuda => {
            let found = Device::enumerate(DeviceType::Cuda).into_vec();
            found.into_iter().map(|device| (device, false)).collect()
        }
        // Where there is no Vulkan driver, burn would go on to OpenGL, whose driver deadlocks under several threads.
        #[cfg(all(feature = "wgpu", not(any(target_os = "macos", windows))))]
        BackendKind::Wgpu => by_vulkan(),
        #[cfg(all(feature = "wgpu", any(target_os = "macos", windows)))]
        BackendKind::Wgpu => gpus(DeviceType::Wgpu, Device::wgpu(DeviceKind::Cpu)),
        #[cfg(feature = "vulkan")]
        BackendKind::Vulkan => gpus(DeviceType::Vulkan, Device::vulkan(DeviceKind::Cpu)),
        #[cfg(feature = "metal")]
        BackendKind::Metal => gpus(DeviceType::Metal, Device::metal(DeviceKind::Cpu)),
        #[allow(unreachable_patterns, reason = "every kind may be built in")]
        _ => Vec::new(),
    }
}

/// The devices that Vulkan has, shaders in WGSL; the same as burn's own list of them, without that list's cargo feature,
/// which would build the SPIR-V compiler.
#[cfg(all(feature = "wgpu", not(any(target_os = "macos", windows))))]
fn by_vulkan() -> Vec<(Device, bool)> {
    use burn_dispatch::devices::{CubeDevice, WgpuBackend, WgpuDevice, WgpuDeviceKind};

    let kinds = [
        WgpuDeviceKind::DiscreteGpu(0),
        WgpuDeviceKind::IntegratedGpu(0),
        WgpuDeviceKind::VirtualGpu(0),
        WgpuDeviceKind::Cpu,
        WgpuDeviceKind::Other(0),
    ];
    let mut found: Vec<(Device, bool)> = Vec::new();
    for kind in kinds {
        let simulated = kind == WgpuDeviceKind::Cpu;
        let seed = CubeDevice::Wgpu(WgpuDevice::new(kind).on(WgpuBackend::Vulkan));
        for id in CubeDevice::enumerate(seed.to_id()) {
            let device = Device::new(CubeDevice::from_id(id));
            if found.iter().all(|(known, _)| *known != device) {
                found.push((device, simulated));
            }
        }
    }
    found
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

/// A device's name for people.
pub(super) fn describe(device: &Device, kind: BackendKind) -> String {
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
