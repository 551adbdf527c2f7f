//! What a sweep tells of itself; whoever started it shows that or does not.

use crate::metrics::console::Line;

/// What happens in a sweep.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A run begins.
    Run {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Its peak learning rate.
        lr: f64,
        /// Its seed.
        seed: u64,
    },
    /// The steps of a run begin, or go on.
    Steps {
        /// So many are done.
        done: u64,
        /// So many there are.
        of: u64,
    },
    /// A step that is logged.
    Step {
        /// Its number, from 1.
        step: u64,
        /// What it measured.
        line: Line,
    },
    /// No further step of the run follows.
    EndOfSteps,
    /// What a person should know.
    Note(String),
}
