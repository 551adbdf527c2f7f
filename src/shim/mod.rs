//! Safe Rust over csrc/: what libtorch has and tch lacks. The only room with `unsafe`.
//!
//! Device, precision and shape of every tensor are checked here, before C++ sees it.
#![allow(unsafe_code)]

mod autograd;
mod context;
mod device_step;
mod ffi;
mod fused;
mod optim;
mod profile;
mod random;

pub use autograd::retain_gradient;
pub use context::{cpu_capability, libtorch_version, set_deterministic, set_tf32};
pub use device_step::{device_adamw, device_norms, DeviceScalars};
pub use fused::{dropout, fits, set_kernel_level, FusedLayer, LayerSizes, Pass};
pub use optim::{fused_adamw, norms, scale, AdamWArguments, AdamWTensors};
pub use profile::{profile, OpTime};
pub use random::uniform;
