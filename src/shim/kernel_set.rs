//! Which of this project's kernels compute on a device in a precision.

use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Kind};

use super::context::cpu_capability;
use super::ffi::{untie_has_launcher, untie_set_launcher, CLaunch};

/// The two sets of kernels of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelSet {
    /// csrc/kernels: vector instructions of x86, in bf16, fp32 and fp64.
    Cpu,
    /// csrc/cuda_kernels, in bf16 and fp16.
    Cuda,
}

/// Whether [`emulate_cuda`] was called.
static IS_EMULATED: AtomicBool = AtomicBool::new(false);

impl KernelSet {
    /// The one for tensors of `kind` on `device`.
    pub fn of(device: Device, kind: Kind) -> Self {
        let emulated = matches!(kind, Kind::BFloat16 | Kind::Half) && IS_EMULATED.load(Ordering::Relaxed);
        match device.is_cuda() || emulated {
            true => Self::Cuda,
            false => Self::Cpu,
        }
    }

    fn computes(self, kind: Kind) -> bool {
        match (self, kind) {
            // libtorch's brgemm multiplies bf16, and asks libtorch's own level whether it may.
            (Self::Cpu, Kind::BFloat16) => cpu_capability().is_ok_and(|level| level == "AVX512"),
            (Self::Cpu, Kind::Float | Kind::Double) => true,
            (Self::Cuda, Kind::BFloat16 | Kind::Half) => has_cuda_kernels(),
            _ => false,
        }
    }

    /// Whether `size` fits the kernels: pairs of elements on the CPU, 16 bytes on CUDA.
    pub(super) fn divides(self, size: i64) -> bool {
        let granularity = match self {
            Self::Cpu => 2,
            Self::Cuda => 8,
        };
        size > 0 && size % granularity == 0
    }
}

/// Whether there are fused operations here that compute in `kind` on `device`: on the CPU in fp32, fp64 and, with AVX-512, bf16; on
/// CUDA in bf16 and fp16, once the kernels are loaded.
pub fn multiplies(kind: Kind, device: Device) -> bool {
    KernelSet::of(device, kind).computes(kind)
}

/// Whether kernels of csrc/cuda_kernels are loaded.
fn has_cuda_kernels() -> bool {
    // SAFETY: reads a flag.
    unsafe { untie_has_launcher() }
}

/// For tests: from now on operations in bf16 and fp16 on the CPU are those that CUDA has, with kernels that `launch` runs.
///
/// # Safety
/// `launch` runs kernels of these names with these arguments, as csrc/device/launch.h says.
pub unsafe fn emulate_cuda(launch: CLaunch) {
    untie_set_launcher(Some(launch), 2);
    IS_EMULATED.store(true, Ordering::Relaxed);
}
