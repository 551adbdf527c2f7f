//! The whole model.

use std::cell::RefCell;
use std::rc::Rc;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::config::{BertConfig, TaskHead};
use crate::model::embeddings::Embeddings;
use crate::model::encoder::Encoder;
use crate::model::forward_context::ForwardContext;
use crate::model::heads::{MaskedLmHead, PairHead, SequenceHead, SpanHead};
use crate::model::layer_gradients::LayerGradients;
use crate::model::weights::Weights;
use crate::shim::{GradientReducer, Targets};

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
    /// Key of each sequence, int64 `[B]`: dropout on the CPU is a function of it; needed where a model trains with dropout.
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

/// Embeddings, encoder and heads over one set of [`Weights`]: the heads of pre-training, or one of a task.
#[derive(Debug)]
pub struct Bert {
    embeddings: Embeddings,
    encoder: Encoder,
    heads: Heads,
    kind: Kind,
    reducer: RefCell<Option<Rc<GradientReducer>>>,
}

#[derive(Debug)]
enum Heads {
    Pretraining { masked_lm: Box<MaskedLmHead>, pair: Option<PairHead> },
    Sequence(SequenceHead),
    Span(SpanHead),
}

impl Heads {
    fn new(config: &BertConfig, weights: &Weights, kind: Kind) -> Result<Self> {
        Ok(match config.task_head {
            None => Self::Pretraining {
                masked_lm: Box::new(MaskedLmHead::new(config, weights, kind)?),
                pair: if config.pair_head { Some(PairHead::new(weights)?) } else { None },
            },
            Some(TaskHead::Sequence { .. }) => Self::Sequence(SequenceHead::new(config, weights)?),
            Some(TaskHead::Span) => Self::Span(SpanHead::new(weights)?),
        })
    }

    fn masked_lm(&self) -> Result<&MaskedLmHead> {
        match self {
            Self::Pretraining { masked_lm, .. } => Ok(masked_lm),
            _ => Err(Error::failed("the model has no masked-language-model head")),
        }
    }
}

impl Bert {
    /// A model that computes in precision `kind` with the tensors of `weights`, shared as `map` says.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn new(config: &BertConfig, map: &LayerMap, weights: &Weights, kind: Kind) -> Result<Self> {
        Self::assemble(config, weights, Encoder::new(config, map, weights, kind)?, kind)
    }

    /// The same model, bit for bit, whose backward leaves the gradient of every layer apart.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn probed(
        config: &BertConfig,
        map: &LayerMap,
        weights: &Weights,
        kind: Kind,
    ) -> Result<(Self, LayerGradients)> {
        let gradients = LayerGradients::new(map, weights)?;
        let encoder = Encoder::probed(config, map, weights, &gradients, kind)?;
        Ok((Self::assemble(config, weights, encoder, kind)?, gradients))
    }

    fn assemble(config: &BertConfig, weights: &Weights, encoder: Encoder, kind: Kind) -> Result<Self> {
        let (embeddings, heads) = (Embeddings::new(config, weights)?, Heads::new(config, weights, kind)?);
        Ok(Self { embeddings, encoder, heads, kind, reducer: RefCell::default() })
    }

    /// Hidden states of the last layer, [B, T, C].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn encode(&self, input: Input<'_>, mode: Mode) -> Result<Tensor> {
        let reducer = self.reducer.borrow();
        let (mut place, mut marked) = (0, Ok(()));
        let last = self.walk(input, mode, |hidden| {
            if let Some(reducer) = reducer.as_ref().filter(|_| marked.is_ok()) {
                marked = reducer.mark(hidden, place);
                place += 1;
            }
        })?;
        marked.map(|()| last)
    }

    /// From now on the hidden states before layer i of a forward tell `reducer` place i, and those after the last layer the number
    /// of layers: when a backward gets there, the layers from i on have their gradients. `None`: no more.
    pub fn mark_for(&self, reducer: Option<Rc<GradientReducer>>) {
        *self.reducer.borrow_mut() = reducer;
    }

    /// Hidden states before the first layer and after every layer, as transformers' `output_hidden_states` gives
    /// them: `num_hidden_layers` + 1 tensors [B, T, C].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn hidden_states(&self, input: Input<'_>, mode: Mode) -> Result<Vec<Tensor>> {
        let mut states = Vec::new();
        self.walk(input, mode, |hidden| states.push(hidden.shallow_clone())).map(|_last| states)
    }

    fn walk(&self, input: Input<'_>, mode: Mode, visit: impl FnMut(&Tensor)) -> Result<Tensor> {
        let context = ForwardContext::new(input, mode, self.kind, self.encoder.is_fused())?;
        let embedded = self.embeddings.forward(input, &context, self.kind)?;
        self.encoder.forward(embedded, &context, visit)
    }

    /// Logits [N, V] for the hidden states at `positions`, indices int64 `[N]` into the B·T tokens of `hidden`.
    ///
    /// # Errors
    /// When the model has no such head, and libtorch's own.
    pub fn mlm_logits(&self, hidden: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let flat = hidden.f_flatten(0, 1)?; // [B·T, C]
        self.heads.masked_lm()?.forward(&flat.f_index_select(0, positions)?)
    }

    /// The loss of `targets` among the last hidden states [B, T, C], a scalar with a graph, and how many are right; `None` where
    /// it must be computed from the logits.
    ///
    /// # Errors
    /// When the model has no such head, a target out of range, and libtorch's own.
    pub fn mlm_loss(&self, hidden: &Tensor, targets: Targets<'_>) -> Result<Option<[Tensor; 2]>> {
        self.heads.masked_lm()?.loss(hidden, targets)
    }

    /// Logits [B, 2] of the pairs whose last hidden states are `hidden` [B, T, C]: class 0 where the second segment follows
    /// the first.
    ///
    /// # Errors
    /// When the model has no such head, and libtorch's own.
    pub fn pair_logits(&self, hidden: &Tensor) -> Result<Tensor> {
        match &self.heads {
            Heads::Pretraining { pair: Some(head), .. } => head.forward(hidden),
            _ => Err(Error::failed("the model has no head for pairs of segments")),
        }
    }

    /// Logits [B, L] of the sequences whose last hidden states are `hidden` [B, T, C], or [B, 1], their numbers, where L is 1.
    /// `dropout_keys` are those of [`Input`].
    ///
    /// # Errors
    /// When the model has no such head, when it trains with dropout on the CPU and there are no keys, and libtorch's own.
    pub fn sequence_logits(&self, hidden: &Tensor, mode: Mode, dropout_keys: Option<&Tensor>) -> Result<Tensor> {
        match &self.heads {
            Heads::Sequence(head) => head.forward(hidden, mode, dropout_keys),
            _ => Err(Error::failed("the model has no head for sequences")),
        }
    }

    /// Logits [B, T] of the first tokens and [B, T] of the last tokens of the spans in the sequences whose last hidden states are
    /// `hidden` [B, T, C]. Padding has logits too: who reads them masks it.
    ///
    /// # Errors
    /// When the model has no such head, and libtorch's own.
    pub fn span_logits(&self, hidden: &Tensor) -> Result<(Tensor, Tensor)> {
        match &self.heads {
            Heads::Span(head) => head.forward(hidden),
            _ => Err(Error::failed("the model has no head for spans")),
        }
    }
}
