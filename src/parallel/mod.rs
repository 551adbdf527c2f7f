//! Many processes train one model: data-parallel training on PyTorch's own engine, c10d.
//!
//! Every process has all weights and reads its share of each global batch; gradients are summed over all of them (the loss is
//! already divided by the whole batch's targets), so that each takes the same update. Who starts them says so in the
//! environment: torchrun, Slurm's srun, mpirun, Kubernetes' PyTorchJob, or `untie launch`. A process that nobody started so is
//! alone, needs none of this and pays nothing.

mod config;
mod gradient_sync;
mod heartbeat;
mod launch_env;
mod message;
mod waiting;
mod world;

pub use config::{BackendChoice, ParallelConfig, Wire};
pub use gradient_sync::GradientSync;
pub use launch_env::{LaunchEnv, LAUNCHED};
pub use message::{Addend, Message, ReducedMessage};
pub use world::World;
