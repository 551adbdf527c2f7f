//! Shards to batches: which sample comes when, what it masks, and the plain buffers that a step turns into tensors.
//!
//! In: sets of shards and a position, one integer. Out: [`Batch`]es, a pure function of (data, seed, position): no state
//! beside the integer, the same on any number of threads. Cost: the batch itself; the tokens stay in the mapped files.

pub mod config;
pub mod corpus;
pub mod loader;
pub mod masking;
pub mod mixture;
pub mod order;
pub mod pairs;
pub mod phase;
pub mod random;
pub mod samples;
pub mod spans;
pub mod vocabulary;

pub use config::{CorpusConfig, DataConfig, Objective, Packing};
pub use loader::{Loader, Share};
pub use samples::Samples;
pub use vocabulary::Vocabulary;

use tch::{Device, Tensor};

use crate::error::Result;

/// A micro-batch in plain buffers; B sequences of T tokens with P target slots each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Masked ids, [B, T].
    pub token_ids: Vec<i64>,
    /// Segment ids, 0 for the first of a pair and 1 for the second, [B, T]; none: all 0.
    pub token_types: Option<Vec<i64>>,
    /// Place of each token in its document, [B, T]; none: its place in the sequence.
    pub position_ids: Option<Vec<i64>>,
    /// Number of the document of each token, [B, T]; tokens see those of their own document only. None: they see all.
    pub documents: Option<Vec<i64>>,
    /// 1 for a token and 0 for padding, [B, T]; none: no padding.
    pub attention_mask: Option<Vec<i64>>,
    /// Class of each pair, `[B]`: 0 where the second segment follows the first, else 1; none: no pairs.
    pub pair_labels: Option<Vec<i64>>,
    /// Tokens of a sequence, T.
    pub sequence_length: usize,
    /// Indices of the targets into the B·T tokens, [B·P]; 0 in unused slots.
    pub positions: Vec<i64>,
    /// Original tokens at the targets, [B·P]; 0 in unused slots.
    pub labels: Vec<i64>,
    /// 1 for a target, 0 for an unused slot, [B·P].
    pub weights: Vec<f32>,
    /// Number of targets.
    pub num_targets: usize,
    /// Key of each sequence's dropout, `[B]`: a function of seed, epoch and sample. Empty: none.
    pub dropout_keys: Vec<i64>,
}

/// A [`Batch`] on a device.
#[derive(Debug)]
pub struct BatchTensors {
    /// int64 [B, T].
    pub token_ids: Tensor,
    /// int64 [B, T]; none: all 0.
    pub token_types: Option<Tensor>,
    /// int64 [B, T]; none: 0..T.
    pub position_ids: Option<Tensor>,
    /// int64 [B, T]; none: one document a sequence.
    pub documents: Option<Tensor>,
    /// int64 [B, T]; none: no padding.
    pub attention_mask: Option<Tensor>,
    /// int64 `[B]`; none: no pairs.
    pub pair_labels: Option<Tensor>,
    /// int64 [B·P].
    pub positions: Tensor,
    /// int64 [B·P].
    pub labels: Tensor,
    /// float32 [B·P].
    pub weights: Tensor,
    /// int64 `[B]`; none: a batch without keys, for models without dropout.
    pub dropout_keys: Option<Tensor>,
}

impl Batch {
    /// Number of sequences, B.
    pub fn num_sequences(&self) -> usize {
        self.token_ids.len() / self.sequence_length
    }

    /// Copies the buffers to `device`; to CUDA through pinned memory, without waiting for the copies.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn to_device(&self, device: Device) -> Result<BatchTensors> {
        let shape = [self.num_sequences() as i64, self.sequence_length as i64];
        let sequences =
            |values: &[i64]| -> Result<Tensor> { place(Tensor::f_from_slice(values)?.f_view(shape)?, device) };
        let list = |values: &[i64]| place(Tensor::f_from_slice(values)?, device);
        let optional = |values: &Option<Vec<i64>>| values.as_deref().map(sequences).transpose();
        let pair_labels = self.pair_labels.as_deref().map(list);
        let keys = Some(&self.dropout_keys).filter(|keys| !keys.is_empty());
        let dropout_keys = keys.map(|keys| list(keys));
        Ok(BatchTensors {
            token_ids: sequences(&self.token_ids)?,
            token_types: optional(&self.token_types)?,
            position_ids: optional(&self.position_ids)?,
            documents: optional(&self.documents)?,
            attention_mask: optional(&self.attention_mask)?,
            pair_labels: pair_labels.transpose()?,
            positions: list(&self.positions)?,
            labels: list(&self.labels)?,
            weights: place(Tensor::f_from_slice(&self.weights)?, device)?,
            dropout_keys: dropout_keys.transpose()?,
        })
    }
}

/// `tensor`, which lies in the host's memory, on `device`. libtorch keeps the pinned copy until the device has read it.
pub(crate) fn place(tensor: Tensor, device: Device) -> Result<Tensor> {
    if !device.is_cuda() || tensor.numel() == 0 {
        return Ok(tensor.f_to_device(device)?);
    }
    // Not `f_pin_memory`, whose device libtorch answers with a deprecation warning, every time.
    let pinned = tensor.f_internal_pin_memory(device)?;
    Ok(pinned.f_to_device_(device, pinned.kind(), true, false)?)
}
