//! Embeddings and heads: what the fused kernels say that they hold, and what autograd keeps of compositions.

use super::step::{in_heap, Part, Step};
use crate::model::Norm;
use crate::shim::FusedBytes;

/// Of a composition: LayerNorm keeps the sum of the embeddings, fp32 at least; the backward has gradients of two widths of the
/// output, and makes a gradient of the whole table of words.
pub(super) fn embeddings(step: &Step<'_>) -> Part {
    if let Some(bytes) = step.embeddings_bytes() {
        return fused(bytes);
    }
    let sum = step.rows() * step.hidden_size() * step.wide();
    let saved = if step.bert.norm == Norm::Post { sum } else { 0.0 };
    let table = word_gradient(step);
    Part { saved, passing: table + 2.0 * sum, lingering: 2.0 * in_heap(table) + 2.0 * in_heap(sum) }
}

/// The gradient of the word embeddings that the head of a composition makes beside that which lasts.
pub(super) fn word_gradient(step: &Step<'_>) -> f64 {
    match step.head_bytes() {
        Some(_) => 0.0,
        None => step.vocabulary() * step.hidden_size() * step.wide(),
    }
}

/// Of a composition: the logits of the targets: log-softmax is kept, and its backward has two more of that size; their table,
/// cast to the precision of the activations, and its gradient in both precisions.
pub(super) fn head(step: &Step<'_>) -> Part {
    if let Some(bytes) = step.head_bytes() {
        return fused(bytes);
    }
    let table = step.vocabulary() * step.hidden_size();
    let logits = step.targets() * step.vocabulary();
    let casts = if step.narrow() < step.wide() { table * step.narrow() } else { 0.0 };
    let hidden = step.targets() * step.hidden_size() * (4.0 * step.narrow() + 2.0 * step.wide());
    let at_softmax = 3.0 * logits * step.wide();
    let at_table = logits * step.narrow() + casts + table * step.wide();
    let lingering = 3.0 * in_heap(logits * step.wide());
    Part { saved: casts + hidden, passing: at_softmax.max(at_table), lingering }
}

/// The same without a graph: the hidden states of all tokens and those of the targets; of a composition the logits, twice.
pub(super) fn head_forward(step: &Step<'_>) -> f64 {
    let hidden = (step.rows() + 4.0 * step.targets()) * step.hidden_size() * step.narrow();
    let logits = step.head_bytes().map_or(2.0 * step.targets() * step.vocabulary() * step.wide(), |_| 0.0);
    hidden + logits
}

/// The kernels count it.
fn fused(bytes: FusedBytes) -> Part {
    let FusedBytes { saved, passing, largest, .. } = bytes;
    Part { saved: saved as f64, passing: passing as f64, lingering: in_heap(largest as f64) }
}
