//! The `[parallel]` table.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::classes;

/// How processes work together; without several it does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParallelConfig {
    /// What carries gradients: `nccl`, `gloo`, or `auto`, which is NCCL on CUDA and Gloo on the CPU. Default: `auto`.
    pub backend: BackendChoice,
    /// Whether gradients travel while the backward goes on. Default: true.
    pub overlap: bool,
    /// The precision in which gradients travel and are summed: `fp32` (that of the weights) or `bf16`, half the bytes. Default:
    /// `fp32`.
    pub wire: Wire,
    /// Seconds after which a collective that is not done ends the run. Default: 600.
    pub timeout: u64,
    /// Seconds without a sign of life after which a process counts as gone. Default: 60.
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
