//! Word, position and segment embeddings, summed; Post-LN models normalise the sum.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::compute::Compute;
use crate::model::config::{BertConfig, Norm};
use crate::model::linear::{statistics_kind, LayerNorm};
use crate::model::weights::Weights;
use crate::model::{ForwardContext, Input};
use crate::shim::{embeddings, embeddings_fit, EmbeddingIds, EmbeddingTables};

/// Token ids to the first hidden states.
#[derive(Debug)]
pub struct Embeddings {
    word: Tensor,
    position: Tensor,
    token_type: Tensor,
    norm: Option<LayerNorm>,
    dropout: f64,
    fuses: bool,
}

impl Embeddings {
    /// The tensors below `bert.embeddings.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, compute: Compute) -> Result<Self> {
        let norm = match config.norm {
            Norm::Post => Some(LayerNorm::new(weights, "bert.embeddings.LayerNorm", config.layer_norm_eps)?),
            Norm::Pre => None,
        };
        let word = weights.tensor("bert.embeddings.word_embeddings.weight")?;
        Ok(Self {
            fuses: compute.fuses(),
            word,
            position: weights.tensor("bert.embeddings.position_embeddings.weight")?,
            token_type: weights.tensor("bert.embeddings.token_type_embeddings.weight")?,
            norm,
            dropout: config.hidden_dropout_prob,
        })
    }

    /// Token ids, segment ids and places [B, T] → [B, T, C] in precision `kind`.
    ///
    /// # Errors
    /// libtorch's own, e.g. an id outside the vocabulary.
    pub fn forward(&self, input: Input<'_>, context: &ForwardContext<'_>, kind: Kind) -> Result<Tensor> {
        let (device, (_, hidden_size)) = (self.word.device(), self.word.size2()?);
        if self.fuses && self.word.kind() == statistics_kind(kind) && embeddings_fit(hidden_size, kind, device) {
            let tables = EmbeddingTables {
                word: &self.word,
                position: &self.position,
                token_type: &self.token_type,
                norm: self.norm.as_ref().map(LayerNorm::parts),
            };
            let ids = EmbeddingIds { tokens: input.token_ids, positions: input.position_ids, types: input.token_types };
            return embeddings(tables, ids, context.embeddings_dropout(self.dropout)?, kind);
        }
        let words = Tensor::f_embedding(&self.word, input.token_ids, -1, false, false)?; // [B, T, C]
        let positions = match input.position_ids {
            Some(ids) => Tensor::f_embedding(&self.position, ids, -1, false, false)?, // [B, T, C]
            None => self.position.f_narrow(0, 0, input.token_ids.size()[1])?,         // [T, C]
        };
        let types = match input.token_types {
            Some(ids) => Tensor::f_embedding(&self.token_type, ids, -1, false, false)?, // [B, T, C]
            None => self.token_type.f_narrow(0, 0, 1)?,                                 // [1, C]
        };
        let sum = words.f_add(&positions)?.f_add(&types)?;
        let hidden = match &self.norm {
            Some(norm) => norm.forward(&sum)?,
            None => sum,
        };
        Ok(context.mode().dropout(&hidden, self.dropout)?.f_to_kind(kind)?)
    }
}
