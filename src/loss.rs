//! The masked-language-model loss and accuracy of a micro-batch.
//!
//! In: a model and a batch on its device. Out: the sum of −log p(label) over the targets, divided by the number of
//! targets of the WHOLE global batch, so that micro-batches and ranks add up to the same loss and gradients; and how
//! many targets the model ranks first. Cost: logits of B·P positions, not of B·T.

use tch::{Kind, Reduction, Tensor};

use crate::batch::BatchTensors;
use crate::error::Result;
use crate::model::{Bert, Input, Mode};

/// Both numbers stay on the device.
#[derive(Debug)]
pub struct MlmLoss {
    /// This micro-batch's share of the global mean, nats; a scalar with a graph.
    pub loss: Tensor,
    /// Targets whose label has the highest logit; a scalar.
    pub num_correct: Tensor,
}

/// Loss and accuracy of `batch`, of whose global batch `num_targets` are targets.
///
/// # Errors
/// libtorch's own.
pub fn masked_lm(model: &Bert, batch: &BatchTensors, num_targets: usize, mode: Mode) -> Result<MlmLoss> {
    let hidden = model.encode(Input::full(&batch.token_ids), mode)?;
    let logits = model.mlm_logits(&hidden, &batch.positions)?; // [B·P, V]
    let weights = batch.weights.f_to_kind(logits.kind())?;
    // The sum over thousands of targets is in fp64: fp32 would round the loss that is reported, and costs as much.
    let surprise = logits.f_cross_entropy_loss(&batch.labels, None::<Tensor>, Reduction::None, -100, 0.0)?; // [B·P]
    let loss = surprise.f_mul(&weights)?.f_sum(Kind::Double)?.f_div_scalar(num_targets as f64)?;
    let right = logits.detach().f_argmax(-1, false)?.f_eq_tensor(&batch.labels)?.f_to_kind(weights.kind())?;
    let num_correct = right.f_mul(&weights)?.f_sum(logits.kind())?;
    Ok(MlmLoss { loss, num_correct })
}
