//! The `[optim]` table.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::classes;

/// How the learning rate falls after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Straight to 0 at the last step.
    Linear,
    /// Half a cosine to 0 at the last step.
    Cosine,
    /// Stays at the peak.
    Constant,
}

/// Length of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected steps (an integer of 0 or more) or a fraction of the run (0.01)")]
pub enum Warmup {
    /// In steps.
    Steps(u64),
    /// As a fraction of `train.steps`, in [0, 1).
    Fraction(f64),
}

/// AdamW, its schedule, and clipping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// Peak learning rate. Default: 1e-4 (BERT).
    pub lr: f64,
    /// Steps (an integer) or a fraction of all steps of linear warm-up. Default: 0.01.
    pub warmup: Warmup,
    /// `linear`, `cosine` or `constant`. Default: `linear`.
    pub schedule: ScheduleKind,
    /// Decoupled weight decay; not on biases and LayerNorm. Default: 0.01.
    pub weight_decay: f64,
    /// Decay of the first and second moment. Default: [0.9, 0.999].
    pub betas: [f64; 2],
    /// Added to the root of the second moment. Default: 1e-6.
    pub eps: f64,
    /// Largest global gradient norm; 0 turns clipping off. Default: 1.
    pub clip_norm: f64,
}

classes! { OptimConfig {
    Identity: lr, warmup, schedule, weight_decay, betas, eps, clip_norm;
} }

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            warmup: Warmup::Fraction(0.01),
            schedule: ScheduleKind::Linear,
            weight_decay: 0.01,
            betas: [0.9, 0.999],
            eps: 1e-6,
            clip_norm: 1.0,
        }
    }
}

impl OptimConfig {
    /// Warm-up steps of a run of `steps`.
    pub fn warmup_steps(&self, steps: u64) -> u64 {
        match self.warmup {
            Warmup::Steps(warmup) => warmup,
            Warmup::Fraction(fraction) => (fraction * steps as f64).round() as u64,
        }
    }

    /// Checks ranges for a run of `steps`.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn validate(&self, steps: u64) -> Result<()> {
        let refuse = |name: &str, range: &str, value: f64| {
            Err(Error::config(format!("`optim.{name}` must be {range}, got {value}")))
        };
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return refuse("lr", "finite and above 0", self.lr);
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("weight_decay", "0 or more", self.weight_decay);
        }
        if let Some(&beta) = self.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            return refuse("betas", "two numbers in [0, 1)", beta);
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return refuse("eps", "above 0", self.eps);
        }
        if !(self.clip_norm >= 0.0 && self.clip_norm.is_finite()) {
            return refuse("clip_norm", "0 or more", self.clip_norm);
        }
        if let Warmup::Fraction(fraction) = self.warmup {
            if !(0.0..1.0).contains(&fraction) {
                return refuse("warmup", "a number of steps or a fraction in [0, 1)", fraction);
            }
        }
        if self.warmup_steps(steps) > steps {
            return Err(Error::config(format!(
                "`optim.warmup` = {} steps is longer than `train.steps` = {steps}",
                self.warmup_steps(steps)
            )));
        }
        Ok(())
    }
}
