//! Held-out loss and accuracy, on the same sequences with the same masks every time.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use tch::Device;

use crate::batch::{Batch, Samples};
use crate::error::{Error, Result};
use crate::loss::{pretraining, Totals};
use crate::model::{Bert, Mode};
use crate::parallel::World;

/// Seed of the masks of every evaluation, so that runs with different seeds are measured on the same masks.
pub const EVALUATION_SEED: u64 = 0;

/// How well pairs of segments were classified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairEvaluation {
    /// Mean of −log p(class) over all pairs, nats.
    pub loss: f64,
    /// Fraction of pairs whose class has the higher logit.
    pub accuracy: f64,
}

/// What an evaluation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean of −log p(label) over all masked tokens, nats.
    pub loss: f64,
    /// Fraction of targets whose label has the highest logit.
    pub accuracy: f64,
    /// Accuracy of always predicting the most frequent label.
    pub unigram_accuracy: f64,
    /// Number of targets.
    pub num_targets: usize,
    /// Of pairs, where the objective has some.
    pub pair: Option<PairEvaluation>,
}

impl Evaluation {
    /// What training minimises: the losses of masked tokens and pairs together.
    pub fn total_loss(&self) -> f64 {
        self.loss + self.pair.map_or(0.0, |pair| pair.loss)
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "loss {:.4}, accuracy {:.2} %", self.total_loss(), 100.0 * self.accuracy)?;
        match self.pair {
            Some(pair) => write!(formatter, ", pairs {:.2} % right", 100.0 * pair.accuracy),
            None => Ok(()),
        }
    }
}

/// Evaluates `sequences` samples spread evenly over `samples` (all, if there are fewer), `batch` at a time, without
/// dropout. For results that do not depend on `batch` or on ties of rounded logits, `model` computes in fp32. The processes of
/// `world` take batches in turn; each gets the result of all.
///
/// # Errors
/// A damaged shard, a process that is gone, and libtorch's own.
pub fn evaluate(
    model: &Bert,
    samples: &Samples,
    sequences: u64,
    batch: usize,
    device: Device,
    world: &World,
) -> Result<Evaluation> {
    let sequences = sequences.min(samples.num_samples());
    let mut sums = Sums::default();
    let (mut first, mut number) = (0, 0);
    while first < sequences {
        let count = (sequences - first).min(batch as u64) as usize;
        // Also of the others' batches: labels are counted faster than sent.
        let buffers = samples.spread(first, count, sequences)?;
        sums.count(&buffers);
        if number % world.size() == world.rank() {
            sums.add(model, &buffers, device)?;
        }
        first += count as u64;
        number += 1;
    }
    world.sum(&mut sums.values)?;
    Ok(sums.evaluation())
}

/// The part of an evaluation that falls on one held-out document. A sequence belongs to the document in which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DocumentEvaluation {
    /// Its number in the split, from 0.
    pub document: u64,
    /// Number of targets.
    pub targets: usize,
    /// Sum of −log p(label), nats.
    pub loss: f64,
    /// Targets whose label has the highest logit.
    pub correct: f64,
}

/// The same evaluation as [`evaluate`] for one process, with its part of each document, in their order. A batch has sequences of one
/// document, so short documents take longer.
///
/// # Errors
/// Samples that are pairs, a damaged shard, and libtorch's own.
pub fn evaluate_documents(
    model: &Bert,
    samples: &Samples,
    sequences: u64,
    batch: usize,
    device: Device,
) -> Result<(Evaluation, Vec<DocumentEvaluation>)> {
    let sequences = sequences.min(samples.num_samples());
    let document_of = |number| {
        let pairs = || Error::config("pairs of segments have no one document").hint("evaluate `mlm`");
        samples.document_of_spread(number, sequences)?.ok_or_else(pairs)
    };
    let (mut all, mut documents) = (Sums::default(), Vec::<DocumentEvaluation>::new());
    let mut first = 0;
    while first < sequences {
        let document = document_of(first)?;
        let mut count = 1;
        while count < batch && first + (count as u64) < sequences && document_of(first + count as u64)? == document {
            count += 1;
        }
        let buffers = samples.spread(first, count, sequences)?;
        let mut part = Sums::default();
        part.add(model, &buffers, device)?;
        let [loss, correct, ..] = part.values;
        match documents.last_mut().filter(|last| last.document == document) {
            Some(last) => {
                last.targets += buffers.num_targets;
                last.loss += loss;
                last.correct += correct;
            }
            None => documents.push(DocumentEvaluation { document, targets: buffers.num_targets, loss, correct }),
        }
        all.count(&buffers);
        all.values.iter_mut().zip(part.values).for_each(|(sum, value)| *sum += value);
        first += count as u64;
    }
    Ok((all.evaluation(), documents))
}

/// What batches add up to.
#[derive(Default)]
struct Sums {
    /// Loss and right ones of the masked tokens, the same of pairs, and the number of pairs.
    values: [f64; 5],
    num_targets: usize,
    labels: HashMap<i64, usize>,
}

impl Sums {
    /// Counts the targets of a batch.
    fn count(&mut self, batch: &Batch) {
        self.num_targets += batch.num_targets;
        for (label, weight) in batch.labels.iter().zip(&batch.weights) {
            if *weight > 0.0 {
                *self.labels.entry(*label).or_default() += 1;
            }
        }
    }

    /// Adds what `model` makes of a batch.
    fn add(&mut self, model: &Bert, batch: &Batch, device: Device) -> Result<()> {
        let tensors = batch.to_device(device)?;
        let undivided = Totals { targets: 1, sequences: 1 };
        let found = tch::no_grad(|| pretraining(model, &tensors, undivided, Mode::Eval))?;
        self.values[0] += f64::try_from(&found.mlm.loss)?;
        self.values[1] += f64::try_from(&found.mlm.num_correct)?;
        if let Some(pair) = &found.pair {
            self.values[2] += f64::try_from(&pair.loss)?;
            self.values[3] += f64::try_from(&pair.num_correct)?;
            self.values[4] += batch.num_sequences() as f64;
        }
        Ok(())
    }

    fn evaluation(&self) -> Evaluation {
        let [loss, correct, pair_loss, pairs_correct, pairs] = self.values;
        let targets = self.num_targets.max(1) as f64;
        Evaluation {
            loss: loss / targets,
            accuracy: correct / targets,
            unigram_accuracy: self.labels.values().max().copied().unwrap_or(0) as f64 / targets,
            num_targets: self.num_targets,
            pair: (pairs > 0.0).then(|| PairEvaluation { loss: pair_loss / pairs, accuracy: pairs_correct / pairs }),
        }
    }
}
