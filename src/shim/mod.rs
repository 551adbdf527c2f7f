//! Safe Rust over csrc/: what libtorch has and tch lacks. The only room with `unsafe`.
//!
//! Device, precision and shape of every tensor are checked here, before C++ sees it.
#![allow(unsafe_code)]

mod attention;
mod autograd;
mod bytes;
mod context;
mod cuda_kernels;
mod device_adamw;
mod device_step;
mod ffi;
mod fused;
mod fused_dropout;
mod fused_embeddings;
mod fused_head;
mod heap;
mod kernel_set;
mod optim;
mod parallel;
mod profile;
mod random;
mod recompute;

pub use attention::attention;
pub use autograd::{make_gradients, retain_gradient};
pub use bytes::{embeddings_bytes, head_bytes, held_bytes, largest_in_heap, layer_bytes};
pub use context::{
    cpu_capability, free_cuda_memory, libtorch_version, peak_cuda_memory, reset_peak_cuda_memory, set_deterministic,
    set_tf32,
};
pub use cuda_kernels::{check_cuda_libraries, cuda_kernels_version, load_cuda_kernels, unload_cuda_kernels};
pub use device_adamw::{DeviceAdamW, DeviceFactors};
pub use device_step::{device_adamw, DeviceScalars};
pub use ffi::{CLaunch, FusedBytes};
pub use fused::{fits, kernel_level, set_kernel_level, FusedLayer, LayerContext, LayerSizes};
pub use fused_dropout::{dropout_factors, dropout_fits, KeyedDropout};
pub use fused_embeddings::{embeddings, embeddings_fit, EmbeddingIds, EmbeddingTables};
pub use fused_head::{head_fits, FusedHead, Targets};
pub use heap::{keep_heap, trim_heap};
pub use kernel_set::{emulate_cuda, multiplies, KernelSet};
pub use optim::{adamw, norms, AdamWArguments, AdamWTensors, ScaledTensors};
pub use parallel::{Backend, Bucket, GradientReducer, ProcessGroups, Store};
pub use profile::{profile, OpTime};
pub use random::uniform;
pub use recompute::recompute;
