//! Process-wide switches and facts of libtorch.

use std::ffi::{c_char, CStr};

use super::ffi::{
    check, untie_cpu_capability, untie_free_memory, untie_libtorch_version, untie_peak_memory, untie_reset_peak_memory,
    untie_set_deterministic, untie_set_tf32,
};
use crate::error::Result;

/// Makes libtorch refuse operations that have no deterministic form, and choose that form where there are two.
///
/// # Errors
/// libtorch's own.
pub fn set_deterministic(enabled: bool) -> Result<()> {
    // SAFETY: no pointers are passed; the switch is libtorch's own global and guarded there.
    check(unsafe { untie_set_deterministic(enabled) })
}

/// Whether products of fp32 matrices on CUDA may round their factors to TF32, 10 bits of mantissa.
///
/// # Errors
/// libtorch's own.
pub fn set_tf32(enabled: bool) -> Result<()> {
    // SAFETY: no pointers are passed; the switch is libtorch's own global and guarded there.
    check(unsafe { untie_set_tf32(enabled) })
}

/// The vector instructions that libtorch's kernels use on this CPU, e.g. `AVX512`.
///
/// # Errors
/// libtorch's own.
pub fn cpu_capability() -> Result<String> {
    text(untie_cpu_capability)
}

/// The version of the libtorch that the shim was compiled against, e.g. `2.11.0`.
///
/// # Errors
/// Never in practice; the C interface reports a version that does not fit its buffer.
pub fn libtorch_version() -> Result<String> {
    text(untie_libtorch_version)
}

/// Bytes of CUDA device `index` that no process has.
///
/// # Errors
/// A libtorch without CUDA, and a device that is not there.
pub fn free_cuda_memory(index: usize) -> Result<u64> {
    let mut bytes = 0;
    // SAFETY: `bytes` outlives the call, which writes it or fails.
    check(unsafe { untie_free_memory(i32::try_from(index).unwrap_or(i32::MAX), &raw mut bytes) })?;
    Ok(bytes)
}

/// Forgets the largest amount of memory that tensors on CUDA device `index` had so far.
///
/// # Errors
/// A libtorch without CUDA, and a device that has not been used.
pub fn reset_peak_cuda_memory(index: usize) -> Result<()> {
    // SAFETY: no pointers are passed; the counters are libtorch's own and guarded there.
    check(unsafe { untie_reset_peak_memory(i32::try_from(index).unwrap_or(i32::MAX)) })
}

/// The largest number of bytes that this process' tensors on CUDA device `index` had since, what libtorch keeps in reserve not
/// counted: PyTorch's `torch.cuda.max_memory_allocated`.
///
/// # Errors
/// A libtorch without CUDA, and a device that has not been used.
pub fn peak_cuda_memory(index: usize) -> Result<u64> {
    let mut bytes = 0;
    // SAFETY: `bytes` outlives the call, which writes it or fails.
    check(unsafe { untie_peak_memory(i32::try_from(index).unwrap_or(i32::MAX), &raw mut bytes) })?;
    Ok(bytes)
}

/// What a shim function writes into a buffer.
fn text(write: unsafe extern "C" fn(*mut c_char, usize) -> *mut c_char) -> Result<String> {
    let mut buffer = [0 as c_char; 128];
    // SAFETY: the buffer outlives the call, its length is passed, and C++ writes a terminated string or fails.
    let text = unsafe {
        check(write(buffer.as_mut_ptr(), buffer.len()))?;
        CStr::from_ptr(buffer.as_ptr())
    };
    Ok(text.to_string_lossy().into_owned())
}
