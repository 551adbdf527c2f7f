//! What a run tells of itself; whoever started it shows that or does not.

/// What a person wants to see of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Mean loss.
    pub loss: f64,
    /// Predictions that were right, a fraction; none where nobody counts.
    pub accuracy: Option<f64>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Throughput.
    pub tokens_per_second: f64,
}

/// What happens in a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
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

impl Event {
    /// What is to be known of `step`.
    pub fn note(step: u64, words: &str) -> Self {
        Self::Note(format!("step {step}: {words}"))
    }
}
