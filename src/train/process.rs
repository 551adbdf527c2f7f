//! Switches of the whole process: device, threads, determinism, TF32, kernels, heap.

use tch::Device;

use crate::error::Result;
use crate::model::{use_activation_checkpointing, use_kernels};
use crate::shim::{keep_heap, set_deterministic, set_tf32};
use crate::train::config::{resolve_device, TrainConfig};

/// Sets threads, determinism and TF32 as `config` says, and returns the device.
///
/// # Errors
/// A device that is not there.
pub fn prepare_process(config: &TrainConfig) -> Result<Device> {
    if config.deterministic {
        // cuBLAS reads it when it starts; without it, it may add in any order.
        std::env::set_var("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
    }
    let device = resolve_device(&config.device)?;
    if config.threads > 0 {
        tch::set_num_threads(i32::try_from(config.threads).unwrap_or(i32::MAX));
    }
    keep_heap();
    set_deterministic(config.deterministic)?;
    set_tf32(config.tf32)?;
    use_kernels(config.kernels);
    use_activation_checkpointing(config.activation_checkpointing);
    Ok(device)
}
