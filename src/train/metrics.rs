//! The metrics of a step, and the speed over several.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tch::Tensor;

use crate::batch::Batch;
use crate::error::Result;
use crate::growth::Check;
use crate::loss::{Losses, Share, Totals};
use crate::parallel::World;
use crate::train::evaluate::{Evaluation, PairEvaluation};

/// The metrics of one step: each tag once.
#[derive(Debug)]
pub(super) struct StepMetrics(BTreeMap<Cow<'static, str>, f64>);

impl StepMetrics {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn insert(&mut self, tag: impl Into<Cow<'static, str>>, value: f64) {
        self.0.insert(tag.into(), value);
    }

    pub(super) fn evaluation(&mut self, found: Evaluation) {
        self.insert("eval/loss", found.total_loss());
        self.insert("eval/mlm_accuracy", found.accuracy);
        if let Some(pair) = found.pair {
            self.insert("eval/mlm_loss", found.loss);
            self.insert("eval/pair_loss", pair.loss);
            self.insert("eval/pair_accuracy", pair.accuracy);
        }
    }

    pub(super) fn accuracies(&mut self, right: &Accuracies) {
        self.insert("train/mlm_accuracy", right.mlm_accuracy);
        if let Some(pair) = right.pair {
            self.insert("train/mlm_loss", right.mlm_loss);
            self.insert("train/pair_loss", pair.loss);
            self.insert("train/pair_accuracy", pair.accuracy);
        }
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

/// What a step's model got right, over its whole global batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accuracies {
    /// Loss of the masked tokens, nats.
    pub(super) mlm_loss: f64,
    /// Masked tokens whose label has the highest logit, a fraction.
    pub(super) mlm_accuracy: f64,
    /// Of pairs of segments, where there are some.
    pub(super) pair: Option<PairEvaluation>,
}

/// The losses of a step's micro-batches as they come, on the device: reading a number would wait for it.
#[derive(Debug, Default)]
pub(super) struct StepCounts(Vec<[Tensor; 2]>, Vec<[Tensor; 2]>);

impl StepCounts {
    pub(super) fn add(&mut self, losses: &Losses) {
        let numbers = |share: &Share| [share.loss.detach(), share.num_correct.shallow_clone()];
        self.0.push(numbers(&losses.mlm));
        self.1.extend(losses.pair.as_ref().map(numbers));
    }

    /// Of all processes of `world` together.
    pub(super) fn accuracies(&self, totals: Totals, world: &World) -> Result<Accuracies> {
        let sum = |shares: &[[Tensor; 2]], which: usize| -> Result<f64> {
            let mut sum = 0.0;
            for share in shares {
                sum += f64::try_from(&share[which])?;
            }
            Ok(sum)
        };
        let mut sums = [sum(&self.0, 0)?, sum(&self.0, 1)?, sum(&self.1, 0)?, sum(&self.1, 1)?];
        world.sum(&mut sums)?;
        let [mlm_loss, correct, pair_loss, pairs_correct] = sums;
        // Every process has pairs, or none.
        let pair = (!self.1.is_empty())
            .then(|| PairEvaluation { loss: pair_loss, accuracy: pairs_correct / totals.sequences as f64 });
        Ok(Accuracies { mlm_loss, mlm_accuracy: correct / totals.targets as f64, pair })
    }
}

/// The fraction of tokens that are padding in all processes of `world`; none where a batch cannot have any.
pub(super) fn padding(batches: &[Batch], world: &World) -> Result<Option<f64>> {
    let masks: Option<Vec<&Vec<i64>>> = batches.iter().map(|batch| batch.attention_mask.as_ref()).collect();
    let (mut tokens, mut padding) = (0, 0);
    let Some(masks) = masks else { return Ok(None) };
    for mask in masks {
        tokens += mask.len();
        padding += mask.iter().filter(|&&mask| mask == 0).count();
    }
    let mut sums = [padding as f64, tokens as f64];
    world.sum(&mut sums)?;
    Ok(Some(sums[0] / sums[1].max(1.0)))
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
