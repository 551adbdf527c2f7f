//! What an encoder reads, and whether it trains.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Whether dropout is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout on.
    Train,
    /// Dropout off.
    Eval,
}

impl Mode {
    /// Dropout with probability `probability` when training, else the input itself.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn dropout(self, input: &Tensor, probability: f64) -> Result<Tensor> {
        if self == Mode::Train && probability > 0.0 {
            Ok(input.f_dropout(probability, true)?)
        } else {
            Ok(input.shallow_clone())
        }
    }
}

/// What an encoder reads.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Token ids, int64 [B, T].
    pub token_ids: &'a Tensor,
    /// Segment ids, int64 [B, T]; `None`: all 0.
    pub token_types: Option<&'a Tensor>,
    /// 1 for tokens and 0 for padding, [B, T]; `None`: no padding.
    pub attention_mask: Option<&'a Tensor>,
    /// Place of each token in its document, int64 [B, T]; `None`: its place in the sequence.
    pub position_ids: Option<&'a Tensor>,
    /// Number of each token's document, [B, T]: tokens see those of their own document only; `None`: they see all.
    pub documents: Option<&'a Tensor>,
    /// Key of each sequence, int64 `[B]`: dropout of fused kernels is a function of it; needed where they train with dropout.
    pub dropout_keys: Option<&'a Tensor>,
}

impl<'a> Input<'a> {
    /// Sequences without padding and of one segment.
    pub fn full(token_ids: &'a Tensor) -> Self {
        Self {
            token_ids,
            token_types: None,
            attention_mask: None,
            position_ids: None,
            documents: None,
            dropout_keys: None,
        }
    }

    /// What attention adds to its scores: 0 to see a token, −∞ to ignore it; [B, 1, 1, T] for padding, [B, 1, T, T] for
    /// documents, nothing where every token sees every other.
    pub(super) fn bias(&self, kind: Kind) -> Result<Option<Tensor>> {
        let padding = match self.attention_mask {
            Some(mask) => Some(mask.f_eq(0)?.f_unsqueeze(1)?.f_unsqueeze(1)?), // [B, 1, 1, T]
            None => None,
        };
        let apart = match self.documents {
            // [B, 1, T, 1] against [B, 1, 1, T]
            Some(of) => Some(of.f_unsqueeze(1)?.f_unsqueeze(3)?.f_ne_tensor(&of.f_unsqueeze(1)?.f_unsqueeze(2)?)?),
            None => None,
        };
        let hidden = match (padding, apart) {
            (Some(padding), Some(apart)) => apart.f_logical_or(&padding)?,
            (Some(hidden), None) | (None, Some(hidden)) => hidden,
            (None, None) => return Ok(None),
        };
        let zeros = Tensor::f_zeros(hidden.size(), (kind, hidden.device()))?;
        Ok(Some(zeros.f_masked_fill(&hidden, f64::NEG_INFINITY)?))
    }
}
