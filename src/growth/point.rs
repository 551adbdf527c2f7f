//! A point of the run, by its step or as a fraction of it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A point of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a step (an integer of 0 or more) or a fraction of the run (0.1)")]
pub enum RunPoint {
    /// After so many updates.
    Step(u64),
    /// After that fraction of `train.steps`, in (0, 1).
    Fraction(f64),
}

impl RunPoint {
    /// The number of updates before it in a run of `steps`.
    pub fn step(self, steps: u64) -> u64 {
        match self {
            Self::Step(step) => step,
            // A fraction asks for something before it, however short the run.
            Self::Fraction(fraction) => ((fraction * steps as f64).round() as u64).max(1),
        }
    }

    /// Checks that it is before the end of a run of `steps`; `name` is its key, `hint` what to do where it is not.
    pub(super) fn validate(self, name: &str, steps: u64, hint: &str) -> Result<()> {
        if let Self::Fraction(fraction) = self {
            if !(fraction > 0.0 && fraction < 1.0) {
                return Err(Error::config(format!("`{name}` must be a step or a fraction in (0, 1), got {fraction}"))
                    .hint(format!("write an integer for a step, e.g. `{name} = 1000`")));
            }
        }
        match self.step(steps) {
            step if step >= steps => Err(Error::config(format!(
                "`{name}` = {step} is not before the end of the run, `train.steps` = {steps}"
            ))
            .hint(hint)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_steps_or_fractions() {
        assert_eq!(RunPoint::Fraction(0.1).step(1500), 150);
        assert_eq!(RunPoint::Fraction(0.1).step(2), 1);
        assert_eq!(RunPoint::Step(7).step(1500), 7);
        for (point, words) in [
            (RunPoint::Step(10), "`at` = 10 is not before the end of the run, `train.steps` = 10"),
            (RunPoint::Fraction(1.0), "`at` must be a step or a fraction in (0, 1), got 1"),
        ] {
            let report = point.validate("at", 10, "earlier").unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
        RunPoint::Step(9).validate("at", 10, "earlier").unwrap();
    }
}
