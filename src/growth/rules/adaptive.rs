//! SWE-A: everything unties when the gradients of most neighbours stop agreeing (arXiv 2110.03848, section 3).

use serde_json::{json, Value};

use crate::error::Result;
use crate::growth::probe::{watched_pairs, Correlation, Pair};
use crate::growth::rule::{course_of, foreign_state, Rule};
use crate::growth::sharing::SharingConfig;
use crate::growth::transition::{MomentsAt, Transition};
use crate::layer_map::LayerMap;

/// Unties everything when most correlations are low.
#[derive(Debug)]
pub struct Adaptive {
    start: LayerMap,
    threshold: f64,
    majority: f64,
    patience: u64,
    check_every: u64,
    moments: MomentsAt,
    /// Consecutive checks so far at which the majority was below the threshold.
    streak: u64,
}

impl Adaptive {
    /// For layers that share as `start`, before any check.
    pub fn new(config: &SharingConfig, start: LayerMap) -> Self {
        let &SharingConfig { threshold, majority, patience, check_every, moments, .. } = config;
        Self { start, threshold, majority, patience, check_every, moments, streak: 0 }
    }
}

impl Rule for Adaptive {
    fn decide(&mut self, _finished: u64, check: Option<&[Correlation]>, walk: &LayerMap) -> Option<Transition> {
        let check = check.filter(|check| !check.is_empty())?;
        let Self { threshold, majority, patience, moments, .. } = *self;
        let below = check.iter().filter(|found| found.value < threshold).count();
        self.streak = if below as f64 > majority * check.len() as f64 { self.streak + 1 } else { 0 };
        if self.streak < patience {
            return None;
        }
        let streak = self.streak;
        let reason = format!("{below} of {} correlations below {threshold}, {streak} checks in a row", check.len());
        Transition::untying(walk, LayerMap::untied(walk.num_layers()), moments, reason).ok()
    }

    fn pairs(&self, walk: &LayerMap) -> Option<Vec<Pair>> {
        Some(watched_pairs(walk, true)).filter(|pairs| !pairs.is_empty())
    }

    fn course(&self, steps: u64) -> Vec<(u64, LayerMap)> {
        course_of(&self.start, [(0, LayerMap::untied(self.start.num_layers()))], steps)
    }

    fn state(&self) -> Value {
        json!({ "streak": self.streak })
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.streak = state["streak"].as_u64().ok_or_else(|| foreign_state(&self.state(), state))?;
        Ok(())
    }

    fn standing(&self, walk: &LayerMap) -> Option<String> {
        self.pairs(walk)?;
        Some(format!("a majority at {} of {} checks in a row", self.streak, self.patience))
    }

    fn describe(&self) -> String {
        let Self { threshold, patience, check_every, .. } = self;
        format!(
            "untied when more than {} % of the correlations are below {threshold} at {patience} checks in a row, one every \
             {check_every} steps",
            100.0 * self.majority
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::rules::check;

    /// docs/method.md, "The algorithms": more than half below 0.5, at three checks in a row; any other check starts the count anew.
    #[test]
    fn it_needs_a_majority_three_times_in_a_row() {
        let tied = LayerMap::tied(5);
        let mut adaptive = Adaptive::new(&SharingConfig::default(), tied.clone());
        let half = check(&adaptive, &tied, &[0.4, 0.4, 0.5, 0.9]);
        let most = check(&adaptive, &tied, &[0.4, -0.2, 0.49, 0.9]);
        let silent = check(&adaptive, &tied, &[f64::NAN; 4]);
        for (found, fires) in [
            (&most, false),
            (&most, false),
            (&half, false),
            (&most, false),
            (&most, false),
            (&silent, false),
            (&most, false),
            (&most, false),
            (&most, true),
        ] {
            assert_eq!(adaptive.decide(7, None, &tied), None, "a step without a check changes nothing");
            let transition = adaptive.decide(7, Some(found), &tied);
            assert_eq!(transition.is_some(), fires);
            if let Some(transition) = transition {
                assert_eq!(transition.walk, LayerMap::untied(5));
                assert_eq!(transition.reason, "3 of 4 correlations below 0.5, 3 checks in a row");
            }
        }
    }
}
