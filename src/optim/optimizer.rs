//! AdamW over the weights of a model, on their device.
//!
//! In: gradients as autograd leaves them, sums over tied layers times the loss scale. Out: updated weights and moments, and
//! a tensor of what happened. Nothing here waits for the device: CUDA's numbers stay there until they are asked for, and its
//! kernel skips by itself a step that is not finite. On the CPU the same tensors are read where they are needed.
//! Cost: one pass over the gradients for the norms and one over everything for the update; a few dozen launches on CUDA.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::{Weight, Weights};
use crate::optim::clip::{scaling, GroupGradient, Scaling};
use crate::optim::scaler::{LossScaler, ScalerState};
use crate::optim::{Moments, OptimConfig};
use crate::shim::{
    adamw, device_adamw, norms, AdamWArguments, AdamWTensors, DeviceAdamW, DeviceFactors, DeviceScalars, ScaledTensors,
};

/// When the host learns what a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportTiming {
    /// Before the step returns.
    AtOnce,
    /// When it asks, so that it can go on while the device works.
    Late,
}

impl ReportTiming {
    /// Late on CUDA, which works beside the host.
    pub fn for_device(device: Device) -> Self {
        match device.is_cuda() {
            true => Self::Late,
            false => Self::AtOnce,
        }
    }
}

/// AdamW with clipping and, if asked for, loss scaling. The moments are kept beside it ([`Moments`]).
#[derive(Debug)]
pub struct Optimizer {
    /// Weights that share decay and divisor, one call of CUDA's kernel each.
    groups: Vec<Group>,
    /// What each weight's gradient is divided by for the mean over its layers, fp64 `[number of weights]`.
    divisors: Tensor,
    /// Updates applied, a float32 scalar: exact to 2^24, as torch.optim's.
    num_updates: Tensor,
    /// Loss of the step under way, an fp64 scalar.
    loss: Tensor,
    scaler: Option<LossScaler>,
    timing: ReportTiming,
    kernel: Kernel,
    /// Whether the last update left gradients of 0.
    gradients_are_zero: bool,
    /// Whether this step's gradients are read after the update.
    keeps_gradients: bool,
    /// `num_updates` at the last [`Self::settle`].
    num_settled: u64,
    /// Steps since.
    num_unread: u64,
}

/// Whose AdamW it is.
#[derive(Debug)]
enum Kernel {
    /// This project's, on the CPU.
    Cpu,
    /// libtorch's, which reads its numbers on the device.
    Libtorch,
    /// This project's on CUDA, which reads them there too.
    Cuda(DeviceAdamW),
}

#[derive(Debug, PartialEq)]
struct Group {
    weights: Vec<usize>,
    decays: bool,
    divisor: f64,
}

impl Optimizer {
    /// For `weights` on their device, after `num_updates` updates; with `scaler`, losses are scaled.
    ///
    /// # Errors
    /// No weights, weights on CUDA that are not fp32, and libtorch's own.
    pub fn new(
        weights: &Weights,
        num_updates: u64,
        gradient: GroupGradient,
        scaler: Option<ScalerState>,
        timing: ReportTiming,
    ) -> Result<Self> {
        let Some(first) = weights.entries().first() else { return Err(Error::failed("expected weights, got none")) };
        let (device, kind) = (first.tensor.device(), first.tensor.kind());
        if device.is_cuda() && kind != Kind::Float {
            return Err(Error::config(format!("AdamW on CUDA: expected weights of kind Float, got {kind:?}"))
                .hint("set `train.precision` to `fp32`, `bf16` or `fp16`, or train on the CPU"));
        }
        let (groups, divisors) = grouped(weights, gradient, |weight| weight.members);
        Ok(Self {
            groups,
            divisors: Tensor::f_from_slice(&divisors)?.f_to_device(device)?,
            num_updates: Tensor::from(num_updates as f32).f_to_device(device)?,
            loss: Tensor::f_zeros([], (Kind::Double, device))?,
            scaler: scaler.map(|state| LossScaler::new(state, device)).transpose()?,
            timing,
            kernel: if device.is_cuda() { Kernel::Libtorch } else { Kernel::Cpu },
            gradients_are_zero: false,
            keeps_gradients: false,
            num_settled: num_updates,
            num_unread: 0,
        })
    }

