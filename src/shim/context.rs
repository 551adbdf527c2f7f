//! Process-wide switches and facts of libtorch.

use std::ffi::{c_char, CStr};

use super::ffi::{check, untie_cpu_capability, untie_set_deterministic};
use crate::error::Result;

/// Makes libtorch refuse operations that have no deterministic form, and choose that form where there are two.
///
/// # Errors
/// libtorch's own.
pub fn set_deterministic(enabled: bool) -> Result<()> {
    // SAFETY: no pointers are passed; the switch is libtorch's own global and guarded there.
    check(unsafe { untie_set_deterministic(enabled) })
}

/// The vector instructions that libtorch's kernels use on this CPU, e.g. `AVX512`.
///
/// # Errors
/// libtorch's own.
pub fn cpu_capability() -> Result<String> {
    let mut name = [0 as c_char; 64];
    // SAFETY: the buffer outlives the call, its length is passed, and C++ writes a terminated string or fails.
    let text = unsafe {
        check(untie_cpu_capability(name.as_mut_ptr(), name.len()))?;
        CStr::from_ptr(name.as_ptr())
    };
    Ok(text.to_string_lossy().into_owned())
}
