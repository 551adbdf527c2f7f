//! What fine-tuning minimises, and what a model says about examples.
//!
//! In: a model with a task's head and a micro-batch. Out: its share of the loss of the step, divided by the number of examples
//! of the WHOLE step, so that micro-batches add up; or the logits of each example. Classes: cross-entropy. Scores: squared
//! error. Tags: cross-entropy over the tokens that have one, divided by their number. Spans: the mean of the cross-entropies of the first and of the last token over the places that are not padding
//! (Devlin et al. 2018, section 4; there and in transformers padding is among the places).

use tch::{Kind, Reduction, Tensor};

use crate::error::{Error, Result};
use crate::finetune::batch::{Example, Targets, TaskBatch};
use crate::model::{Bert, Mode, TaskHead};

/// What a model says about an example.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Logits of the classes, or one number.
    Logits(Vec<f32>),
    /// Logits of every token as the first and as the last of the answer; no padding.
    Span {
        /// As the first.
        start: Vec<f32>,
        /// As the last.
        end: Vec<f32>,
    },
    /// Logits of the classes of every token, one token after the other; no padding.
    Tags(Vec<f32>),
}

impl Output {
    /// The output of a model with `head` whose [`Self::values`] are `values`.
    pub(super) fn new(head: TaskHead, values: &[f64]) -> Self {
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        match head {
            TaskHead::Sequence { .. } => Self::Logits(narrow(values)),
            TaskHead::Span => {
                let (start, end) = values.split_at(values.len() / 2);
                Self::Span { start: narrow(start), end: narrow(end) }
            }
            TaskHead::Token { .. } => Self::Tags(narrow(values)),
        }
    }

    /// Its numbers, one after the other.
    pub(super) fn values(&self) -> impl Iterator<Item = f32> + '_ {
        let (first, second) = match self {
            Self::Logits(logits) | Self::Tags(logits) => (logits.as_slice(), &[][..]),
            Self::Span { start, end } => (start.as_slice(), end.as_slice()),
        };
        first.iter().chain(second).copied()
    }
}

/// The loss of `batch`, a part of a step of `total` examples, or of `total` tokens with a class; a scalar with a graph.
///
/// # Errors
/// A batch without targets, a model without the head for them, and libtorch's own.
pub fn loss(model: &Bert, batch: &TaskBatch, total: usize, mode: Mode) -> Result<Tensor> {
    let hidden = model.encode(batch.input(), mode)?;
    let entropy = |logits: &Tensor, labels: &Tensor| {
        logits.f_cross_entropy_loss(labels, None::<Tensor>, Reduction::Sum, -100, 0.0)
    };
    let sum = match &batch.targets {
        Targets::Unknown => return Err(Error::failed("the examples have no targets to learn")),
        Targets::Classes(labels) => entropy(&sequence_logits(model, &hidden, batch, mode)?, labels)?,
        Targets::Scores(scores) => {
            let found = sequence_logits(model, &hidden, batch, mode)?.f_squeeze_dim(1)?;
            found.f_mse_loss(&scores.f_to_kind(found.kind())?, Reduction::Sum)?
        }
        Targets::Spans(starts, ends) => {
            let (start, end) = span_logits(model, &hidden, batch)?;
            entropy(&start, starts)?.f_add(&entropy(&end, ends)?)?.f_mul_scalar(0.5)?
        }
        Targets::Tags(tags) => {
            let logits = token_logits(model, &hidden, batch, mode)?; // [B, T, L]
            entropy(&logits.f_flatten(0, 1)?, &tags.f_flatten(0, 1)?)?
        }
    };
    Ok(sum.f_to_kind(Kind::Double)?.f_div_scalar(total as f64)?)
}

/// What `model` says about the `examples` of `batch`, without dropout and without a graph.
///
/// # Errors
/// libtorch's own.
pub fn outputs(model: &Bert, batch: &TaskBatch, examples: &[&Example], head: TaskHead) -> Result<Vec<Output>> {
    tch::no_grad(|| {
        let hidden = model.encode(batch.input(), Mode::Eval)?;
        match head {
            TaskHead::Sequence { .. } => {
                let logits = Vec::<Vec<f32>>::try_from(sequence_logits(model, &hidden, batch, Mode::Eval)?)?;
                return Ok(logits.into_iter().map(Output::Logits).collect());
            }
            TaskHead::Token { num_labels } => {
                let logits = token_logits(model, &hidden, batch, Mode::Eval)?.f_flatten(1, 2)?; // [B, T·L]
                let all = Vec::<Vec<f32>>::try_from(logits)?.into_iter().zip(examples);
                let own = all.map(|(mut logits, example)| {
                    logits.truncate(example.token_ids.len() * num_labels);
                    Output::Tags(logits)
                });
                return Ok(own.collect());
            }
            TaskHead::Span => {}
        }
        let (start, end) = span_logits(model, &hidden, batch)?;
        let (starts, ends) = (Vec::<Vec<f32>>::try_from(start)?, Vec::<Vec<f32>>::try_from(end)?);
        let spans = examples.iter().zip(starts.into_iter().zip(ends)).map(|(example, (mut start, mut end))| {
            start.truncate(example.token_ids.len());
            end.truncate(example.token_ids.len());
            Output::Span { start, end }
        });
        Ok(spans.collect())
    })
}

fn sequence_logits(model: &Bert, hidden: &Tensor, batch: &TaskBatch, mode: Mode) -> Result<Tensor> {
    model.sequence_logits(hidden, mode, batch.dropout_keys.as_ref())
}

fn token_logits(model: &Bert, hidden: &Tensor, batch: &TaskBatch, mode: Mode) -> Result<Tensor> {
    model.token_logits(hidden, mode, batch.dropout_keys.as_ref())
}

/// [B, T] each, −∞ at padding.
fn span_logits(model: &Bert, hidden: &Tensor, batch: &TaskBatch) -> Result<(Tensor, Tensor)> {
    let (start, end) = model.span_logits(hidden)?;
    let Some(mask) = &batch.attention_mask else { return Ok((start, end)) };
    let padding = mask.f_eq(0)?;
    Ok((start.f_masked_fill(&padding, f64::NEG_INFINITY)?, end.f_masked_fill(&padding, f64::NEG_INFINITY)?))
}
