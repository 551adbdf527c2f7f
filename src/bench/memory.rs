//! The most memory that steps took: on the CPU the resident size of this process without mapped files, on a GPU what its tensors
//! had there.

use tch::Device;

use crate::pretrain::memory::machine::peak_resident_bytes;
use crate::shim::{peak_cuda_memory, reset_peak_cuda_memory};

/// Forgets the peak so far; whether that was possible.
pub fn reset_peak(device: Device) -> bool {
    match device {
        Device::Cuda(index) => reset_peak_cuda_memory(index).is_ok(),
        _ => std::fs::write("/proc/self/clear_refs", "5").is_ok(),
    }
}

/// The peak since, in bytes.
pub fn peak_bytes(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => peak_cuda_memory(index).ok(),
        _ => peak_resident_bytes(),
    }
}

/// In MiB, to one decimal.
pub fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}
