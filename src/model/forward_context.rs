//! What a forward depends on beside weights and token ids: which tokens see which, and where its dropout comes from.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::{Input, Mode};
use crate::shim::{self, KernelSet};

/// Number of the dropout after the embeddings.
const EMBEDDINGS_SITE: u32 = 0;
/// Number of the dropout after the pooler.
const CLASSIFIER_SITE: u32 = 1;
/// Dropouts of one layer: attention's weights, its output, the feed-forward's output. Layer 0 starts at this number.
const SITES_OF_A_LAYER: u32 = 4;
const _: () = assert!(EMBEDDINGS_SITE < CLASSIFIER_SITE && CLASSIFIER_SITE < SITES_OF_A_LAYER);

/// The limits and keys of one batch, in the form that the kernels read.
#[derive(Debug)]
pub struct ForwardContext<'a> {
    /// For composed layers and on CUDA: added to the scores, 0 to see a token and −∞ to ignore it; [B, 1, 1, T] or [B, 1, T, T].
    pub bias: Option<Tensor>,
    /// For fused layers on the CPU, int32 [B, T]: 0 for padding.
    pub visible: Option<Tensor>,
    /// For fused layers on the CPU, int32 [B, T]: the number of each token's document.
    pub documents: Option<Tensor>,
    keys: Option<&'a Tensor>,
    mode: Mode,
}

impl<'a> ForwardContext<'a> {
    /// Those of `input`, for layers that are fused or compute in `kind` by composition.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn new(input: Input<'a>, mode: Mode, kind: Kind, is_fused: bool) -> Result<Self> {
        let reads_integers = is_fused && KernelSet::of(input.token_ids.device(), kind) == KernelSet::Cpu;
        let integers = |ids: Option<&Tensor>| -> Result<Option<Tensor>> {
            Ok(match ids.filter(|_| reads_integers) {
                Some(ids) => Some(ids.f_to_kind(Kind::Int)?.f_contiguous()?),
                None => None,
            })
        };
        Ok(Self {
            bias: if reads_integers { None } else { input.bias(kind)? },
            visible: integers(input.attention_mask)?,
            documents: integers(input.documents)?,
            keys: input.dropout_keys,
            mode,
        })
    }

    /// Whether dropout is on.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The dropout of fused embeddings; none where it is off.
    ///
    /// # Errors
    /// When dropout is on and there are no keys.
    pub fn embeddings_dropout(&self, probability: f64) -> Result<Option<shim::KeyedDropout<'_>>> {
        keyed_dropout(self.keys, self.mode, EMBEDDINGS_SITE, probability)
    }

    /// What fused layer number `layer` reads.
    ///
    /// # Errors
    /// When dropout is on and there are no keys.
    pub fn layer(&self, layer: usize, attention_dropout: f64, hidden_dropout: f64) -> Result<shim::LayerContext<'_>> {
        let drops = self.mode == Mode::Train && (attention_dropout > 0.0 || hidden_dropout > 0.0);
        Ok(shim::LayerContext {
            visible: self.visible.as_ref(),
            documents: self.documents.as_ref(),
            bias: self.bias.as_ref(),
            keys: if drops { Some(needed(self.keys)?) } else { None },
            site: (layer as u32 + 1) * SITES_OF_A_LAYER,
            attention_dropout,
            hidden_dropout,
            recompute: false,
        })
    }
}

/// The dropout of the pooled `[CLS]` by our own kernels; none where it is off.
///
/// # Errors
/// When dropout is on and there are no keys.
pub(super) fn classifier_dropout(
    keys: Option<&Tensor>,
    mode: Mode,
    probability: f64,
) -> Result<Option<shim::KeyedDropout<'_>>> {
    keyed_dropout(keys, mode, CLASSIFIER_SITE, probability)
}

fn keyed_dropout(
    keys: Option<&Tensor>,
    mode: Mode,
    site: u32,
    probability: f64,
) -> Result<Option<shim::KeyedDropout<'_>>> {
    if mode == Mode::Eval || probability == 0.0 {
        return Ok(None);
    }
    Ok(Some(shim::KeyedDropout { keys: needed(keys)?, site, probability }))
}

fn needed(keys: Option<&Tensor>) -> Result<&Tensor> {
    keys.ok_or_else(|| Error::failed("training with dropout needs the keys of the sequences, `Input::dropout_keys`"))
}
