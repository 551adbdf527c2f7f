//! The update on a device that works beside the host, as CUDA does: every number of a step stays there until it is asked for.
//!
//! In: gradients as autograd leaves them, sums over tied layers times the loss scale. Out: updated weights and moments, and
//! a tensor of what happened. The update of clip.rs and AdamW, in another order of rounding: the norms take one pass over
//! the gradients, and AdamW's kernel divides them, by n·s·max(1, ‖ḡ‖/clip) with n layers to a group and loss scale s, in the
//! pass that it makes anyway. A step that is not finite is skipped by the kernel itself. Cost: a few dozen launches.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::Weights;
use crate::optim::clip::GroupGradient;
use crate::optim::scaler::{LossScaler, ScalerState};
use crate::optim::{Moments, OptimConfig};
use crate::shim::{device_adamw, device_norms, AdamWArguments, AdamWTensors, DeviceScalars};

/// What steps keep on the device.
#[derive(Debug)]
pub struct DeviceStep {
    /// Weights that share decay and divisor, one call of AdamW each.
    groups: Vec<Group>,
    /// n of each group, fp64 `[number of groups]`.
    group_divisors: Tensor,
    /// n of each weight, fp64 `[number of weights]`.
    divisors: Tensor,
    /// Updates applied, a float32 scalar: exact to 2^24, as torch.optim's.
    num_updates: Tensor,
    /// Loss of the step under way, an fp64 scalar.
    loss: Tensor,
    scaler: Option<LossScaler>,
    /// Steps since the host last read `num_updates`.
    num_unread: u64,
}

#[derive(Debug)]
struct Group {
    weights: Vec<usize>,
    decays: bool,
    divisor: f64,
}

impl DeviceStep {
    /// For `weights` on their device, after `num_updates` updates; with `scaler`, losses are scaled.
    ///
    /// # Errors
    /// No weights, weights that are not fp32, and libtorch's own.
    pub fn new(
        weights: &Weights,
        num_updates: u64,
        gradient: GroupGradient,
        scaler: Option<ScalerState>,
    ) -> Result<Self> {
        let Some(first) = weights.entries().first() else { return Err(Error::failed("expected weights, got none")) };
        let (device, kind) = (first.tensor.device(), first.tensor.kind());
        if kind != Kind::Float {
            return Err(Error::failed(format!("a step on the device: expected weights of kind Float, got {kind:?}")));
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut divisors = Vec::new();
        for (at, weight) in weights.entries().iter().enumerate() {
            let (decays, divisor) = (weight.spec.decays(), gradient.divisor(weight.members));
            divisors.push(divisor);
            match groups.iter_mut().find(|group| group.decays == decays && group.divisor == divisor) {
                Some(group) => group.weights.push(at),
                None => groups.push(Group { weights: vec![at], decays, divisor }),
            }
        }
        let group_divisors: Vec<f64> = groups.iter().map(|group| group.divisor).collect();
        Ok(Self {
            groups,
            group_divisors: Tensor::f_from_slice(&group_divisors)?.f_to_device(device)?,
            divisors: Tensor::f_from_slice(&divisors)?.f_to_device(device)?,
            num_updates: Tensor::from(num_updates as f32).f_to_device(device)?,
            loss: Tensor::f_zeros([], (Kind::Double, device))?,
            scaler: scaler.map(|state| LossScaler::new(state, device)).transpose()?,
            num_unread: 0,
        })
    }

    /// Begins a step: no loss yet.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn begin(&mut self) -> Result<()> {
        let _ = self.loss.f_zero_()?;
        Ok(())
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

    /// Ends the step with its update, from the gradients of `weights`. Returns what happened, fp64 `[4]` on the device: loss,
    /// gradient norm before clipping, 1 if the update was skipped else 0, loss scale (1 where losses are not scaled).
    ///
    /// # Errors
    /// When a weight has no gradient, and libtorch's own.
    pub fn update(
        &mut self,
        weights: &Weights,
        moments: &Moments,
        config: &OptimConfig,
        learning_rate: f64,
    ) -> Result<Tensor> {
        let gradients: Vec<Tensor> = weights.entries().iter().map(|weight| weight.tensor.grad()).collect();
        let scale = match &self.scaler {
            Some(scaler) => scaler.scale().f_to_kind(Kind::Double)?,
            None => self.loss.f_ones_like()?,
        };
        // n·‖sum/n‖² = ‖sum‖²/n
        let squares = device_norms(&gradients)?.f_square()?.f_div(&self.divisors)?;
        let norm = squares.f_sum(Kind::Double)?.f_sqrt()?.f_div(&scale)?;
        let found_inf = norm.f_add(&self.loss)?.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
        let mut divisor = scale.shallow_clone();
        if config.clip_norm > 0.0 {
            // 1/min(1, clip/(norm + 1e-6)); the 1e-6 is torch.nn.utils.clip_grad_norm_'s.
            let excess = norm.f_add_scalar(1e-6)?.f_div_scalar(config.clip_norm)?.f_clamp_min(1.0)?;
            divisor = divisor.f_mul(&excess)?;
        }
        let divisors = self.group_divisors.f_mul(&divisor)?.f_to_kind(Kind::Float)?;
        // Before the kernel, which counts from 1; a skipped step does not count.
        let _ = self.num_updates.f_add_(&found_inf.f_rsub_scalar(1.0)?)?;
        for (group, divisor) in self.groups.iter().zip(divisors.f_unbind(0)?) {
            let arguments = AdamWArguments {
                learning_rate,
                beta1: config.betas[0],
                beta2: config.betas[1],
                epsilon: config.eps,
                step: 0,
            };
            let tensors: Vec<AdamWTensors<'_>> = group
                .weights
                .iter()
                .map(|&at| AdamWTensors {
                    parameter: &weights.entries()[at].tensor,
                    gradient: &gradients[at],
                    exp_avg: &moments.exp_avg[at],
                    exp_avg_sq: &moments.exp_avg_sq[at],
                })
                .collect();
            let scalars = DeviceScalars { step: &self.num_updates, divisor: &divisor, found_inf: &found_inf };
            device_adamw(&tensors, if group.decays { config.weight_decay } else { 0.0 }, arguments, scalars)?;
        }
        if let Some(scaler) = &mut self.scaler {
            scaler.update(&found_inf)?;
        }
        self.num_unread += 1;
        Ok(Tensor::f_stack(&[&self.loss, &norm, &found_inf.f_to_kind(Kind::Double)?, &scale], 0)?)
    }

    /// Brings `moments.num_updates` up to date, and returns how many steps were skipped since the last time. Waits for the
    /// device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn settle(&mut self, moments: &mut Moments) -> Result<u64> {
        let num_updates = f64::try_from(&self.num_updates)? as u64;
        let num_skipped = self.num_unread - (num_updates - moments.num_updates);
        (self.num_unread, moments.num_updates) = (0, num_updates);
        Ok(num_skipped)
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
