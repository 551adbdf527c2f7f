//! The pre-training losses and accuracies of a micro-batch.
//!
//! In: a model and a batch on its device. Out: the sum of −log p(label) over the targets, divided by the number of
//! targets of the WHOLE global batch, and for pairs of segments the sum of −log p(class) divided by ITS number of sequences,
//! so that micro-batches and ranks add up to the same loss and gradients; and how many the model gets right. The loss of a
//! batch of pairs is the sum of both (Devlin et al. 2018, section A.2). Cost: logits of B·P positions, not of B·T, and
//! on the CPU never of the whole vocabulary at once.

use tch::{Kind, Reduction, Tensor};

use crate::batch::BatchTensors;
use crate::error::Result;
use crate::model::{Bert, Input, Mode};
use crate::shim::Targets;

/// What the global batch divides its losses by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Its targets, at least 1.
    pub targets: usize,
    /// Its sequences, at least 1.
    pub sequences: usize,
}

/// One loss; both numbers stay on the device.
#[derive(Debug)]
pub struct Share {
    /// This micro-batch's share of the global mean, nats; a scalar with a graph.
    pub loss: Tensor,
    /// Labels that have the highest logit; a scalar.
    pub num_correct: Tensor,
}

/// The losses of a micro-batch.
#[derive(Debug)]
pub struct Losses {
    /// Of the masked tokens.
    pub mlm: Share,
    /// Of the pairs, where the batch has some.
    pub pair: Option<Share>,
}

impl Losses {
    /// What is minimised: a scalar with a graph.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn total(&self) -> Result<Tensor> {
        match &self.pair {
            Some(pair) => Ok(self.mlm.loss.f_add(&pair.loss)?),
            None => Ok(self.mlm.loss.shallow_clone()),
        }
    }
}

impl<'a> From<&'a BatchTensors> for Input<'a> {
    fn from(batch: &'a BatchTensors) -> Self {
        Self {
            token_ids: &batch.token_ids,
            token_types: batch.token_types.as_ref(),
            attention_mask: batch.attention_mask.as_ref(),
            position_ids: batch.position_ids.as_ref(),
            documents: batch.documents.as_ref(),
            dropout_keys: batch.dropout_keys.as_ref(),
        }
    }
}

/// The losses of `batch`, a part of a global batch with these `totals`.
///
/// # Errors
/// Pairs for a model without their head, and libtorch's own.
pub fn pretraining(model: &Bert, batch: &BatchTensors, totals: Totals, mode: Mode) -> Result<Losses> {
    let hidden = model.encode(batch.into(), mode)?;
    let mlm = of_targets(model, &hidden, batch, totals.targets)?;
    let pair = match &batch.pair_labels {
        Some(labels) => Some(share(&model.pair_logits(&hidden)?, labels, None, totals.sequences)?),
        None => None,
    };
    Ok(Losses { mlm, pair })
}

/// The masked-token part of [`pretraining`], for a global batch of `num_targets` targets.
///
/// # Errors
/// libtorch's own.
pub fn masked_lm(model: &Bert, batch: &BatchTensors, num_targets: usize, mode: Mode) -> Result<Share> {
    of_targets(model, &model.encode(batch.into(), mode)?, batch, num_targets)
}

fn of_targets(model: &Bert, hidden: &Tensor, batch: &BatchTensors, total: usize) -> Result<Share> {
    let BatchTensors { positions, labels, weights, .. } = batch;
    let targets = Targets { positions, labels, weights, total: total as f64 };
    if let Some([loss, num_correct]) = model.mlm_loss(hidden, targets)? {
        return Ok(Share { loss, num_correct });
    }
    let logits = model.mlm_logits(hidden, &batch.positions)?; // [B·P, V]
    share(&logits, &batch.labels, Some(&batch.weights), total)
}

/// Cross-entropy of `logits` [N, K] with `labels` `[N]`, each times its weight, over `total`.
fn share(logits: &Tensor, labels: &Tensor, weights: Option<&Tensor>, total: usize) -> Result<Share> {
    let kind = logits.kind();
    let weighted = |values: Tensor| -> Result<Tensor> {
        Ok(match weights {
            Some(weights) => values.f_mul(&weights.f_to_kind(kind)?)?,
            None => values,
        })
    };
    // The sum over thousands of targets is in fp64: fp32 would round the loss that is reported, and costs as much.
    let surprise = logits.f_cross_entropy_loss(labels, None::<Tensor>, Reduction::None, -100, 0.0)?; // [N]
    let loss = weighted(surprise)?.f_sum(Kind::Double)?.f_div_scalar(total as f64)?;
    let right = logits.detach().f_argmax(-1, false)?.f_eq_tensor(labels)?.f_to_kind(kind)?;
    Ok(Share { loss, num_correct: weighted(right)?.f_sum(kind)? })
}
