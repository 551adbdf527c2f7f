//! What watches over a run: updates that are skipped, and losses that jump.
//!
//! In: each loss that is read, and whether its update was applied. Out: nothing, or that the run must stop or go back.
//! A loss is held against the window of those before it by its robust z-score, (x − median) / (1.4826 · MAD), MAD the median
//! of the absolute deviations from the median (Iglewicz and Hoaglin 1993): a few spikes in the window do not hide the next.
//! Cost: a sort of the window a loss that is read.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::guard::{GuardConfig, SpikeAction, FEWEST_LOSSES};
use crate::error::{Error, Result};

/// The least deviation, as a part of the median: a loss that stands still must not make spikes of its last digits.
const LEAST_DEVIATION: f64 = 1e-3;

/// A loss far above those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    /// The loss.
    pub loss: f64,
    /// The median of the window.
    pub median: f64,
    /// Its robust z-score.
    pub score: f64,
    /// Losses in a row that spiked, this one included.
    pub in_a_row: u64,
    /// The step of the first of them.
    pub first_step: u64,
}

impl fmt::Display for Spike {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, median, score, in_a_row, .. } = self;
        write!(
            formatter,
            "the loss spikes: {loss:.4} after a median of {median:.4}, {score:.1} robust standard deviations above it, {in_a_row} \
             times in a row"
        )
    }
}

/// What the guard remembers; part of a run's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    losses: VecDeque<f64>,
    /// Losses in a row that spiked.
    spikes: u64,
    /// The step of the first of them.
    first_step: u64,
    /// Updates in a row that were skipped.
    skipped: u64,
}

impl Guard {
    /// The guard that `memory` of a checkpoint holds, as [`Self::state`] gives it; a new one where that is null.
    ///
    /// # Errors
    /// Another value.
    pub fn restore(memory: &Value) -> Result<Self> {
        match memory {
            Value::Null => Ok(Self::default()),
            memory => serde_json::from_value(memory.clone())
                .map_err(|error| Error::data("the checkpoint holds no guard").caused_by(error)),
        }
    }

    /// What a checkpoint keeps of it.
    ///
    /// # Errors
    /// Numbers that JSON does not have.
    pub fn state(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|error| Error::failed("the guard has no JSON form").caused_by(error))
    }

    /// Forgets losses: those of other sequences, or of another run, are no measure.
    pub fn forget_losses(&mut self) {
        (self.losses, self.spikes) = (VecDeque::new(), 0);
    }

    /// Counts updates since the last call, where numbers of steps are read: `skipped` of them were not applied; `applied` says whether the last one was.
    /// Returns how many in a row were skipped.
    pub fn count(&mut self, skipped: u64, applied: bool) -> u64 {
        self.skipped = if applied { 0 } else { self.skipped + skipped };
        self.skipped
    }

    /// Takes note of the loss of step `step`; a spike if it completes `spike_patience` of them in a row. A loss that is not finite is another
    /// guard's.
    pub fn check_loss(&mut self, config: &GuardConfig, step: u64, loss: f64) -> Option<Spike> {
        if config.spike == SpikeAction::Off || !loss.is_finite() {
            return None;
        }
        let spike = self.score(config, loss);
        if self.spikes == 0 {
            self.first_step = step;
        }
        self.spikes = if spike.is_some() { self.spikes + 1 } else { 0 };
        self.losses.push_back(loss);
        while self.losses.len() > config.spike_window {
            self.losses.pop_front();
        }
        spike
            .map(|spike| Spike { in_a_row: self.spikes, first_step: self.first_step, ..spike })
            .filter(|spike| spike.in_a_row == config.spike_patience)
    }

    fn score(&self, config: &GuardConfig, loss: f64) -> Option<Spike> {
        if self.losses.len() < FEWEST_LOSSES {
            return None;
        }
        let median = median_of(self.losses.iter().copied().collect());
        let deviation = median_of(self.losses.iter().map(|of| (of - median).abs()).collect());
        let score = (loss - median) / (1.4826 * deviation).max(LEAST_DEVIATION * median.abs());
        (score > config.spike_threshold).then_some(Spike { loss, median, score, in_a_row: 0, first_step: 0 })
    }
}

/// The middle of `values`, or the mean of the two in the middle; there is at least one.
fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() % 2 {
        1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GuardConfig {
        GuardConfig { spike_patience: 2, ..Default::default() }
    }

    /// Losses 1.0 to 2.9 in steps of 0.1: median 1.95, deviations 0.05, 0.05, 0.15, …, 0.95, twice each, their median 0.5; so
    /// z = (x − 1.95) / (1.4826 · 0.5), and 8 is reached at 7.8804.
    #[test]
    fn a_spike_is_far_above_the_median_and_lasts() {
        let mut guard = Guard::default();
        let check = |guard: &mut Guard, step, loss| guard.check_loss(&config(), step, loss);
        for at in 0..20_u32 {
            assert_eq!(check(&mut guard, u64::from(at), 1.0 + f64::from(at) / 10.0), None);
        }
        let before = guard.clone();
        assert_eq!(check(&mut guard, 20, 7.88), None);
        assert_eq!(check(&mut guard, 21, 7.89), None, "the first in a row");
        let mut guard = before;
        assert_eq!(check(&mut guard, 30, 9.0), None, "the first in a row");
        let spike = check(&mut guard, 40, 9.0).unwrap();
        // Twenty-one losses now: the median is 2.0.
        assert_eq!((spike.loss, spike.median, spike.in_a_row, spike.first_step), (9.0, 2.0, 2, 30));
        assert_eq!(check(&mut guard, 41, 9.0), None, "told once");
        assert_eq!(check(&mut guard, 42, f64::NAN), None);
        guard.forget_losses();
        assert_eq!([43, 44].map(|step| check(&mut guard, step, 90.0)), [None, None], "nothing to hold them against");
    }

    #[test]
    fn a_loss_that_stands_still_is_none() {
        let mut guard = Guard::default();
        for step in 0..30 {
            assert_eq!(guard.check_loss(&config(), step, 5.0), None);
        }
        assert_eq!([5.03, 5.03].map(|loss| guard.check_loss(&config(), 30, loss)), [None, None]);
        let spikes = [5.05, 5.05].map(|loss| guard.check_loss(&config(), 31, loss).is_some());
        assert_eq!(spikes, [false, true], "a thousandth of 5 is the least deviation, eight of them 0.04");
    }

    #[test]
    fn skipped_updates_are_counted_in_a_row() {
        let mut guard = Guard::default();
        assert_eq!([guard.count(1, false), guard.count(3, false), guard.count(0, true)], [1, 4, 0]);
        assert_eq!(guard.count(2, true), 0, "the last one was applied");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        GuardConfig::default().validate().unwrap();
        for (config, words) in [
            (GuardConfig { spike_window: 5, ..Default::default() }, "`guard.spike_window` must be between 20"),
            (GuardConfig { spike_threshold: 0.0, ..Default::default() }, "`guard.spike_threshold`"),
            (GuardConfig { spike_patience: 0, ..Default::default() }, "`guard.spike_patience`"),
            (GuardConfig { rollback_checkpoints: 0, ..Default::default() }, "`guard.rollback_checkpoints`"),
        ] {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
