//! One training step: micro-batches → gradients → mean and clip → update.
//!
//! In: weights, moments, a learning rate, and a closure that gives each micro-batch's loss. Out: updated weights. It
//! knows neither masks nor sharing: a weight says itself how many layers use it. Cost: one forward and backward a
//! micro-batch, and three passes over the gradients (zeros, norm, update).
//!
//! There are two paths. On the host's ([`train_step`]) every number is known when the step returns. On the device's
//! ([`DeviceStep`]) none is: the host goes on at once, and reads what happened when it wants to know, or never.
//! [`Stepper::new`] chooses.

mod precision;

pub use precision::Precision;

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::Weights;
use crate::optim::{adamw_update, clip, DeviceStep, GroupGradient, Moments, OptimConfig, ScalerState};
use crate::parallel::GradientSync;

/// Set to `device`, it forces the device's path on the CPU, which has its operations too; for tests.
const FORCE: &str = "UNTIE_STEP";

/// How a step's gradients become an update.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// AdamW and clipping.
    pub optim: &'a OptimConfig,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// What tied layers hand to AdamW.
    pub gradient: GroupGradient,
    /// Sums gradients over processes; `None` where there is one.
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
pub struct Pending(Report);

#[derive(Debug)]
enum Report {
    Read(StepReport),
    /// As [`DeviceStep::update`] returns it, and whether losses are scaled.
    OnDevice(Tensor, bool),
}

impl Pending {
    /// Whether reading it waits for nothing.
    pub fn is_read(&self) -> bool {
        matches!(self.0, Report::Read(_))
    }

    /// The report; waits until the device has done the step.
    ///
    /// # Errors
    /// libtorch's own, and what went wrong on the device since.
    pub fn read(&self) -> Result<StepReport> {
        match &self.0 {
            Report::Read(report) => Ok(*report),
            Report::OnDevice(numbers, is_scaled) => {
                let numbers = Vec::<f64>::try_from(numbers)?;
                Ok(StepReport {
                    loss: numbers[0],
                    grad_norm: numbers[1],
                    applied: numbers[2] == 0.0,
                    loss_scale: Some(numbers[3]).filter(|_| *is_scaled),
                })
            }
        }
    }
}

/// Takes steps, and knows how many were skipped.
#[derive(Debug)]
pub struct Stepper(Path);

#[derive(Debug)]
enum Path {
    Host { num_skipped: u64 },
    Device(Box<DeviceStep>),
}

impl Stepper {
    /// The path for `weights`: the device's on CUDA for fp32 weights, and wherever losses are scaled, else the host's.
    /// `scaler`: where the loss scaler stands; none: losses are not scaled.
    ///
    /// # Errors
    /// As [`DeviceStep::new`].
    pub fn new(
        weights: &Weights,
        moments: &Moments,
        gradient: GroupGradient,
        scaler: Option<ScalerState>,
    ) -> Result<Self> {
        let leaves = || weights.entries().iter().map(|weight| &weight.tensor);
        let is_fp32 = leaves().all(|leaf| leaf.kind() == Kind::Float);
        let is_on_cuda = leaves().all(|leaf| leaf.device().is_cuda());
        let is_forced = std::env::var_os(FORCE).is_some_and(|path| path == "device");
        if scaler.is_some() || is_fp32 && (is_on_cuda || is_forced) {
            return Self::on_device(weights, moments, gradient, scaler);
        }
        Ok(Self(Path::Host { num_skipped: 0 }))
    }

    /// The device's path, wherever the weights are.
    ///
    /// # Errors
    /// As [`DeviceStep::new`].
    pub fn on_device(
        weights: &Weights,
        moments: &Moments,
        gradient: GroupGradient,
        scaler: Option<ScalerState>,
    ) -> Result<Self> {
        let step = DeviceStep::new(weights, moments.num_updates, gradient, scaler)?;
        Ok(Self(Path::Device(Box::new(step))))
    }

    /// One step, as [`train_step`]. On the device's path `moments.num_updates` is behind until [`Self::settle`], and
    /// `update.gradient` is what the stepper was made for.
    ///
    /// # Errors
    /// `loss`'s own and libtorch's.
    pub fn step(
        &mut self,
        weights: &Weights,
        moments: &mut Moments,
        update: Update<'_>,
        num_micro_batches: usize,
        mut loss: impl FnMut(usize) -> Result<Tensor>,
    ) -> Result<Pending> {
        match &mut self.0 {
            Path::Host { num_skipped } => {
                let report = train_step(weights, moments, update, num_micro_batches, loss)?;
                *num_skipped += u64::from(!report.applied);
                Ok(Pending(Report::Read(report)))
            }
            Path::Device(step) => {
                weights.zero_gradients();
                step.begin()?;
                for index in 0..num_micro_batches {
                    step.backward(&loss(index)?)?;
                }
                if let Some(sync) = update.sync {
                    sync.finish_on_device(step.loss())?;
                }
                let numbers = step.update(weights, moments, update.optim, update.learning_rate)?;
                Ok(Pending(Report::OnDevice(numbers, step.is_scaled())))
            }
        }
    }

    /// Brings `moments.num_updates` up to date, and returns how many steps were skipped since the last time. Waits for the
    /// device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn settle(&mut self, moments: &mut Moments) -> Result<u64> {
        match &mut self.0 {
            Path::Host { num_skipped } => Ok(std::mem::take(num_skipped)),
            Path::Device(step) => step.settle(moments),
        }
    }

    /// The loss scaler's state; none where losses are not scaled. Waits for the device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn scaler(&self) -> Result<Option<ScalerState>> {
        match &self.0 {
            Path::Host { .. } => Ok(None),
            Path::Device(step) => step.scaler(),
        }
    }
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
    if let Some(sync) = update.sync {
        sync.finish(&mut total)?;
    }
    let scaling = clip::scaling(weights, update.gradient, update.optim.clip_norm)?;
    let applied = total.is_finite() && scaling.norm.is_finite();
    if applied {
        adamw_update(weights, moments, update.optim, update.learning_rate, &scaling)?;
    }
    Ok(StepReport { loss: total, grad_norm: scaling.norm, applied, loss_scale: None })
}
