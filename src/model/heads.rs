//! The heads. The masked-language-model head: dense, GELU, LayerNorm, and a decoder tied to the word embeddings (Devlin et al.
//! 2018). It runs on chosen positions only.

use tch::Tensor;

use crate::error::Result;
use crate::model::config::BertConfig;
use crate::model::linear::{statistics_kind, LayerNorm, Linear};
use crate::model::weights::Weights;

/// The head that says whether the second segment of a pair follows the first: the hidden state of `[CLS]`, a dense layer
/// with tanh (the pooler), and a classifier (Devlin et al. 2018; transformers' BertForPreTraining).
#[derive(Debug)]
pub struct PairHead {
    pooler: Linear,
    classifier: Linear,
}

impl PairHead {
    /// The tensors below `bert.pooler.` and `cls.seq_relationship.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(weights: &Weights) -> Result<Self> {
        let (pooler, classifier) =
            (Linear::new(weights, "bert.pooler.dense")?, Linear::new(weights, "cls.seq_relationship")?);
        Ok(Self { pooler, classifier })
    }

    /// [B, T, C] → [B, 2] in fp32 at least: class 0 where the second segment follows, class 1 where it does not.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let first = hidden.f_select(1, 0)?; // [B, C]
        let pooled = self.pooler.forward(&first)?.f_tanh()?;
        Ok(self.classifier.forward(&pooled)?.f_to_kind(statistics_kind(hidden.kind()))?)
    }
}

/// Hidden states to logits over the vocabulary.
#[derive(Debug)]
pub struct MaskedLmHead {
    dense: Linear,
    norm: LayerNorm,
    embeddings: Tensor,
    bias: Tensor,
}

impl MaskedLmHead {
    /// The tensors below `cls.predictions.`, and the word embeddings.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights) -> Result<Self> {
        Ok(Self {
            dense: Linear::new(weights, "cls.predictions.transform.dense")?,
            norm: LayerNorm::new(weights, "cls.predictions.transform.LayerNorm", config.layer_norm_eps)?,
            embeddings: weights.tensor("bert.embeddings.word_embeddings.weight")?,
            bias: weights.tensor("cls.predictions.bias")?,
        })
    }

    /// [N, C] → [N, V] in fp32 at least; the padded columns hold −1e9.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let kind = hidden.kind();
        let transformed = self.norm.forward(&self.dense.forward(hidden)?.f_gelu("none")?)?; // [N, C]
        let logits = transformed.f_linear(&self.embeddings.f_to_kind(kind)?, None::<Tensor>)?; // [N, V]
        Ok(logits.f_to_kind(statistics_kind(kind))?.f_add(&self.bias)?)
    }
}
