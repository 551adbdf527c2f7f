//! Switches of the whole process: device, threads, determinism, TF32, heap.

use tch::{Cuda, Device};

use crate::config::ProcessOptions;
use crate::error::{Error, Result};
use crate::parallel::LaunchEnv;
use crate::shim::{check_cuda_libraries, keep_heap, set_deterministic, set_tf32};

/// Sets threads, determinism and TF32 as `options` say, and returns the device. A process among others on its host takes the GPU
/// of its number there, or its part of the cores.
///
/// # Errors
/// A device that is not there.
pub fn prepare_process(options: ProcessOptions<'_>, env: Option<&LaunchEnv>) -> Result<Device> {
    if options.deterministic {
        // cuBLAS reads it when it starts; without it, it may add in any order.
        std::env::set_var("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
    }
    let mut device = resolve_device(options.device)?;
    let mut threads = options.threads;
    if let Some(env) = env {
        if device.is_cuda() && matches!(options.device, "auto" | "cuda") {
            // A launcher may show each process its own GPU alone.
            let index = if Cuda::device_count() == 1 { 0 } else { env.local_rank };
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
    set_deterministic(options.deterministic)?;
    set_tf32(options.tf32)?;
    Ok(device)
}

/// The device that `name` means.
///
/// # Errors
/// An unknown name, or CUDA that is asked for and not there.
pub fn resolve_device(name: &str) -> Result<Device> {
    if name != "cpu" {
        check_cuda_libraries().map_err(|error| {
            Error::failed("CUDA's libraries cannot be loaded")
                .caused_by(error)
                .hint("install torch with what it needs, `pip install --force-reinstall torch==2.11.0`, or set `train.device = \"cpu\"`")
        })?;
    }
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" if !Cuda::is_available() => return Ok(Device::Cpu),
        "auto" | "cuda" => 0,
        other => other.strip_prefix("cuda:").and_then(|index| index.parse::<usize>().ok()).ok_or_else(|| {
            Error::config(format!("`train.device`: expected `auto`, `cpu`, `cuda` or `cuda:N`, got `{other}`"))
        })?,
    };
    let devices = Cuda::device_count();
    if index as i64 >= devices {
        return Err(Error::config(format!("`train.device` = \"{name}\": expected a CUDA device, found {devices}"))
            .hint("check `nvidia-smi`, and that libtorch is the one for CUDA, or set `train.device = \"cpu\"`"));
    }
    Ok(Device::Cuda(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names_and_cuda_never_falls_back() {
        assert_eq!(resolve_device("cpu").unwrap(), Device::Cpu);
        assert!(resolve_device("tpu").unwrap_err().to_string().contains("got `tpu`"));
        assert!(resolve_device("cuda:4096").unwrap_err().to_string().contains("expected a CUDA device"));
    }
}
