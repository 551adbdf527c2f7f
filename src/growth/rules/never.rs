//! No transition: the sharing of the start stays.

use crate::growth::probe::Correlation;
use crate::growth::rule::{course_of, Rule};
use crate::growth::transition::Transition;
use crate::layer_map::LayerMap;

/// Keeps the sharing of the start.
#[derive(Debug)]
pub struct Never {
    /// That sharing.
    pub start: LayerMap,
}

impl Rule for Never {
    fn decide(&mut self, _finished: u64, _check: Option<&[Correlation]>, _walk: &LayerMap) -> Option<Transition> {
        None
    }

    fn course(&self, steps: u64) -> Vec<(u64, LayerMap)> {
        course_of(&self.start, [], steps)
    }

    fn describe(&self) -> String {
        "never untied".into()
    }
}
