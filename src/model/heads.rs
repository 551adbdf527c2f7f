//! The heads. The masked-language-model head: dense, GELU, LayerNorm, and a decoder tied to the word embeddings (Devlin et al.
//! 2018). It runs on chosen positions only. The head for pairs, and those of fine-tuned models: for sequences and for spans.

use tch::Tensor;

use crate::error::Result;
use crate::model::compute::Compute;
use crate::model::config::BertConfig;
use crate::model::forward_context::classifier_dropout;
use crate::model::linear::{statistics_kind, LayerNorm, Linear};
use crate::model::weights::Weights;
use crate::model::Mode;
use crate::shim::{dropout_factors, dropout_fits, head_fits, FusedHead, Targets};

/// The hidden state of `[CLS]` behind a dense layer with tanh.
#[derive(Debug)]
struct Pooler(Linear);

impl Pooler {
    /// The tensors below `bert.pooler.`.
    fn new(weights: &Weights) -> Result<Self> {
        Ok(Self(Linear::new(weights, "bert.pooler.dense")?))
    }

    /// [B, T, C] → [B, C].
    fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let first = hidden.f_select(1, 0)?; // [B, C]
        Ok(self.0.forward(&first)?.f_tanh()?)
    }
}

/// The head that says whether the second segment of a pair follows the first: a classifier on the pooled `[CLS]` (Devlin et
/// al. 2018; transformers' BertForPreTraining).
#[derive(Debug)]
pub struct PairHead {
    pooler: Pooler,
    classifier: Linear,
}

impl PairHead {
    /// The tensors below `bert.pooler.` and `cls.seq_relationship.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(weights: &Weights) -> Result<Self> {
        Ok(Self { pooler: Pooler::new(weights)?, classifier: Linear::new(weights, "cls.seq_relationship")? })
    }

    /// [B, T, C] → [B, 2] in fp32 at least: class 0 where the second segment follows, class 1 where it does not.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let pooled = self.pooler.forward(hidden)?;
        Ok(self.classifier.forward(&pooled)?.f_to_kind(statistics_kind(hidden.kind()))?)
    }
}

/// The head for tasks with one answer a sequence: dropout and a classifier on the pooled `[CLS]` (Devlin et al. 2018;
/// transformers' BertForSequenceClassification). Behind the pooler everything is in fp32 at least: B rows cost nothing.
#[derive(Debug)]
pub struct SequenceHead {
    pooler: Pooler,
    classifier: DroppingClassifier,
}

impl SequenceHead {
    /// The tensors below `bert.pooler.` and `classifier.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, compute: Compute) -> Result<Self> {
        Ok(Self { pooler: Pooler::new(weights)?, classifier: DroppingClassifier::new(config, weights, compute)? })
    }

    /// [B, T, C] → [B, L] for L labels; `keys` are the sequences', int64 `[B]`, of which dropout of fused kernels is a function.
    ///
    /// # Errors
    /// When dropout of fused kernels is on and there are no keys, and libtorch's own.
    pub fn forward(&self, hidden: &Tensor, mode: Mode, keys: Option<&Tensor>) -> Result<Tensor> {
        self.classifier.forward(&self.pooler.forward(hidden)?, mode, keys)
    }
}

/// The head for tasks with a class for every token: dropout and a classifier (transformers' BertForTokenClassification).
#[derive(Debug)]
pub struct TokenHead(DroppingClassifier);

impl TokenHead {
    /// The tensors below `classifier.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, compute: Compute) -> Result<Self> {
        Ok(Self(DroppingClassifier::new(config, weights, compute)?))
    }

    /// [B, T, C] → [B, T, L] for L labels, as [`SequenceHead::forward`].
    ///
    /// # Errors
    /// As there.
    pub fn forward(&self, hidden: &Tensor, mode: Mode, keys: Option<&Tensor>) -> Result<Tensor> {
        self.0.forward(hidden, mode, keys)
    }
}

/// Dropout, and the classifier below `classifier.`, in fp32 at least.
#[derive(Debug)]
struct DroppingClassifier {
    classifier: Linear,
    dropout: f64,
    fuses: bool,
}

impl DroppingClassifier {
    fn new(config: &BertConfig, weights: &Weights, compute: Compute) -> Result<Self> {
        let classifier = Linear::new(weights, "classifier")?;
        Ok(Self { classifier, dropout: config.hidden_dropout_prob, fuses: compute.fuses() })
    }

    /// [B, .., C] → [B, .., L].
    fn forward(&self, features: &Tensor, mode: Mode, keys: Option<&Tensor>) -> Result<Tensor> {
        let features = features.f_to_kind(statistics_kind(features.kind()))?;
        let dropped = if self.fuses && dropout_fits(features.kind(), features.device()) {
            match classifier_dropout(keys, mode, self.dropout)? {
                Some(dropout) => {
                    // What is dropped of a place in a sequence does not depend on how long the batch is.
                    let rows = features.f_flatten(1, -1)?;
                    let factors = dropout_factors(dropout, rows.size2()?, rows.kind())?;
                    rows.f_mul(&factors)?.f_view_as(&features)?
                }
                None => features,
            }
        } else {
            mode.dropout(&features, self.dropout)?
        };
        self.classifier.forward(&dropped)
    }
}

/// The head for tasks whose answer is a span of the sequence: every token's score as its start and as its end (Devlin et al.
/// 2018, section 4.2; transformers' BertForQuestionAnswering).
#[derive(Debug)]
pub struct SpanHead(Linear);

impl SpanHead {
    /// The tensors below `qa_outputs.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(weights: &Weights) -> Result<Self> {
        Ok(Self(Linear::new(weights, "qa_outputs")?))
    }

    /// [B, T, C] → logits of starts and of ends, [B, T] each, in fp32 at least: among hundreds of places the eight bits of a
    /// bf16 would often make two equal.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, hidden: &Tensor) -> Result<(Tensor, Tensor)> {
        let logits = self.0.forward(&hidden.f_to_kind(statistics_kind(hidden.kind()))?)?; // [B, T, 2]
        Ok((logits.f_select(2, 0)?, logits.f_select(2, 1)?))
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
    pub fn new(config: &BertConfig, weights: &Weights, compute: Compute) -> Result<Self> {
        let transform = "cls.predictions.transform";
        let embeddings = weights.tensor("bert.embeddings.word_embeddings.weight")?;
        let bias = weights.tensor("cls.predictions.bias")?;
        let (vocabulary, hidden_size) = embeddings.size2()?;
        let is_fused = compute.fuses()
            && embeddings.kind() == compute.weight_kind()
            && head_fits(hidden_size, vocabulary, compute.kind, embeddings.device());
        let fused = if is_fused {
            let parts = [
                weights.tensor(&format!("{transform}.dense.weight"))?,
                weights.tensor(&format!("{transform}.dense.bias"))?,
                weights.tensor(&format!("{transform}.LayerNorm.weight"))?,
                weights.tensor(&format!("{transform}.LayerNorm.bias"))?,
                embeddings.shallow_clone(),
                bias.shallow_clone(),
            ];
            Some(FusedHead::new(&parts, compute.kind, config.layer_norm_eps)?)
        } else {
            None
        };
        let dense = Linear::new(weights, &format!("{transform}.dense"))?;
        let norm = LayerNorm::new(weights, &format!("{transform}.LayerNorm"), config.layer_norm_eps)?;
        Ok(Self { dense, norm, embeddings, bias, fused })
    }

    /// The loss of `targets` among the hidden states [B, T, C] and how many are right, as [`FusedHead::loss`] gives them; `None`
    /// where there are no kernels of our own for it.
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
