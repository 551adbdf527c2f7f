//! Switches of the whole process: device, threads, determinism, TF32, heap.

use tch::Device;

use crate::error::Result;
use crate::parallel::LaunchEnv;
use crate::shim::{keep_heap, set_deterministic, set_tf32};
use crate::train::config::{resolve_device, TrainConfig};

/// Sets threads, determinism and TF32 as `config` says, and returns the device. A process among others on its host takes the GPU
/// of its number there, or its part of the cores.
///
/// # Errors
/// A device that is not there.
pub fn prepare_process(config: &TrainConfig, env: Option<&LaunchEnv>) -> Result<Device> {
    if config.deterministic {
        // cuBLAS reads it when it starts; without it, it may add in any order.
        std::env::set_var("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
    }
    let mut device = resolve_device(&config.device)?;
    let mut threads = config.threads;
    if let Some(env) = env {
        if device.is_cuda() && matches!(config.device.as_str(), "auto" | "cuda") {
            // A launcher may show each process its own GPU alone.
            let index = if tch::Cuda::device_count() == 1 { 0 } else { env.local_rank };
            device = resolve_device(&format!("cuda:{index}"))?;
        }
        if threads == 0 && env.shares_cores && std::env::var_os("OMP_NUM_THREADS").is_none() {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            threads = (cores / env.local_size).max(1);
        }
    }
    if threads > 0 {
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    }
    keep_heap();
    set_deterministic(config.deterministic)?;
    set_tf32(config.tf32)?;
    Ok(device)
}
