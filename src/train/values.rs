//! What is recorded for one step, and the speed over several.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::sharing::Check;
use crate::train::evaluate::Evaluation;

/// The numbers of one step: each tag once.
#[derive(Debug)]
pub(super) struct Values(BTreeMap<Cow<'static, str>, f64>);

impl Values {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn insert(&mut self, tag: impl Into<Cow<'static, str>>, value: f64) {
        self.0.insert(tag.into(), value);
    }

    pub(super) fn evaluation(&mut self, found: Evaluation) {
        self.insert("eval/loss", found.loss);
        self.insert("eval/mlm_accuracy", found.accuracy);
    }

    pub(super) fn check(&mut self, check: &Check, threshold: f64) {
        for found in check.all() {
            self.insert(format!("sharing/correlation/{:02}", found.lower), found.value);
        }
        let (below, pairs) = check.below(threshold);
        self.insert("sharing/below_threshold", below as f64 / pairs.max(1) as f64);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn list(&self) -> Vec<(&str, f64)> {
        self.0.iter().map(|(tag, &value)| (tag.as_ref(), value)).collect()
    }
}

/// Tokens and seconds of steps since the last logged point; evaluation and checkpoints do not count.
#[derive(Debug, Default)]
pub(super) struct Speed {
    tokens: u64,
    seconds: f64,
}

impl Speed {
    pub(super) fn add(&mut self, tokens: u64, seconds: f64) {
        self.tokens += tokens;
        self.seconds += seconds;
    }

    pub(super) fn take(&mut self) -> f64 {
        let rate = self.tokens as f64 / self.seconds.max(1e-9);
        *self = Self::default();
        rate
    }
}
