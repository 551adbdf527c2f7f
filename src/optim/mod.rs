//! AdamW with state of our own, clipping, and the learning-rate schedule.
//!
//! In: weights whose gradients are set. Out: updated weights and [`Moments`]. The moments are plain tensors beside the
//! weights, in the same order, so that a transition can copy them and a checkpoint can save them.
//! Cost: two tensors as large as each weight (8 bytes a parameter in fp32).

pub mod clip;
pub mod config;
pub mod optimizer;
pub mod scaler;
pub mod schedule;

use tch::Tensor;

use crate::error::Result;
use crate::model::Weights;

pub use clip::GroupGradient;
pub use config::{DecayShape, OptimConfig, ScheduleKind, Span};
pub use optimizer::{Optimizer, ReportTiming};
pub use scaler::ScalerState;
pub use schedule::Schedule;

/// AdamW's state: two running means a weight, and how many updates they have seen.
#[derive(Debug, Default)]
pub struct Moments {
    /// Running mean of the gradient, one tensor a weight, in the order of the weights.
    pub exp_avg: Vec<Tensor>,
    /// Running mean of the squared gradient.
    pub exp_avg_sq: Vec<Tensor>,
    /// Updates applied so far; skipped steps do not count.
    pub num_updates: u64,
}

impl Moments {
    /// Zero moments for `weights`.
    ///
    /// # Errors
    /// When memory for a tensor cannot be had.
    pub fn zeros(weights: &Weights) -> Result<Self> {
        let zeros = || -> Result<Vec<Tensor>> {
            weights.entries().iter().map(|weight| Ok(weight.tensor.detach().f_zeros_like()?)).collect()
        };
        Ok(Self { exp_avg: zeros()?, exp_avg_sq: zeros()?, num_updates: 0 })
    }
}
