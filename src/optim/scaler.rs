//! Dynamic loss scaling, for fp16, whose smallest numbers are too large for many gradients.
//!
//! The loss is multiplied by a scale before the backward, and gradients are divided by it afterwards. A step whose gradients
//! are not finite is skipped and halves the scale; [`GROWTH_INTERVAL`] good steps in a row double it: the rule and the
//! numbers of torch.amp.GradScaler (Micikevicius et al. 2017, section 3.2), with a floor of 1. Scale and tracker stay on the
//! device.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::error::Result;

/// Scale of a new run, 2^16.
const INITIAL_SCALE: f64 = 65_536.0;
/// What good steps multiply the scale by.
const GROWTH: f64 = 2.0;
/// What a skipped step multiplies it by.
const BACKOFF: f64 = 0.5;
/// Smallest scale.
const FLOOR: f64 = 1.0;
/// Good steps in a row before the scale grows.
pub const GROWTH_INTERVAL: i64 = 2000;

/// Where a scaler stands, as checkpoints keep it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalerState {
    /// What the next loss is multiplied by.
    pub scale: f64,
    /// Good steps since the scale last changed.
    pub growth_tracker: i64,
}

impl Default for ScalerState {
    fn default() -> Self {
        Self { scale: INITIAL_SCALE, growth_tracker: 0 }
    }
}

/// A scale on a device.
#[derive(Debug)]
pub(super) struct LossScaler {
    /// float32 scalar.
    scale: Tensor,
    /// int32 scalar.
    growth_tracker: Tensor,
}

impl LossScaler {
    pub(super) fn new(state: ScalerState, device: Device) -> Result<Self> {
        Ok(Self {
            scale: Tensor::from(state.scale as f32).f_to_device(device)?,
            growth_tracker: Tensor::from(state.growth_tracker as i32).f_to_device(device)?,
        })
    }

    /// What the loss of this step is multiplied by, a float32 scalar.
    pub(super) fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// Takes note of a step; `found_inf`, a float32 scalar, is 1 where it was skipped, else 0.
    pub(super) fn update(&mut self, found_inf: &Tensor) -> Result<()> {
        let Self { scale, growth_tracker } = self;
        let _ = scale.f_internal_amp_update_scale_(growth_tracker, found_inf, GROWTH, BACKOFF, GROWTH_INTERVAL)?;
        let _ = scale.f_clamp_min_(FLOOR)?;
        Ok(())
    }

    /// Reads it to the host, which waits for the device.
    pub(super) fn state(&self) -> Result<ScalerState> {
        Ok(ScalerState { scale: f64::try_from(&self.scale)?, growth_tracker: i64::try_from(&self.growth_tracker)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.amp.GradScaler's rule by hand: from 2^16 with 1997 good steps behind it. Good steps to 1998, 1999, and the third is
    /// the 2000th: ×2, count from 0. Overflow: ×1/2, count from 0, twice in a row: 2^17·1/2·1/2 = 2^15. Good: 1, 2.
    /// Overflow: 2^14.
    #[test]
    fn scales_follow_the_rule() {
        let start = ScalerState { scale: 65_536.0, growth_tracker: 1997 };
        let mut scaler = LossScaler::new(start, Device::Cpu).unwrap();
        let expected = [
            (0, 65_536.0, 1998),
            (0, 65_536.0, 1999),
            (0, 131_072.0, 0),
            (1, 65_536.0, 0),
            (1, 32_768.0, 0),
            (0, 32_768.0, 1),
            (0, 32_768.0, 2),
            (1, 16_384.0, 0),
        ];
        for (found_inf, scale, growth_tracker) in expected {
            scaler.update(&Tensor::from(found_inf as f32)).unwrap();
            assert_eq!(scaler.state().unwrap(), ScalerState { scale, growth_tracker });
        }
    }

    #[test]
    fn the_scale_neither_falls_below_1_nor_becomes_infinite() {
        let mut scaler = LossScaler::new(ScalerState { scale: 2.0, growth_tracker: 7 }, Device::Cpu).unwrap();
        for _ in 0..3 {
            scaler.update(&Tensor::from(1_f32)).unwrap();
        }
        assert_eq!(scaler.state().unwrap(), ScalerState { scale: 1.0, growth_tracker: 0 });
        // 2^127 is fp32's largest power of two.
        let top = ScalerState { scale: 2_f64.powi(127), growth_tracker: GROWTH_INTERVAL - 1 };
        let mut scaler = LossScaler::new(top, Device::Cpu).unwrap();
        scaler.update(&Tensor::from(0_f32)).unwrap();
        assert_eq!(scaler.state().unwrap(), ScalerState { growth_tracker: 0, ..top });
    }
}
