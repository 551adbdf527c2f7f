//! How far a run is.

use serde_json::Value;
use tch::Device;

use crate::checkpoint::{DataFingerprint, RunState, Totals, Untying};
use crate::error::Result;
use crate::train::environment::environment;
use crate::train::guard::Guard;
use crate::train::state::TrainState;

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

impl Progress {
    /// What a checkpoint holds beside the tensors of `state`. `config` and `data` are the identity of the run, `samples` those of its
    /// steps so far.
    ///
    /// # Errors
    /// Numbers that JSON does not have, and libtorch's own.
    pub(super) fn to_run_state(
        &self,
        state: &TrainState,
        guard: &Guard,
        (config, data): (Value, DataFingerprint),
        samples: u64,
        device: Device,
    ) -> Result<RunState> {
        let Self { step, samples_skipped, totals, schedule_start, .. } = *self;
        let (map, bert) = (state.map().clone(), state.spec().bert.clone());
        Ok(RunState {
            step,
            num_updates: state.moments().num_updates,
            scaler: state.scaler()?,
            samples_consumed: samples + samples_skipped,
            samples_skipped,
            guard: guard.state()?,
            rule: state.rule().state(),
            totals,
            untying: self.untying.clone(),
            schedule_start,
            frozen: state.frozen().to_vec(),
            remembered: state.remembered().map(|of| of.walk.clone()),
            ..RunState::first(map, bert, config, data, environment(device)?)
        })
    }
}
