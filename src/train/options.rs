//! What a run is given besides its task, and how it ends.

use std::rc::Rc;

use tch::Device;

use crate::checkpoint::CheckpointConfig;
use crate::config::GuardConfig;
use crate::metrics::MetricsConfig;
use crate::parallel::World;
use crate::train::stop::Stop;

/// How a run ended.
#[derive(Debug)]
pub enum Outcome<S> {
    /// All steps are done.
    Finished(S),
    /// Something asked to stop; the state is saved. Holds what, and the step.
    Stopped(Stop, u64),
}

/// How a run is watched and saved, and where it computes.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// `[checkpoint]`.
    pub checkpoint: CheckpointConfig,
    /// `[metrics]`.
    pub metrics: MetricsConfig,
    /// `[guard]`.
    pub guard: GuardConfig,
    /// Steps between two logged ones.
    pub log_every: u64,
    /// Where to compute.
    pub device: Device,
    /// The processes that share the run.
    pub world: Rc<World>,
}
