//! The `[parallel]` table.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::classes;

/// How several processes work together. A single process ignores this table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParallelConfig {
    /// The library that sends gradients: `nccl`, `gloo`, or `auto` (NCCL on CUDA, Gloo on the CPU). Default: `auto`.
    pub backend: BackendChoice,
    /// Send gradients while the backward pass goes on. Default: true.
    pub overlap: bool,
    /// The precision in which gradients are sent and summed: `fp32` (that of the weights) or `bf16` (half the bytes). Default:
    /// `fp32`.
    pub wire: Wire,
    /// End the run if a collective operation takes longer than this number of seconds. Default: 600.
    pub timeout: u64,
    /// A process counts as gone after this number of seconds without a heartbeat. Default: 60.
    pub heartbeat: u64,
}

classes! { ParallelConfig {
    // The precision of sums is more than rounding in another order.
    Open: wire;
    Placement: backend, overlap, timeout, heartbeat;
} }

/// What carries gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendChoice {
    /// NCCL on CUDA, Gloo on the CPU.
    #[default]
    Auto,
    /// NVIDIA's library; gradients on CUDA.
    Nccl,
    /// TCP; gradients in host memory.
    Gloo,
}

/// The precision of gradients on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// As they are.
    #[default]
    Fp32,
    /// Rounded.
    Bf16,
}

impl Default for ParallelConfig {
    fn default() -> Self {
        Self { backend: BackendChoice::Auto, overlap: true, wire: Wire::Fp32, timeout: 600, heartbeat: 60 }
    }
}

impl ParallelConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn validate(&self) -> Result<()> {
        const LONGEST: u64 = 7 * 86_400;
        for (name, seconds) in [("timeout", self.timeout), ("heartbeat", self.heartbeat)] {
            if !(1..=LONGEST).contains(&seconds) {
                return Err(Error::config(format!(
                    "`parallel.{name}` must be between 1 and {LONGEST} seconds, got {seconds}"
                )));
            }
        }
        Ok(())
    }
}
