//! Word, position and segment embeddings, summed; Post-LN models normalise the sum.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::config::{BertConfig, Norm};
use crate::model::linear::LayerNorm;
use crate::model::weights::Weights;
use crate::model::Mode;

/// Token ids to the first hidden states.
#[derive(Debug)]
pub struct Embeddings {
    word: Tensor,
    position: Tensor,
    token_type: Tensor,
    norm: Option<LayerNorm>,
    dropout: f64,
}

impl Embeddings {
    /// The tensors below `bert.embeddings.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights) -> Result<Self> {
        let norm = match config.norm {
            Norm::Post => Some(LayerNorm::new(weights, "bert.embeddings.LayerNorm", config.layer_norm_eps)?),
            Norm::Pre => None,
        };
        Ok(Self {
            word: weights.tensor("bert.embeddings.word_embeddings.weight")?,
            position: weights.tensor("bert.embeddings.position_embeddings.weight")?,
            token_type: weights.tensor("bert.embeddings.token_type_embeddings.weight")?,
            norm,
            dropout: config.hidden_dropout_prob,
        })
    }

    /// `token_ids` [B, T] and segment ids [B, T] (`None`: all 0) → [B, T, C] in precision `kind`.
    ///
    /// # Errors
    /// libtorch's own, e.g. an id outside the vocabulary.
    pub fn forward(&self, token_ids: &Tensor, token_types: Option<&Tensor>, mode: Mode, kind: Kind) -> Result<Tensor> {
        let length = token_ids.size()[1];
        let words = Tensor::f_embedding(&self.word, token_ids, -1, false, false)?; // [B, T, C]
        let types = match token_types {
            Some(ids) => Tensor::f_embedding(&self.token_type, ids, -1, false, false)?, // [B, T, C]
            None => self.token_type.f_narrow(0, 0, 1)?,                                 // [1, C]
        };
        let sum = words.f_add(&self.position.f_narrow(0, 0, length)?)?.f_add(&types)?;
        let hidden = match &self.norm {
            Some(norm) => norm.forward(&sum)?,
            None => sum,
        };
        Ok(mode.dropout(&hidden, self.dropout)?.f_to_kind(kind)?)
    }
}