    /// The same with libtorch's fused kernel for AdamW, which CUDA takes, also on the CPU; for fp32 weights.
    #[must_use]
    pub fn with_libtorchs_adamw(self) -> Self {
        Self { kernel: Kernel::Libtorch, ..self }
    }

    /// The same with this project's CUDA kernel for AdamW, for fp32 weights.
    ///
    /// # Errors
    /// No memory.
    pub fn with_cuda_adamw(self) -> Result<Self> {
        Ok(Self { kernel: Kernel::Cuda(DeviceAdamW::new()?), ..self })
    }

    /// From now on so many layers use each weight group as `members` says, by its number.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn set_members(
        &mut self,
        weights: &Weights,
        gradient: GroupGradient,
        members: impl Fn(usize) -> usize,
    ) -> Result<()> {
        let (groups, divisors) = grouped(weights, gradient, |weight| weight.spec.group.map_or(1, &members));
        if self.groups == groups {
            return Ok(());
        }
        self.groups = groups;
        self.divisors = Tensor::f_from_slice(&divisors)?.f_to_device(self.divisors.device())?;
        Ok(())
    }

    /// Begins a step: no loss and no gradients yet.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn begin(&mut self, weights: &Weights) -> Result<()> {
        if !std::mem::take(&mut self.gradients_are_zero) {
            weights.zero_gradients();
        }
        self.keeps_gradients = false;
        let _ = self.loss.f_zero_()?;
        Ok(())
    }

    /// The gradients of the step under way are read after its update.
    pub fn keep_gradients(&mut self) {
        self.keeps_gradients = true;
    }

    /// Adds a micro-batch's share of the loss, a scalar with a graph, and runs its backward.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn backward(&mut self, share: &Tensor) -> Result<()> {
        let _ = self.loss.f_add_(&share.detach())?;
        match &self.scaler {
            Some(scaler) => share.f_mul(scaler.scale())?.f_backward()?,
            None => share.f_backward()?,
        }
        Ok(())
    }

    /// The loss so far, an fp64 scalar on the device.
    pub fn loss(&self) -> &Tensor {
        &self.loss
    }

    /// The loss of all processes instead, an fp64 scalar on the device; before the update.
    pub fn set_loss(&mut self, loss: Tensor) {
        self.loss = loss;
    }

    /// Ends the step with its update, from the gradients of `weights`: AdamW with decoupled weight decay (Loshchilov & Hutter
    /// 2019, algorithm 2), m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w·(1 − lr·λ) − lr·m̂/(√v̂ + ε), with m̂, v̂ corrected for
    /// bias. λ is 0 for biases and LayerNorm; g is the gradient times its factor ([`Scaling`]).
    ///
    /// Returns what happened, fp64 `[4]` on the device: loss, gradient norm before clipping, 1 if the update was skipped else 0, loss
    /// scale (1 where losses are not scaled).
    ///
    /// # Errors
    /// When a weight has no gradient, and libtorch's own.
    pub fn update(
        &mut self,
        weights: &Weights,
        moments: &mut Moments,
        config: &OptimConfig,
        learning_rate: f64,
    ) -> Result<Tensor> {
        let gradients: Vec<Tensor> = weights.entries().iter().map(|weight| weight.tensor.grad()).collect();
        let scale = self.scaler.as_ref().map(|scaler| scaler.scale().f_to_kind(Kind::Double)).transpose()?;
        let Scaling { norm, factors } = scaling(&norms(&gradients)?, &self.divisors, scale.as_ref(), config.clip_norm)?;
        let skipped = norm.f_add(&self.loss)?.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
        // Before the update, whose number it is, from 1; a skipped step does not count.
        let _ = self.num_updates.f_add_(&skipped.f_rsub_scalar(1.0)?)?;
        let tensors: Vec<AdamWTensors<'_>> = weights
            .entries()
            .iter()
            .enumerate()
            .map(|(at, weight)| AdamWTensors {
                parameter: &weight.tensor,
                gradient: &gradients[at],
                exp_avg: &moments.exp_avg[at],
                exp_avg_sq: &moments.exp_avg_sq[at],
            })
            .collect();
        let decay = |decays| if decays { config.weight_decay } else { 0.0 };
        let [beta1, beta2] = config.betas;
        let arguments = AdamWArguments { learning_rate, beta1, beta2, epsilon: config.eps };
        match &mut self.kernel {
            Kernel::Libtorch => {
                let divisors = factors.f_reciprocal()?.f_to_kind(Kind::Float)?;
                for group in &self.groups {
                    let of_group: Vec<_> = group.weights.iter().map(|&at| tensors[at]).collect();
                    let divisor = divisors.f_select(0, group.weights[0] as i64)?;
                    let scalars = DeviceScalars { step: &self.num_updates, divisor: &divisor, found_inf: &skipped };
                    device_adamw(&of_group, decay(group.decays), arguments, scalars)?;
                }
            }
            Kernel::Cuda(adamw) => {
                let on_device = DeviceFactors { factors: &factors, skipped: &skipped, num_updates: &self.num_updates };
                let decays = |at: usize| weights.entries()[at].spec.decays();
                adamw.update(&tensors, decays, config.weight_decay, arguments, on_device, self.keeps_gradients)?;
                self.gradients_are_zero = !self.keeps_gradients;
            }
            Kernel::Cpu if f64::try_from(&skipped)? == 0.0 => {
                let factors = Vec::<f64>::try_from(&factors)?;
                let scaled: Vec<ScaledTensors<'_>> = tensors
                    .iter()
                    .zip(weights.entries())
                    .zip(factors)
                    .map(|((&tensors, weight), gradient_scale)| ScaledTensors {
                        tensors,
                        gradient_scale,
                        weight_decay: decay(weight.spec.decays()),
                    })
                    .collect();
                adamw(&scaled, arguments, self.read_num_updates()?)?;
            }
            Kernel::Cpu => {}
        }
        if let Some(scaler) = &mut self.scaler {
            scaler.update(&skipped)?;
        }
        self.num_unread += 1;
        if self.timing == ReportTiming::AtOnce {
            moments.num_updates = self.read_num_updates()?;
        }
        let scale = scale.map_or_else(|| self.loss.f_ones_like(), Ok)?;
        Ok(Tensor::f_stack(&[&self.loss, &norm, &skipped.f_to_kind(Kind::Double)?, &scale], 0)?)
    }

    fn read_num_updates(&self) -> Result<u64> {
        Ok(f64::try_from(&self.num_updates)? as u64)
    }

    /// Brings `moments.num_updates` up to date, and returns how many steps were skipped since the last time. Waits for the
    /// device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn settle(&mut self, moments: &mut Moments) -> Result<u64> {
        let num_updates = self.read_num_updates()?;
        let num_skipped = self.num_unread - (num_updates - self.num_settled);
        (self.num_settled, self.num_unread, moments.num_updates) = (num_updates, 0, num_updates);
        Ok(num_skipped)
    }

    /// When the host learns what a step did.
    pub fn timing(&self) -> ReportTiming {
        self.timing
    }

    /// Whether losses are scaled.
    pub fn is_scaled(&self) -> bool {
        self.scaler.is_some()
    }

    /// The loss scaler's state; none where losses are not scaled. Waits for the device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn scaler(&self) -> Result<Option<ScalerState>> {
        self.scaler.as_ref().map(LossScaler::state).transpose()
    }
}

/// `weights` by decay and divisor, and the divisor of each, where so many layers use a weight as `members` says.
fn grouped(weights: &Weights, gradient: GroupGradient, members: impl Fn(&Weight) -> usize) -> (Vec<Group>, Vec<f64>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut divisors = Vec::new();
    for (at, weight) in weights.entries().iter().enumerate() {
        let (decays, divisor) = (weight.spec.decays(), gradient.divisor(members(weight)));
        divisors.push(divisor);
        match groups.iter_mut().find(|group| group.decays == decays && group.divisor == divisor) {
            Some(group) => group.weights.push(at),
            None => groups.push(Group { weights: vec![at], decays, divisor }),
        }
    }
    (groups, divisors)
}
