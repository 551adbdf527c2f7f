//! Encoder layers: what csrc/fused/layer.cpp keeps and allocates, and what autograd keeps of a composition.

use super::{in_heap, Part, Step};
use crate::model::Norm;

/// Of a composition's activations, what the gaps between buffers of many sizes add in the heap. Measured.
const GAPS: f64 = 1.3;

/// Queries that an attention task has at a time.
const QUERIES: f64 = 128.0;

/// One layer of B·T rows.
pub(super) fn layer(step: &Step<'_>) -> Part {
    // The memory of a fused backward stays with the process.
    let (saved, passing, staying) = if step.is_fused() { fused(step) } else { composed(step) };
    let input = step.rows() * step.hidden_size() * step.narrow();
    // The largest of its buffers: seven matrices and two inner ones.
    let most = step.rows() * step.narrow() * (7.0 * step.hidden_size() + 2.0 * step.intermediate_size());
    let part = |saved: f64, passing: f64| {
        let lingering = if in_heap(most) > 0.0 { passing } else { staying };
        Part { saved, passing, lingering }
    };
    if step.compute.recompute {
        // All of a layer, while its backward runs; and, between the inputs, where forwards had what they did not keep.
        let left_open = if step.is_fused() { 5.0 * input } else { 0.0 };
        part(input, passing + saved - input + left_open)
    } else {
        part(saved, passing)
    }
}

/// The most that a forward without a graph has at a time: what one layer would keep, and its output.
pub(super) fn forward(step: &Step<'_>) -> f64 {
    let (saved, _, _) = if step.is_fused() { fused(step) } else { composed(step) };
    saved + step.rows() * step.hidden_size() * step.narrow()
}

/// What the last layer hands to the heads.
pub(super) fn last(step: &Step<'_>) -> f64 {
    let output = step.narrow();
    // LayerNorm keeps its input in fp32 at least.
    let normed = if step.bert.norm == Norm::Pre { output + step.wide() } else { 0.0 };
    step.rows() * step.hidden_size() * (output + normed)
}

/// The packed copies that a group's layer makes of its four matrices, for the forward and for the backward.
pub(super) fn packed(step: &Step<'_>) -> f64 {
    if step.is_fused() {
        step.map.num_groups() as f64 * 2.0 * matrices(step) * step.narrow()
    } else {
        0.0
    }
}

/// Elements of a layer's matrices.
fn matrices(step: &Step<'_>) -> f64 {
    step.hidden_size() * (4.0 * step.hidden_size() + 2.0 * step.intermediate_size())
}

/// Saved: x, qkv, context, two sums and an input of LayerNorm or products, [B·T, C] each (qkv three), and the inner
/// activations; the sums of softmax, and means and deviations of both LayerNorms. In the backward: the output's gradient and
/// that of x; and csrc/fused/layer.cpp's one piece of memory, four such matrices and the operands of weights' gradients.
fn fused(step: &Step<'_>) -> (f64, f64, f64) {
    let (rows, hidden_size, intermediate_size) = (step.rows(), step.hidden_size(), step.intermediate_size());
    let sums = step.wide() * step.bert.num_attention_heads as f64 + 4.0 * step.wide();
    let saved = rows * (step.narrow() * (8.0 * hidden_size + intermediate_size) + sums);
    let turned = hidden_size * turned_rows(rows) / rows;
    let operands =
        (2.0 * (turned + intermediate_size) + (turned + hidden_size) + hidden_size).max(turned + 3.0 * hidden_size);
    let workspace = rows * step.narrow() * (4.0 * hidden_size + operands);
    let matrices = workspace + 2.0 * rows * step.narrow() * hidden_size;
    // A block of rows adds up its own part of the gradients of biases and LayerNorms.
    let block = if rows < 1024.0 { 64.0 } else { 128.0 };
    let biases = rows / block * step.wide() * (9.0 * hidden_size + intermediate_size);
    let scores =
        f64::from(tch::get_num_threads()) * step.length as f64 * QUERIES * (3.0 * step.narrow() + 2.0 * step.wide());
    (saved, matrices + biases + scores, workspace)
}

/// Rows that a transposed operand has room for: 256 at a time and a cache line.
fn turned_rows(rows: f64) -> f64 {
    (rows / 256.0).ceil() * 288.0
}

/// What autograd keeps, by Linear, LayerNorm, GELU, dropout and attention.
fn composed(step: &Step<'_>) -> (f64, f64, f64) {
    let (hidden_size, intermediate_size, narrow, wide) =
        (step.hidden_size(), step.intermediate_size(), step.narrow(), step.wide());
    let scores = (step.bert.num_attention_heads * step.length as i64) as f64;
    let drops = step.bert.hidden_dropout_prob > 0.0;
    let attention_drops = step.bert.attention_probs_dropout_prob > 0.0;
    // CUDA keeps a byte an element of what was dropped, the CPU a factor.
    let mask = if !drops {
        0.0
    } else if step.device.is_cuda() {
        1.0
    } else {
        narrow
    };
    // With dropout the CPU has no kernel for attention: query, key and value in fp32 at least, the probabilities, what was
    // dropped of them, and what was left.
    let by_parts = attention_drops && !step.device.is_cuda();
    let attention = if by_parts { wide * (3.0 * hidden_size + 3.0 * scores) } else { narrow * 3.0 * hidden_size };
    let inputs = narrow * (3.0 * hidden_size + 2.0 * intermediate_size) + wide * 2.0 * hidden_size;
    let row = inputs + attention + 2.0 * mask * hidden_size;
    // Weights are cast for every layer, where they are not in the precision of the activations.
    let casts = if narrow < wide { narrow * matrices(step) } else { 0.0 };
    let saved = GAPS * (step.rows() * row + casts);
    let of_scores = if by_parts { 2.0 * wide * scores } else { 0.0 };
    let passing = step.rows()
        * (narrow * (2.0 * intermediate_size + 2.0 * hidden_size) + wide * hidden_size)
            .max(of_scores + wide * 4.0 * hidden_size);
    (saved, GAPS * (passing + casts), 0.0)
}
