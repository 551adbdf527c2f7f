//! The compiled kernels of csrc/cuda_kernels.

use super::ffi::untie_set_launcher;
use crate::error::{Error, Result};

/// Makes the kernels ready for CUDA device `index`.
///
/// # Errors
/// A build without them.
pub fn load_cuda_kernels(_index: usize) -> Result<()> {
    Err(Error::failed("this build has no CUDA kernels"))
}

/// From now on nothing is computed by kernels of csrc/cuda_kernels.
pub fn unload_cuda_kernels() {
    // SAFETY: no pointers are passed.
    unsafe { untie_set_launcher(None, 1) }
}
