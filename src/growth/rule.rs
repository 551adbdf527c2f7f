//! When a model changes its shape: a rule looks at the progress and at the correlations of a check, and may ask for a transition.
//!
//! In: the number of finished steps, the present walk, and after a probed step the correlations. Out: a [`Transition`], or nothing.
//! A decision taken from step t's state takes effect after step t's update. What a rule remembers between steps is its state, kept
//! in checkpoints.

use std::fmt;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::growth::probe::{Correlation, Pair};
use crate::growth::transition::Transition;
use crate::layer_map::LayerMap;

/// The rule of one run.
pub trait Rule: fmt::Debug {
    /// The transition from `walk` that is due now that `finished` steps are done. `check` holds the correlations of [`Self::pairs`],
    /// if the last step was probed. A correlation that is NaN counts as not below the threshold.
    fn decide(&mut self, finished: u64, check: Option<&[Correlation]>, walk: &LayerMap) -> Option<Transition>;

    /// The pairs whose correlations it decides by in a model of this walk; none if it needs no check.
    fn pairs(&self, _walk: &LayerMap) -> Option<Vec<Pair>> {
        None
    }

    /// The layers that step `step`, from 0, executes, by the groups of `walk`; none where they are those of `walk`.
    fn executed(&self, _step: u64, _walk: &LayerMap) -> Option<LayerMap> {
        None
    }

    /// The step of the next transition, where it is known beforehand.
    fn next_transition(&self) -> Option<u64> {
        None
    }

    /// The layers that a step of `walk` executes, in the mean.
    fn mean_layers(&self, walk: &LayerMap) -> f64 {
        walk.num_layers() as f64
    }

    /// Whether steps may execute other layers than those of the walk.
    fn draws_depth(&self) -> bool {
        false
    }

    /// The walks that a run of `steps` goes through, each with the steps before it; the first is that of the start. Where the
    /// gradients decide, those between which a transition needs the most memory, all before the first step: any step may be
    /// untied.
    fn course(&self, steps: u64) -> Vec<(u64, LayerMap)>;

    /// The state to keep in a checkpoint; null for a rule that remembers nothing.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Goes on from the state of a checkpoint.
    ///
    /// # Errors
    /// A state of another rule or another depth.
    fn restore(&mut self, state: &Value) -> Result<()> {
        match state {
            Value::Null => Ok(()),
            other => Err(foreign_state(&Value::Null, other)),
        }
    }

    /// How near it is to its next decision on `walk`, for the log; none where it needs no check.
    fn standing(&self, _walk: &LayerMap) -> Option<String> {
        None
    }

    /// What it does, in words.
    fn describe(&self) -> String;
}

/// A checkpoint's state `got`, where this rule's is like `own`.
pub(super) fn foreign_state(own: &Value, got: &Value) -> Error {
    Error::data(format!("the checkpoint holds no state of this rule: expected {own}, got {got}"))
}

/// `start` and the transitions of `later` that come before the end of a run of `steps`, without those that change no walk.
pub(super) fn course_of(
    start: &LayerMap,
    later: impl IntoIterator<Item = (u64, LayerMap)>,
    steps: u64,
) -> Vec<(u64, LayerMap)> {
    let mut course = vec![(0, start.clone())];
    course.extend(later.into_iter().filter(|(step, _)| *step < steps));
    course.dedup_by(|next, before| next.1 == before.1);
    course
}
