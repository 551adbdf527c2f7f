//! Held-out loss and accuracy, on the same sequences with the same masks every time.

use std::collections::HashMap;
use std::fmt;

use tch::Device;

use crate::batch::Samples;
use crate::error::Result;
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
    // Loss and right ones of the masked tokens, the same of pairs, and the number of pairs' batches.
    let mut sums = [0.0; 5];
    let mut num_targets = 0;
    let mut labels: HashMap<i64, usize> = HashMap::new();
    let (mut first, mut number) = (0, 0);
    while first < sequences {
        let count = (sequences - first).min(batch as u64) as usize;
        // Also of the others' batches: labels are counted faster than sent.
        let buffers = samples.spread(first, count, sequences)?;
        if number % world.size() == world.rank() {
            let tensors = buffers.to_device(device)?;
            let undivided = Totals { targets: 1, sequences: 1 };
            let found = tch::no_grad(|| pretraining(model, &tensors, undivided, Mode::Eval))?;
            sums[0] += f64::try_from(&found.mlm.loss)?;
            sums[1] += f64::try_from(&found.mlm.num_correct)?;
            if let Some(pair) = &found.pair {
                sums[2] += f64::try_from(&pair.loss)?;
                sums[3] += f64::try_from(&pair.num_correct)?;
                sums[4] += 1.0;
            }
        }
        num_targets += buffers.num_targets;
        for (label, weight) in buffers.labels.iter().zip(&buffers.weights) {
            if *weight > 0.0 {
                *labels.entry(*label).or_default() += 1;
            }
        }
        first += count as u64;
        number += 1;
    }
    world.sum(&mut sums)?;
    let [loss, correct, pair_loss, pairs_correct, pair_batches] = sums;
    let targets = num_targets.max(1) as f64;
    Ok(Evaluation {
        loss: loss / targets,
        accuracy: correct / targets,
        unigram_accuracy: labels.values().max().copied().unwrap_or(0) as f64 / targets,
        num_targets,
        pair: (pair_batches > 0.0)
            .then(|| PairEvaluation { loss: pair_loss / sequences as f64, accuracy: pairs_correct / sequences as f64 }),
    })
}
