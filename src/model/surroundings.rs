//! What a layer sees beside the hidden states: which tokens see which, and where its dropout comes from.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::{Input, Mode};
use crate::shim;

/// Number of the dropout after the embeddings.
const EMBEDDINGS_SITE: u32 = 0;
/// Dropouts of one layer: attention's weights, its output, the feed-forward's output.
const SITES_OF_A_LAYER: u32 = 4;

/// The limits and keys of one batch, in the form that the kernels read.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// For composed layers: added to the scores, 0 to see a token and −∞ to ignore it; [B, 1, 1, T] or [B, 1, T, T].
    pub bias: Option<Tensor>,
    /// For fused layers, int32 [B, T]: 0 for padding.
    pub visible: Option<Tensor>,
    /// For fused layers, int32 [B, T]: the number of each token's document.
    pub documents: Option<Tensor>,
    keys: Option<&'a Tensor>,
    mode: Mode,
}

impl<'a> Surroundings<'a> {
    /// Those of `input`, for layers that are fused or compute in `kind` by composition.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn new(input: Input<'a>, mode: Mode, kind: Kind, is_fused: bool) -> Result<Self> {
        let integers = |ids: Option<&Tensor>| -> Result<Option<Tensor>> {
            Ok(match ids.filter(|_| is_fused) {
                Some(ids) => Some(ids.f_to_kind(Kind::Int)?.f_contiguous()?),
                None => None,
            })
        };
        Ok(Self {
            bias: if is_fused { None } else { input.bias(kind)? },
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

    /// Dropout of the embeddings [B, T, C].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn drop_embeddings(&self, hidden: &Tensor, probability: f64) -> Result<Tensor> {
        match self.keys {
            Some(keys) if self.mode == Mode::Train && probability > 0.0 && keys.device() == tch::Device::Cpu => {
                shim::dropout(hidden, keys, EMBEDDINGS_SITE, probability)
            }
            _ => self.mode.dropout(hidden, probability),
        }
    }

    /// What fused layer number `layer` reads.
    ///
    /// # Errors
    /// When dropout is on and there are no keys.
    pub fn pass(&self, layer: usize, attention_dropout: f64, hidden_dropout: f64) -> Result<shim::Pass<'_>> {
        let drops = self.mode == Mode::Train && (attention_dropout > 0.0 || hidden_dropout > 0.0);
        if drops && self.keys.is_none() {
            return Err(Error::failed("training with dropout needs the keys of the sequences, `Input::dropout_keys`"));
        }
        Ok(shim::Pass {
            visible: self.visible.as_ref(),
            documents: self.documents.as_ref(),
            keys: self.keys.filter(|_| drops),
            site: (layer as u32 + 1) * SITES_OF_A_LAYER,
            attention_dropout,
            hidden_dropout,
            recompute: false,
        })
    }
}
