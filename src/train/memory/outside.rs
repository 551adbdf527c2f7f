//! Embeddings and heads, compositions of libtorch's operations.

use super::{in_heap, Part, Step};
use crate::model::Norm;

/// LayerNorm keeps the sum of the embeddings, fp32 at least. The backward has gradients of two widths of the output, and makes
/// a gradient of the whole table of words.
pub(super) fn embeddings(step: &Step<'_>) -> Part {
    let sum = step.rows() * step.width() * step.wide();
    let kept = if step.bert.norm == Norm::Post { sum } else { 0.0 };
    let table = word_gradient(step);
    Part { kept, passing: table + 2.0 * sum, lingering: 2.0 * in_heap(table) + 2.0 * in_heap(sum) }
}

/// The gradient of the word embeddings, a second one beside that which lasts.
pub(super) fn word_gradient(step: &Step<'_>) -> f64 {
    step.vocabulary() * step.width() * step.wide()
}

/// The logits of the targets: log-softmax is kept, and its backward has two more of that size. Their table, cast to the
/// precision of the activations, and its gradient in both precisions.
pub(super) fn head(step: &Step<'_>) -> Part {
    let table = step.vocabulary() * step.width();
    let logits = step.targets() * step.vocabulary();
    let casts = if step.narrow() < step.wide() { table * step.narrow() } else { 0.0 };
    let hidden = step.targets() * step.width() * (4.0 * step.narrow() + 2.0 * step.wide());
    let at_softmax = 3.0 * logits * step.wide();
    let at_table = logits * step.narrow() + casts + table * step.wide();
    let lingering = 3.0 * in_heap(logits * step.wide());
    Part { kept: casts + hidden, passing: at_softmax.max(at_table), lingering }
}
