//! The `[guard]` table: what ends a run whose updates are skipped, and what a spike of the loss does.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::classes;

/// Losses without which nothing is called a spike.
pub const FEWEST_LOSSES: usize = 20;

/// When skipped updates end a run, and what happens at a spike of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// End the run after this many skipped updates in a row. An update is skipped if the loss or a gradient is not finite. 0:
    /// never. Default: 100.
    pub max_skipped: u64,
    /// At a spike of the loss: `off` (nothing), `warn` (print it) or `rollback` (go back to a checkpoint and leave out the data
    /// of the spike). Default: `warn`.
    pub spike: SpikeAction,
    /// Number of earlier losses that a loss is compared with. Default: 200.
    pub spike_window: usize,
    /// A loss is too high if its robust z-score is above this value. Default: 8.
    pub spike_threshold: f64,
    /// Number of losses in a row that must be too high. Default: 3.
    pub spike_patience: u64,
    /// For `rollback`: how many checkpoints to go back from the spike. The data read since then is not read again. Default: 1.
    pub rollback_checkpoints: usize,
    /// For `rollback`: how often a run may go back. At the next spike it ends. Default: 3.
    pub max_rollbacks: u64,
}

// They do nothing to a run that goes well; whether one went back is a fact of the run, its left out samples.
classes! { GuardConfig {
    Observation: max_skipped, spike, spike_window, spike_threshold, spike_patience, rollback_checkpoints, max_rollbacks;
} }

/// What a spike of the loss does to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpikeAction {
    /// Nothing.
    Off,
    /// It is told.
    Warn,
    /// The run goes back to a checkpoint and continues with other data.
    Rollback,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            max_skipped: 100,
            spike: SpikeAction::Warn,
            spike_window: 200,
            spike_threshold: 8.0,
            spike_patience: 3,
            rollback_checkpoints: 1,
            max_rollbacks: 3,
        }
    }
}

impl GuardConfig {
    /// Why a run ends whose loss spikes at `step` after it has gone back `max_rollbacks` times.
    pub fn spikes_again(&self, step: u64) -> Error {
        Error::failed(format!(
            "the loss spikes again at step {step}, after `guard.max_rollbacks` = {}",
            self.max_rollbacks
        ))
        .hint("lower `optim.lr` or `optim.clip_norm`, or look at the data; checkpoints are as they were")
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn validate(&self) -> Result<()> {
        const WIDEST: usize = 100_000;
        if !(FEWEST_LOSSES..=WIDEST).contains(&self.spike_window) {
            return Err(Error::config(format!(
                "`guard.spike_window` must be between {FEWEST_LOSSES} and {WIDEST}, got {}",
                self.spike_window
            )));
        }
        if !(self.spike_threshold > 0.0 && self.spike_threshold.is_finite()) {
            return Err(Error::config(format!(
                "`guard.spike_threshold` must be finite and above 0, got {}",
                self.spike_threshold
            )));
        }
        for (name, value) in
            [("spike_patience", self.spike_patience), ("rollback_checkpoints", self.rollback_checkpoints as u64)]
        {
            if value == 0 {
                return Err(Error::config(format!("`guard.{name}` must be at least 1, got 0")));
            }
        }
        Ok(())
    }
}
