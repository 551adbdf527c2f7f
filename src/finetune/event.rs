//! What a sweep tells of itself; whoever started it shows that or does not.

use crate::train;

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
    /// Something happens in the run.
    Train(train::Event),
}

impl Event {
    /// What a person should know.
    pub(super) fn note(words: String) -> Self {
        Self::Train(train::Event::Note(words))
    }
}
