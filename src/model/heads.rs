//! The heads. The masked-language-model head: dense, GELU, LayerNorm, and a decoder tied to the word embeddings (Devlin et al.
//! 2018). It runs on chosen positions only.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::config::BertConfig;
use crate::model::layer::fuses;
use crate::model::linear::{statistics_kind, LayerNorm, Linear};
use crate::model::weights::Weights;
use crate::shim::{head_fits, FusedHead, Targets};

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

/// Hidden states to logits over the vocabulary, and their loss.
#[derive(Debug)]
pub struct MaskedLmHead {
    dense: Linear,
    norm: LayerNorm,
    embeddings: Tensor,
    bias: Tensor,
    fused: Option<FusedHead>,
}

impl MaskedLmHead {
    /// The tensors below `cls.predictions.`, and the word embeddings.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, kind: Kind) -> Result<Self> {
        let transform = "cls.predictions.transform";
        let embeddings = weights.tensor("bert.embeddings.word_embeddings.weight")?;
        let bias = weights.tensor("cls.predictions.bias")?;
        let (vocabulary, width) = embeddings.size2()?;
        let is_fused = fuses()
            && embeddings.kind() == statistics_kind(kind)
            && head_fits(width, vocabulary, kind, embeddings.device());
        let fused = if is_fused {
            let parts = [
                weights.tensor(&format!("{transform}.dense.weight"))?,
                weights.tensor(&format!("{transform}.dense.bias"))?,
                weights.tensor(&format!("{transform}.LayerNorm.weight"))?,
                weights.tensor(&format!("{transform}.LayerNorm.bias"))?,
                embeddings.shallow_clone(),
                bias.shallow_clone(),
            ];
            Some(FusedHead::new(&parts, kind, config.layer_norm_eps)?)
        } else {
            None
        };
        let dense = Linear::new(weights, &format!("{transform}.dense"))?;
        let norm = LayerNorm::new(weights, &format!("{transform}.LayerNorm"), config.layer_norm_eps)?;
        Ok(Self { dense, norm, embeddings, bias, fused })
    }

    /// The loss of `targets` among the hidden states [B, T, C] and how many are right, as [`FusedHead::loss`] gives them; `None`
    /// where there are no kernels of our own for it, on GPUs for one.
    ///
    /// # Errors
    /// As [`FusedHead::loss`].
    pub fn loss(&self, hidden: &Tensor, targets: Targets<'_>) -> Result<Option<[Tensor; 2]>> {
        self.fused.as_ref().map(|head| head.loss(hidden, targets)).transpose()
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
