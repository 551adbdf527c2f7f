//! AdamW by this project's CUDA kernel, of all tensors in one launch (csrc/device/optimizer.cpp).

use std::ffi::c_void;
use std::ptr::{null_mut, NonNull};

use tch::{Kind, Tensor};

use super::device_step::is_scalar;
use super::ffi::{check, untie_device_adamw_free, untie_device_adamw_new, untie_device_adamw_update, CAdamW};
use super::optim::{floating, same_layout, AdamWArguments, AdamWTensors};
use crate::error::{Error, Result};

/// What an update reads on the device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFactors<'a> {
    /// What each tensor's gradient is multiplied by first, float64 `[number of tensors]`.
    pub factors: &'a Tensor,
    /// 1 to leave everything but the gradients as it is, else 0; a float32 scalar.
    pub skipped: &'a Tensor,
    /// Number of this update, from 1; a float32 scalar.
    pub num_updates: &'a Tensor,
}

/// The updates of one model.
#[derive(Debug)]
pub struct DeviceAdamW {
    handle: NonNull<c_void>,
}

impl DeviceAdamW {
    /// Without a table of tensors yet.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self> {
        let mut handle = null_mut();
        // SAFETY: `handle` outlives the call, which writes it or fails.
        check(unsafe { untie_device_adamw_new(&raw mut handle) })?;
        Ok(Self { handle: NonNull::new(handle).ok_or_else(|| Error::failed("no AdamW was made"))? })
    }

    /// One AdamW update of all `tensors`, float32, of which those that `decays` names have `weight_decay`. Copies in 16 bits that layers
    /// read are written in the same pass. Gradients become 0, unless `keeps_gradients`.
    ///
    /// # Errors
    /// Tensors that are not float32, shapes or devices that differ, a tensor that is not contiguous, and CUDA's own.
    pub fn update(
        &mut self,
        tensors: &[AdamWTensors<'_>],
        decays: impl Fn(usize) -> bool,
        weight_decay: f64,
        arguments: AdamWArguments,
        on_device: DeviceFactors<'_>,
        keeps_gradients: bool,
    ) -> Result<()> {
        let Some(device) = tensors.first().map(|first| first.parameter.device()) else { return Ok(()) };
        for entry in tensors {
            floating([entry.parameter])?;
            if entry.parameter.kind() != Kind::Float || entry.parameter.device() != device {
                return Err(Error::failed(format!("expected Float on {device:?}, got {:?}", entry.parameter)));
            }
            for (name, other) in
                [("gradient", entry.gradient), ("first moment", entry.exp_avg), ("second moment", entry.exp_avg_sq)]
            {
                same_layout(name, entry.parameter, other)?;
            }
        }
        let DeviceFactors { factors, skipped, num_updates } = on_device;
        is_scalar("skipped", skipped, device)?;
        is_scalar("num_updates", num_updates, device)?;
        if factors.kind() != Kind::Double || factors.numel() != tensors.len() || factors.device() != device {
            return Err(Error::failed(format!("expected {} factors on {device:?}, got {factors:?}", tensors.len())));
        }
        let entries: Vec<CAdamW> = tensors
            .iter()
            .enumerate()
            .map(|(at, tensors)| CAdamW {
                parameter: tensors.parameter.as_ptr(),
                gradient: tensors.gradient.as_ptr(),
                exp_avg: tensors.exp_avg.as_ptr(),
                exp_avg_sq: tensors.exp_avg_sq.as_ptr(),
                gradient_scale: 1.0,
                weight_decay: if decays(at) { weight_decay } else { 0.0 },
            })
            .collect();
        let AdamWArguments { learning_rate, beta1, beta2, epsilon } = arguments;
        // SAFETY: the handle is alive, and so are the tensors, checked above for what the kernel reads through pointers.
        check(unsafe {
            untie_device_adamw_update(
                self.handle.as_ptr(),
                entries.len(),
                entries.as_ptr(),
                keeps_gradients,
                learning_rate,
                beta1,
                beta2,
                epsilon,
                weight_decay,
                factors.as_ptr(),
                skipped.as_ptr(),
                num_updates.as_ptr(),
            )
        })
    }
}

impl Drop for DeviceAdamW {
    fn drop(&mut self) {
        // SAFETY: the handle came from untie_device_adamw_new and is freed once.
        unsafe { untie_device_adamw_free(self.handle.as_ptr()) }
    }
}
