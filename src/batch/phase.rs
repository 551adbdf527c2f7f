//! `[[data.phase]]`: sequences of another length for a part of the run, as Google and NVIDIA train BERT (128 tokens for 90 % of
//! the steps, then 512).

use serde::{Deserialize, Serialize};

use crate::keys::classes;

/// Where a phase ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a step (an integer of 1 or more) or a fraction of the run (0.9)")]
pub enum Until {
    /// After so many steps of the run.
    Step(u64),
    /// After that fraction of `train.steps`, in (0, 1].
    Fraction(f64),
}

impl Until {
    /// The number of steps before the end of the phase in a run of `steps`.
    pub fn step(self, steps: u64) -> u64 {
        match self {
            Self::Step(step) => step,
            Self::Fraction(fraction) => (fraction * steps as f64).round() as u64,
        }
    }
}

/// One phase of the run. Every phase reads the data from the beginning, in its own order. The learning rate, the untying and
/// the count of steps go on as if there were no phases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseConfig {
    /// Its last step (an integer), or the fraction of the run at which it ends. Required, except for the last phase, which ends
    /// with the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// Tokens of a sample, special tokens included. Required.
    pub sequence_length: usize,
    /// Sequences of one forward and backward pass. Default: `train.micro_batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Sequences of one step. Default: `train.global_batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_batch: Option<usize>,
}

classes! { PhaseConfig {
    Order: until, sequence_length, global_batch;
    Placement: micro_batch;
} }
