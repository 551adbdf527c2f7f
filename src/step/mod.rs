//! One training step: micro-batches → gradients → mean and clip → update.
//!
//! In: weights, moments, a learning rate, and a closure that gives each micro-batch's loss. Out: updated weights. It
//! knows neither masks nor sharing: a weight says itself how many layers use it. Cost: one forward and backward a
//! micro-batch, and three passes over the gradients (zeros, norm, update).

use tch::Tensor;

use crate::error::Result;
use crate::model::Weights;
use crate::optim::{adamw_update, clip, GroupGradient, Moments, OptimConfig};

/// How a step's gradients become an update.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// AdamW and clipping.
    pub optim: &'a OptimConfig,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// What tied layers hand to AdamW.
    pub gradient: GroupGradient,
}

/// What a step did.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Loss of the global batch.
    pub loss: f64,
    /// Global gradient norm before clipping, a group's mean counted once a member.
    pub grad_norm: f64,
    /// Whether the weights were updated; not when loss or norm is not finite.
    pub applied: bool,
}

/// Runs `num_micro_batches` forwards and backwards and one AdamW update. `loss` gives each micro-batch's share of the
/// loss of the global batch, so that the shares add up.
///
/// # Errors
/// `loss`'s own and libtorch's.
pub fn train_step(
    weights: &Weights,
    moments: &mut Moments,
    update: Update<'_>,
    num_micro_batches: usize,
    mut loss: impl FnMut(usize) -> Result<Tensor>,
) -> Result<StepReport> {
    weights.zero_gradients();
    let mut total = 0.0;
    for index in 0..num_micro_batches {
        let share = loss(index)?;
        share.f_backward()?;
        total += f64::try_from(&share)?;
    }
    let scaling = clip::scaling(weights, update.gradient, update.optim.clip_norm)?;
    let applied = total.is_finite() && scaling.norm.is_finite();
    if applied {
        adamw_update(weights, moments, update.optim, update.learning_rate, &scaling)?;
    }
    Ok(StepReport { loss: total, grad_norm: scaling.norm, applied })
}
