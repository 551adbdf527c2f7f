//! What the peak of a training step is made of: a count of the buffers that exist then.
//!
//! In: the sizes of a step. Out: bytes by kind, [`Memory`]. On the CPU the total is resident memory of the process, without
//! mapped files (data, code of libraries), which the system takes back where it needs memory. On CUDA it is memory of the device that
//! tensors take.

mod layers;
pub mod machine;
mod outside;
mod step;

use std::fmt;

use tch::Device;

use crate::layer_map::LayerMap;
use crate::metrics::human::human_bytes;

pub use step::Step;

/// What a process comes to hold in its first steps beside tensors: kernels that oneDNN compiles, stacks of threads, small buffers.
/// Measured, with the largest differences at 10 MiB.
const LIBRARIES: f64 = 24.0 * 1024.0 * 1024.0;

/// Program and libraries of this process, once it runs.
fn program() -> f64 {
    machine::resident_bytes().unwrap_or(0) as f64 + LIBRARIES
}

/// The peak of a step, or of a transition, bytes by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Program and libraries; 0 on CUDA.
    pub program: f64,
    /// Weights, gradients and both moments.
    pub state: f64,
    /// Copies of weights in the order and precision of the kernels.
    pub packed: f64,
    /// Gradients that a check keeps apart.
    pub probe: f64,
    /// The copy that a checkpoint is written from while training goes on; on the host also where training is on CUDA, so 0 there.
    pub checkpoint: f64,
    /// Activations that the forward keeps for the backward.
    pub saved: f64,
    /// The most that comes and goes on top: in the head, in a layer's backward, or in that of the embeddings.
    pub passing: f64,
    /// What the heap holds on to between these.
    pub gaps: f64,
}

impl Memory {
    /// The peak of `step` in this process.
    pub fn of(step: &Step<'_>) -> Self {
        let layers = step.map.num_layers() as f64;
        let (layer, embeddings, head) = (layers::layer(step), outside::embeddings(step), outside::head(step));
        let saved = layers * layer.saved + layers::last(step) + embeddings.saved;
        // The gradient of the word embeddings that the head made waits for that of the embeddings themselves.
        let waiting = outside::word_gradient(step);
        // The peak of each part, and what of that lingers in the heap.
        let moments = [
            (saved + head.saved + head.passing, head.lingering),
            (saved + waiting + layer.passing, layer.lingering),
            (embeddings.saved + waiting + embeddings.passing, embeddings.lingering),
        ];
        let (peak, in_peak) = moments.into_iter().max_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or_default();
        // Buffers of one part rarely fit exactly where those of another were.
        let lingering: f64 = moments.iter().map(|(_, lingering)| lingering).sum();
        let gaps = if step.device.is_cuda() { 0.0 } else { lingering - in_peak };
        let program = if step.device.is_cuda() { 0.0 } else { program() };
        let (state, packed, probe) = (step.state(), layers::packed(step), step.probe());
        let (saved, passing) = (saved.min(peak), (peak - saved).max(0.0));
        Self { program, state, packed, probe, checkpoint: 0.0, saved, passing, gaps }
    }

    /// The peak between two steps, the last one `before` a transition and the first one after it, whose layers share weights as
    /// `after` says: the evaluation of the old model in the precision of its weights, or the new weights, gradients and moments
    /// beside those that stay.
    pub fn of_transition(before: &Step<'_>, after: &LayerMap) -> Self {
        let packed = layers::packed(before);
        let program = if before.device.is_cuda() { 0.0 } else { program() };
        let evaluation = before.evaluated();
        // Of the same weights in another precision; only the forward's.
        let repacked = if before.narrow() < before.wide() { 0.5 * layers::packed(&evaluation) } else { 0.0 };
        let evaluated = Self {
            program,
            state: before.state(),
            packed: packed + repacked,
            passing: layers::forward(&evaluation).max(outside::head_forward(&evaluation)),
            ..Self::default()
        };
        let split = Self { program, state: Step { map: after, ..*before }.state(), packed, ..Self::default() };
        if evaluated.total() > split.total() {
            evaluated
        } else {
            split
        }
    }

    /// The same while a checkpoint is written in the background, of a model whose weights, gradients and moments are `state` bytes:
    /// the weights and moments once more.
    #[must_use]
    pub fn during_a_save(self, state: f64, device: Device) -> Self {
        Self { checkpoint: if device.is_cuda() { 0.0 } else { 0.75 * state }, ..self }
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        let Self { program, state, packed, probe, checkpoint, saved, passing, gaps } = self;
        program + state + packed + probe + checkpoint + saved + passing + gaps
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("program", self.program),
            ("weights, gradients and moments", self.state),
            ("packed weights", self.packed),
            ("gradients of a check", self.probe),
            ("a checkpoint's copy", self.checkpoint),
            ("activations", self.saved),
            ("passing", self.passing),
            ("gaps", self.gaps),
        ];
        let list: Vec<String> = parts
            .iter()
            .filter(|(_, bytes)| *bytes > 0.0)
            .map(|(name, bytes)| format!("{name} {}", human_bytes(*bytes as u128)))
            .collect();
        write!(formatter, "{} ({})", human_bytes(self.total() as u128), list.join(", "))
    }
}
