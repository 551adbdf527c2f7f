//! Encoder layers: what the fused kernels say that they hold, and what autograd keeps of a composition.

use super::step::{in_heap, Part, Step};
use crate::model::Norm;
use crate::shim::FusedBytes;

/// Of a composition's activations, what the gaps between buffers of many sizes add in the heap. Measured.
const GAPS: f64 = 1.3;

/// One layer of B·T rows.
pub(super) fn layer(step: &Step<'_>) -> Part {
    let Layer { saved, passing, staying, largest } = Layer::of(step);
    let input = step.hidden_states();
    let part = |saved: f64, passing: f64| {
        let lingering = if in_heap(largest) > 0.0 { passing } else { staying };
        Part { saved, passing, lingering }
    };
    if step.compute.recompute {
        // All of a layer, while its backward runs.
        part(input, passing + saved - input)
    } else {
        part(saved, passing)
    }
}

/// The most that a forward without a graph has at a time: what one layer would keep, and its output.
pub(super) fn forward(step: &Step<'_>) -> f64 {
    Layer::of(step).saved + step.hidden_states()
}

/// What the last layer hands to the heads.
pub(super) fn last(step: &Step<'_>) -> f64 {
    let output = step.narrow();
    // LayerNorm keeps its input in fp32 at least.
    let normed = if step.bert.norm == Norm::Pre { output + step.wide() } else { 0.0 };
    step.rows() * step.hidden_size() * (output + normed)
}

/// The packed copies that a group's layer makes of its four matrices and the head of its one, for the forward and for the backward.
pub(super) fn packed(step: &Step<'_>) -> f64 {
    let of = |bytes: Option<FusedBytes>| bytes.map_or(0.0, |bytes| bytes.packed as f64);
    step.map.num_groups() as f64 * of(step.layer_bytes()) + of(step.head_bytes())
}

/// What a layer holds, in bytes.
struct Layer {
    /// From its forward to its backward.
    saved: f64,
    /// During its backward, beside that.
    passing: f64,
    /// What of that stays with the process.
    staying: f64,
    /// The largest buffer that comes and goes.
    largest: f64,
}

impl Layer {
    fn of(step: &Step<'_>) -> Self {
        match step.layer_bytes() {
            Some(bytes) => Self::fused(step, bytes),
            None => Self::composed(step),
        }
    }

    /// The kernels count it; beside that there is the gradient of the output.
    fn fused(step: &Step<'_>, bytes: FusedBytes) -> Self {
        let FusedBytes { saved, workspace, passing, per_thread, largest, .. } = bytes;
        let staying = workspace as f64 + f64::from(tch::get_num_threads()) * per_thread as f64;
        let passing = passing as f64 + staying + step.hidden_states();
        Self { saved: saved as f64, passing, staying, largest: largest as f64 }
    }

    /// What autograd keeps, by Linear, LayerNorm, GELU, dropout and attention.
    fn composed(step: &Step<'_>) -> Self {
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
        // Its buffers linger in the heap where seven matrices and two inner ones fit there.
        let largest = step.rows() * narrow * (7.0 * hidden_size + 2.0 * intermediate_size);
        Self { saved, passing: GAPS * (passing + casts), staying: 0.0, largest }
    }
}

/// Elements of a layer's matrices.
fn matrices(step: &Step<'_>) -> f64 {
    step.hidden_size() * (4.0 * step.hidden_size() + 2.0 * step.intermediate_size())
}
