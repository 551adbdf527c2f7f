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
    /// Stays at the peak until its decay begins, which ends at 0 at the last step (warm-up, stable, decay).
    Wsd,
}

/// How the learning rate falls in the decay of `wsd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecayShape {
    /// 1 − p after a part p of the decay.
    Linear,
    /// 1 − √p.
    Sqrt,
}

/// A number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected steps (an integer of 0 or more) or a fraction of the run (0.01)")]
pub enum Span {
    /// In steps.
    Steps(u64),
    /// As a fraction of all steps of the schedule, in [0, 1).
    Fraction(f64),
}

impl Span {
    /// So many of `steps`.
    fn of(self, steps: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Fraction(fraction) => (fraction * steps as f64).round() as u64,
        }
    }
}

/// AdamW, its schedule, and clipping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// Peak learning rate. Default: 1e-4 (BERT).
    pub lr: f64,
    /// Length of the linear warm-up: steps (an integer) or a fraction of all steps. Default: 0.01.
    pub warmup: Span,
    /// How the learning rate falls after the warm-up: `linear`, `cosine`, `constant` or `wsd` (warm-up, stable, decay).
    /// Default: `linear`.
    pub schedule: ScheduleKind,
    /// For `wsd`: length of the decay, in steps (an integer) or as a fraction of all steps. Default: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<Span>,
    /// For `wsd`: `linear`, or `sqrt` (1 − √p after the fraction p of the decay). Default: `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_shape: Option<DecayShape>,
    /// For `wsd`, instead of `decay`: where the decay begins, a step (an integer) or a fraction of all steps. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_from: Option<Span>,
    /// AdamW's weight decay. Biases and LayerNorm have none. Default: 0.01.
    pub weight_decay: f64,
    /// AdamW's β1 and β2: decay of the first and second moment. Default: [0.9, 0.999].
    pub betas: [f64; 2],
    /// AdamW's ε, added to the root of the second moment. Default: 1e-6.
    pub eps: f64,
    /// Largest global norm of the gradients; longer gradients are clipped. 0: no clipping. Default: 1.
    pub clip_norm: f64,
}

classes! { OptimConfig {
    Identity: lr, warmup, schedule, decay, decay_shape, decay_from, weight_decay, betas, eps, clip_norm;
} }

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            warmup: Span::Fraction(0.01),
            schedule: ScheduleKind::Linear,
            decay: None,
            decay_shape: None,
            decay_from: None,
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
        self.warmup.of(steps)
    }

    /// The step, of `steps` that follow step `start` of a run, at which the decay of `wsd` begins.
    pub fn decay_start(&self, start: u64, steps: u64) -> u64 {
        match self.decay_from {
            Some(Span::Steps(from)) => from.saturating_sub(start).min(steps),
            Some(from) => from.of(steps).min(steps),
            None => steps.saturating_sub(self.decay.unwrap_or(Span::Fraction(0.1)).of(steps)),
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
        if let Span::Fraction(fraction) = self.warmup {
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
        self.validate_decay(steps)
    }

    fn validate_decay(&self, steps: u64) -> Result<()> {
        let Self { decay, decay_shape, decay_from, .. } = self;
        let set =
            [("decay", decay.is_some()), ("decay_shape", decay_shape.is_some()), ("decay_from", decay_from.is_some())];
        if self.schedule != ScheduleKind::Wsd {
            return match set.iter().find(|(_, is_set)| *is_set) {
                Some((name, _)) => Err(Error::config(format!("`optim.{name}` is for `optim.schedule = \"wsd\"`"))
                    .hint(format!("leave out `optim.{name}`, or choose that schedule"))),
                None => Ok(()),
            };
        }
        if decay.is_some() && decay_from.is_some() {
            return Err(Error::config("`optim.decay` and `optim.decay_from` are both set")
                .hint("the decay ends with the run: say how long it is or where it begins"));
        }
        for (name, span) in [("decay", decay), ("decay_from", decay_from)] {
            if let Some(Span::Fraction(fraction)) = span.filter(|span| !matches!(span, Span::Fraction(0.0..=1.0))) {
                return Err(Error::config(format!(
                    "`optim.{name}` must be a number of steps or a fraction in [0, 1], got {fraction}"
                )));
            }
        }
        let (warmup, start) = (self.warmup_steps(steps), self.decay_start(0, steps));
        if start < warmup {
            return Err(Error::config(format!(
                "the decay of `optim.schedule = \"wsd\"` begins at step {start}, within `optim.warmup` = {warmup} steps"
            ))
            .hint("shorten the decay or the warm-up"));
        }
        if let Some(Span::Steps(from)) = decay_from.filter(|from| matches!(from, Span::Steps(from) if *from >= steps)) {
            return Err(Error::config(format!(
                "`optim.decay_from` = {from} is not before the end of the run, `train.steps` = {steps}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_decays_are_named() {
        let wsd = || OptimConfig { schedule: ScheduleKind::Wsd, ..Default::default() };
        wsd().validate(100).unwrap();
        for (config, words) in [
            (
                OptimConfig { decay: Some(Span::Steps(3)), ..Default::default() },
                "`optim.decay` is for `optim.schedule = \"wsd\"`",
            ),
            (
                OptimConfig { decay: Some(Span::Steps(3)), decay_from: Some(Span::Steps(3)), ..wsd() },
                "`optim.decay` and `optim.decay_from` are both set",
            ),
            (OptimConfig { decay: Some(Span::Fraction(1.5)), ..wsd() }, "`optim.decay` must be a number of steps"),
            (OptimConfig { decay: Some(Span::Fraction(f64::NAN)), ..wsd() }, "a fraction in [0, 1], got NaN"),
            (
                OptimConfig { decay: Some(Span::Steps(101)), ..wsd() },
                "begins at step 0, within `optim.warmup` = 1 steps",
            ),
            (
                OptimConfig { decay_from: Some(Span::Steps(100)), ..wsd() },
                "`optim.decay_from` = 100 is not before the end of the run",
            ),
        ] {
            let report = config.validate(100).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }

    #[test]
    fn a_decay_is_given_by_its_length_or_its_beginning() {
        let start = |decay, decay_from| OptimConfig { decay, decay_from, ..Default::default() }.decay_start(0, 200);
        assert_eq!(start(None, None), 180);
        assert_eq!(start(Some(Span::Steps(30)), None), 170);
        assert_eq!(start(Some(Span::Fraction(0.25)), None), 150);
        assert_eq!(start(None, Some(Span::Steps(30))), 30);
        assert_eq!(start(None, Some(Span::Fraction(0.25))), 50);
    }
}
