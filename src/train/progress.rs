//! How far a run is.

use crate::checkpoint::{RunState, Totals, Untying};

/// How far a run is, and what it took so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Steps done, those whose update was skipped included.
    pub step: u64,
    /// Samples that were left out by going back to a checkpoint and on with other data.
    pub samples_skipped: u64,
    /// Tokens, time and skipped steps, over all resumes.
    pub totals: Totals,
    /// Every transition.
    pub untying: Vec<Untying>,
    /// Step at which the learning rate's schedule began.
    pub schedule_start: u64,
}

impl From<&RunState> for Progress {
    fn from(state: &RunState) -> Self {
        let RunState { step, samples_skipped, totals, schedule_start, .. } = *state;
        Self { step, samples_skipped, totals, untying: state.untying.clone(), schedule_start }
    }
}
