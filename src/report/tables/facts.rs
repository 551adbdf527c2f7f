//! What is known of the run of one row, before anybody decides what of it may be shown.

use std::collections::BTreeMap;

use crate::metrics::results::ResultRow;

/// The rows of each task's results.jsonl, or why they cannot be read. No entry: there is no such file.
pub type Sweeps = BTreeMap<String, Result<Vec<ResultRow>, String>>;

/// What is known of one run.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// Its pre-training.
    pub pretraining: Pretraining,
    /// Its fine-tuning, by task.
    pub sweeps: Sweeps,
}

/// How far a pre-training run came.
#[derive(Clone, Debug)]
pub enum Pretraining {
    /// There is no folder of that name.
    Missing,
    /// Its folder cannot be used.
    Unreadable(String),
    /// It is not the run that the row's configuration describes.
    Differs {
        /// The first key that differs.
        key: String,
        /// Its value in the row's configuration.
        expected: String,
        /// Its value in the run.
        found: String,
        /// How many more keys differ.
        others: usize,
    },
    /// It has not reached its end.
    Unfinished {
        /// Steps done, as its newest checkpoint says.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// It is the row's run, and done.
    Finished(Finished),
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Steps done.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Wall time over all resumes, in seconds.
    pub seconds: f64,
    /// Multiplications and additions of its matrix products, forward and backward.
    pub flops: f64,
    /// When layers were untied, for a person.
    pub untied: String,
    /// Held-out accuracy after the last step, a fraction; none: it is not recorded.
    pub mlm_accuracy: Option<f64>,
    /// Hash of the exported model's weights; none: there is no export.
    pub model_hash: Option<String>,
    /// What all runs of a table must have in common, by name: data, vocabulary, precision.
    pub common: BTreeMap<String, String>,
}
