//! AdamW with state of our own, clipping, and the learning-rate schedule.
//!
//! In: weights whose gradients are set. Out: updated weights and [`Moments`]. The moments are plain tensors beside the
//! weights, in the same order, so that a transition can copy them and a checkpoint can save them.
//! Cost: two tensors as large as each weight (8 bytes a parameter in fp32).

pub mod clip;
pub mod config;
pub mod device;
pub mod scaler;
pub mod schedule;

use tch::Tensor;

use crate::error::Result;
use crate::model::Weights;
use crate::shim::{adamw, AdamWArguments, AdamWTensors, ScaledTensors};

pub use clip::{GroupGradient, Scaling};
pub use config::{OptimConfig, ScheduleKind, Warmup};
pub use device::DeviceStep;
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

/// One AdamW update with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2):
/// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w·(1 − lr·λ) − lr·m̂/(√v̂ + ε), with m̂, v̂ corrected for bias.
/// λ is 0 for biases and LayerNorm. g is the gradient of a weight times its factor in `scaling`.
///
/// # Errors
/// When a weight has no gradient, and libtorch's own.
pub fn adamw_update(
    weights: &Weights,
    moments: &mut Moments,
    config: &OptimConfig,
    learning_rate: f64,
    scaling: &Scaling,
) -> Result<()> {
    let gradients: Vec<Tensor> = weights.entries().iter().map(|weight| weight.tensor.grad()).collect();
    let step = moments.num_updates + 1;
    let parameters: Vec<ScaledTensors<'_>> = weights
        .entries()
        .iter()
        .enumerate()
        .map(|(at, weight)| ScaledTensors {
            tensors: AdamWTensors {
                parameter: &weight.tensor,
                gradient: &gradients[at],
                exp_avg: &moments.exp_avg[at],
                exp_avg_sq: &moments.exp_avg_sq[at],
            },
            gradient_scale: scaling.factors[at],
            weight_decay: if weight.spec.decays() { config.weight_decay } else { 0.0 },
        })
        .collect();
    let [beta1, beta2] = config.betas;
    adamw(&parameters, AdamWArguments { learning_rate, beta1, beta2, epsilon: config.eps, step })?;
    moments.num_updates = step;
    Ok(())
}
