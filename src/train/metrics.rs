//! The metrics of a step, and the time of steps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::growth::Check;

/// The metrics of one step: each tag once.
#[derive(Debug, Default)]
pub struct StepMetrics(BTreeMap<Cow<'static, str>, f64>);

impl StepMetrics {
    /// Sets `tag`.
    pub fn insert(&mut self, tag: impl Into<Cow<'static, str>>, value: f64) {
        self.0.insert(tag.into(), value);
    }

    /// Adds the correlations of `check`, and how many of them are below `threshold`.
    pub(super) fn check(&mut self, check: &Check, threshold: f64) {
        for found in check.all() {
            self.insert(format!("sharing/correlation/{:02}", found.lower), found.value);
        }
        let (below, pairs) = check.below(threshold);
        self.insert("sharing/below_threshold", below as f64 / pairs.max(1) as f64);
    }

    /// Whether there is nothing to record.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by tag.
    pub(super) fn list(&self) -> Vec<(&str, f64)> {
        self.0.iter().map(|(tag, &value)| (tag.as_ref(), value)).collect()
    }
}

impl Extend<(String, f64)> for StepMetrics {
    fn extend<I: IntoIterator<Item = (String, f64)>>(&mut self, values: I) {
        self.0.extend(values.into_iter().map(|(tag, value)| (tag.into(), value)));
    }
}

/// What steps take.
#[derive(Debug)]
pub(super) struct StepClock {
    begin: Instant,
    /// The longest step so far, with what followed it.
    slowest: Duration,
    has_evaluated: bool,
    /// Tokens and seconds of steps since the last logged one; evaluations and checkpoints do not count.
    tokens: u64,
    seconds: f64,
    /// The steps themselves, and the layers that they executed.
    steps: u64,
    layers: f64,
}

impl StepClock {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            slowest: Duration::ZERO,
            has_evaluated: false,
            tokens: 0,
            seconds: 0.0,
            steps: 0,
            layers: 0.0,
        }
    }

    pub(super) fn begin_step(&mut self) {
        self.begin = Instant::now();
    }

    /// The seconds of the step, which read `tokens` and executed `layers`.
    pub(super) fn end_step(&mut self, tokens: u64, layers: f64) -> f64 {
        let seconds = self.begin.elapsed().as_secs_f64();
        self.tokens += tokens;
        self.seconds += seconds;
        self.steps += 1;
        self.layers += layers;
        seconds
    }

    /// After the evaluation and the checkpoint that may follow a step.
    pub(super) fn end_iteration(&mut self, has_evaluated: bool) {
        self.slowest = self.slowest.max(self.begin.elapsed());
        self.has_evaluated |= has_evaluated;
    }

    /// Tokens a second, and executed layers a step, since the last call.
    pub(super) fn take_rate(&mut self) -> (f64, f64) {
        let rate = self.tokens as f64 / self.seconds.max(1e-9);
        let layers = self.layers / self.steps.max(1) as f64;
        (self.tokens, self.seconds, self.steps, self.layers) = (0, 0.0, 0, 0.0);
        (rate, layers)
    }

    /// What one more step may take; the first evaluation is foreseen from its length in steps.
    pub(super) fn needed(&self, steps_of_an_evaluation: f64) -> Duration {
        let evaluation = if self.has_evaluated { 0.0 } else { steps_of_an_evaluation };
        self.slowest.mul_f64(1.0 + evaluation)
    }
}
