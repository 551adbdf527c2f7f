//! A step whose memory is asked for, and what its parts hold.

use tch::{Device, Kind};

use crate::layer_map::LayerMap;
use crate::model::weights::{layer_specs, specs};
use crate::model::{BertConfig, Compute, Norm};
use crate::shim::{embeddings_bytes, head_bytes, largest_in_heap, FusedBytes};

/// A forward and backward of one micro-batch.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Sizes of the model.
    pub bert: &'a BertConfig,
    /// Which layers share weights.
    pub map: &'a LayerMap,
    /// How the model computes.
    pub compute: Compute,
    /// Where to compute.
    pub device: Device,
    /// Whether the gradients of layers that share weights are kept apart.
    pub probed: bool,
    /// Sequences of the micro-batch, B.
    pub sequences: usize,
    /// Tokens of a sequence, T.
    pub length: usize,
    /// Target slots of a sequence.
    pub capacity: usize,
}

impl Step<'_> {
    /// B·T.
    pub(super) fn rows(&self) -> f64 {
        (self.sequences * self.length) as f64
    }

    pub(super) fn targets(&self) -> f64 {
        (self.sequences * self.capacity) as f64
    }

    pub(super) fn hidden_size(&self) -> f64 {
        self.bert.hidden_size as f64
    }

    pub(super) fn intermediate_size(&self) -> f64 {
        self.bert.intermediate_size as f64
    }

    pub(super) fn vocabulary(&self) -> f64 {
        self.bert.padded_vocab_size() as f64
    }

    /// Bytes of an activation.
    pub(super) fn narrow(&self) -> f64 {
        bytes_of(self.compute.kind)
    }

    /// Bytes of a weight, and of a statistic.
    pub(super) fn wide(&self) -> f64 {
        bytes_of(self.compute.weight_kind())
    }

    /// Bytes of the hidden states between two layers.
    pub(super) fn hidden_states(&self) -> f64 {
        self.rows() * self.hidden_size() * self.narrow()
    }

    /// What a layer holds where it is one operation of our own kernels.
    pub(super) fn layer_bytes(&self) -> Option<FusedBytes> {
        self.compute.layer_bytes(self.bert, self.device, self.sequences as i64, self.length as i64)
    }

    /// The same for the head and its loss.
    pub(super) fn head_bytes(&self) -> Option<FusedBytes> {
        let (rows, targets) = (self.sequences * self.length, self.sequences * self.capacity);
        let sizes = (self.bert.hidden_size, self.bert.padded_vocab_size());
        let is_fused = self.compute.fuses() && self.device == Device::Cpu;
        is_fused.then(|| head_bytes(rows as i64, targets as i64, sizes.0, sizes.1, self.compute.kind)).flatten()
    }

    /// The same for the embeddings.
    pub(super) fn embeddings_bytes(&self) -> Option<FusedBytes> {
        let (rows, has_norm) = ((self.sequences * self.length) as i64, self.bert.norm == Norm::Post);
        let is_fused = self.compute.fuses() && self.device == Device::Cpu;
        is_fused.then(|| embeddings_bytes(rows, self.bert.hidden_size, has_norm, self.compute.kind)).flatten()
    }

    /// Weights, their gradients and two moments, the vocabulary padded.
    pub(super) fn state(&self) -> f64 {
        let unpadded: i64 = specs(self.bert, self.map).iter().map(|spec| spec.shape.iter().product::<i64>()).sum();
        let padding = (self.vocabulary() - self.bert.vocab_size as f64) * (self.hidden_size() + 1.0);
        4.0 * self.wide() * (unpadded as f64 + padding)
    }

    /// A micro-batch of the same size of an evaluation, which computes in the precision of the weights.
    pub(super) fn evaluated(&self) -> Self {
        let compute = Compute { kind: self.compute.weight_kind(), recompute: false, ..self.compute };
        Self { compute, probed: false, ..*self }
    }

    /// The gradients that a check keeps apart.
    pub(super) fn probe(&self) -> f64 {
        if !self.probed {
            return 0.0;
        }
        let members = (0..self.map.num_groups()).map(|group| self.map.members(group).len());
        let sharing: usize = members.filter(|&members| members > 1).sum();
        let layer: i64 = layer_specs(self.bert).iter().map(|(_, shape, _)| shape.iter().product::<i64>()).sum();
        self.wide() * (sharing as i64 * layer) as f64
    }
}

fn bytes_of(kind: Kind) -> f64 {
    match kind {
        Kind::Double => 8.0,
        Kind::Float => 4.0,
        _ => 2.0,
    }
}

/// What one part of the model holds, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// From its forward to its backward.
    pub(super) saved: f64,
    /// During its backward, beside that.
    pub(super) passing: f64,
    /// What of that the heap does not give back at once.
    pub(super) lingering: f64,
}

/// `bytes`, where a buffer of that size comes from the heap, which does not give it back at once.
pub(super) fn in_heap(bytes: f64) -> f64 {
    if bytes <= largest_in_heap() as f64 {
        bytes
    } else {
        0.0
    }
}
