//! Untying at steps known beforehand.

use crate::growth::probe::Correlation;
use crate::growth::rule::{course_of, Rule};
use crate::growth::transition::{MomentsAt, Transition};
use crate::layer_map::LayerMap;

/// Unties at steps known beforehand.
#[derive(Debug)]
pub struct Scheduled {
    /// The sharing of the start.
    pub start: LayerMap,
    /// Each sharing with the steps before it.
    pub later: Vec<(u64, LayerMap)>,
    /// `sharing.moments`.
    pub moments: MomentsAt,
    /// What it does, in words.
    pub words: String,
}

/// The rule that keeps the sharing of the start.
pub fn never(start: LayerMap) -> Scheduled {
    Scheduled { start, later: Vec::new(), moments: MomentsAt::Carry, words: "never untied".into() }
}

impl Rule for Scheduled {
    fn decide(&mut self, finished: u64, _check: Option<&[Correlation]>, walk: &LayerMap) -> Option<Transition> {
        let (at, due) = self.later.iter().rfind(|(at, _)| *at <= finished)?;
        let reason = format!("the untying point, step {at}, is reached");
        // A run that was split otherwise before it was given this schedule stays so.
        Transition::untying(walk, due.clone(), self.moments, reason).ok().filter(|_| due != walk)
    }

    fn course(&self, steps: u64) -> Vec<(u64, LayerMap)> {
        course_of(&self.start, self.later.iter().cloned(), steps)
    }

    fn describe(&self) -> String {
        self.words.clone()
    }
}
