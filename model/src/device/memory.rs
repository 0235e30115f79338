//! How much memory a device has. burn does not say, so its owner is asked: the system for the processor's, NVIDIA's
//! driver or the kernel for a card's.

use burn::tensor::Device;
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, System};

use super::backends;
use super::spec::BackendKind;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What nobody uses now.
    pub free: u64,
}

/// A device's memory; none where nobody says.
pub(super) fn of(device: &Device, kind: BackendKind, simulated: bool) -> Option<Memory> {
    // An Apple GPU computes in the system's memory.
    if simulated || matches!(kind, BackendKind::Cpu | BackendKind::NdArray | BackendKind::Metal) {
        return of_this_machine();
    }
    let address = backends::pci_address(device)?;
    nvidia(&address).or_else(|| amd(&address))
}

/// The memory of this machine's processor; none where the system does not say.
pub fn of_this_machine() -> Option<Memory> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    Some(Memory {
        total: system.total_memory(),
        free: system.available_memory(),
    })
}

/// Most bytes that this process has held at once; none where the system does not say.
pub fn peak_of_this_process() -> Option<u64> {
    of_this_process("VmHWM:")
}

/// Bytes that this process holds now; none where the system does not say.
pub fn held_by_this_process() -> Option<u64> {
    of_this_process("VmRSS:")
}

fn of_this_process(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What NVIDIA's management library says of the card.
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan"))]
fn nvidia(address: &str) -> Option<Memory> {
    let library = nvml_wrapper::Nvml::init().ok()?;
    let memory = library.device_by_pci_bus_id(address).ok()?.memory_info().ok()?;
    Some(Memory {
        total: memory.total,
        free: memory.free,
    })
}

#[cfg(not(any(feature = "cuda", feature = "wgpu", feature = "vulkan")))]
fn nvidia(_address: &str) -> Option<Memory> {
    None
}

/// What Linux's driver of AMD cards says.
fn amd(address: &str) -> Option<Memory> {
    let read = |name: &str| -> Option<u64> {
        let path = format!("/sys/bus/pci/devices/{address}/mem_info_vram_{name}");
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let total = read("total")?;
    Some(Memory {
        total,
        free: total.saturating_sub(read("used")?),
    })
}
