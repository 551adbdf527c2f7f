//! One training step: micro-batches → gradients → mean and clip → update.
//!
//! In: weights, moments, a learning rate, and a closure that gives each micro-batch's loss. Out: updated weights. It
//! knows neither masks nor sharing: a weight says itself how many layers use it. Cost: one forward and backward a
//! micro-batch, and three passes over the gradients (zeros, norm, update).
//!
//! What happened is known when the step returns, or read when somebody wants to know ([`ReportTiming`]): CUDA works beside the host, which
//! need not wait for it.

mod precision;

pub use precision::Precision;

use tch::Tensor;

use crate::error::Result;
use crate::model::Weights;
use crate::optim::{Moments, OptimConfig, Optimizer, ReportTiming};
use crate::parallel::{GradientSync, Message, ReducedMessage};

/// How a step's gradients become an update.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// AdamW and clipping.
    pub optim: &'a OptimConfig,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Sums gradients over processes and carries their messages; `None` where there is one.
    pub sync: Option<&'a GradientSync>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Loss of the global batch.
    pub loss: f64,
    /// Global gradient norm before clipping, a group's mean counted once a member.
    pub grad_norm: f64,
    /// Whether the weights were updated; not when loss or norm is not finite.
    pub applied: bool,
    /// What the loss was multiplied by for the backward; none where losses are not scaled.
    pub loss_scale: Option<f64>,
}

/// The report of a step that may still be under way.
#[derive(Debug)]
pub struct Pending {
    /// As [`Optimizer::update`] returns it.
    numbers: Tensor,
    /// The messages of all processes, as [`Message::encode`] makes them, a row each.
    messages: Tensor,
    is_scaled: bool,
    timing: ReportTiming,
}

impl Pending {
    /// Whether reading it waits for nothing.
    pub fn is_read(&self) -> bool {
        self.timing == ReportTiming::AtOnce
    }

    /// The report; waits until the device has done the step.
    ///
    /// # Errors
    /// libtorch's own, and what went wrong on the device since.
    pub fn read(&self) -> Result<StepReport> {
        let numbers = Vec::<f64>::try_from(&self.numbers)?;
        Ok(StepReport {
            loss: numbers[0],
            grad_norm: numbers[1],
            applied: numbers[2] == 0.0,
            loss_scale: Some(numbers[3]).filter(|_| self.is_scaled),
        })
    }

    /// What all processes said with the step; waits until the device has their messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn message(&self) -> Result<ReducedMessage> {
        ReducedMessage::decode(&self.messages)
    }
}

/// Runs `num_micro_batches` forwards and backwards and one AdamW update: [`accumulate_gradients`], then [`apply_gradients`] with a
/// message that says nothing.
///
/// # Errors
/// `loss`'s own and libtorch's.
pub fn train_step(
    optimizer: &mut Optimizer,
    weights: &Weights,
    moments: &mut Moments,
    update: Update<'_>,
    num_micro_batches: usize,
    loss: impl FnMut(usize) -> Result<Tensor>,
) -> Result<Pending> {
    accumulate_gradients(optimizer, weights, num_micro_batches, loss)?;
    apply_gradients(optimizer, weights, moments, update, &Message::default())
}

/// The first half of a step: `num_micro_batches` forwards and backwards. `loss` gives each micro-batch's share of the loss of the
/// global batch, so that the shares add up.
///
/// # Errors
/// `loss`'s own and libtorch's.
pub fn accumulate_gradients(
    optimizer: &mut Optimizer,
    weights: &Weights,
    num_micro_batches: usize,
    mut loss: impl FnMut(usize) -> Result<Tensor>,
) -> Result<()> {
    optimizer.begin(weights)?;
    (0..num_micro_batches).try_for_each(|index| optimizer.backward(&loss(index)?))
}

/// The second half: the sum over processes, which tell each other their `message` with it, and one AdamW update. Where reports are
/// read late, `moments.num_updates` is behind until [`Optimizer::settle`].
///
/// # Errors
/// Messages of another length than the processes agreed on, a process that is gone, and libtorch's own.
pub fn apply_gradients(
    optimizer: &mut Optimizer,
    weights: &Weights,
    moments: &mut Moments,
    update: Update<'_>,
    message: &Message,
) -> Result<Pending> {
    let mine = message.encode(optimizer.loss())?;
    let messages = match update.sync {
        Some(sync) => {
            let messages = sync.finish(&mine)?;
            optimizer.set_loss(ReducedMessage::loss_on_device(&messages)?);
            messages
        }
        None => mine.f_unsqueeze(0)?,
    };
    let numbers = optimizer.update(weights, moments, update.optim, update.learning_rate)?;
    Ok(Pending { numbers, messages, is_scaled: optimizer.is_scaled(), timing: optimizer.timing() })
}
