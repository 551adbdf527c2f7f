//! The whole model.

use std::cell::RefCell;
use std::rc::Rc;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::compute::Compute;
use crate::model::config::{BertConfig, TaskHead};
use crate::model::embeddings::Embeddings;
use crate::model::encoder::Encoder;
use crate::model::forward_context::ForwardContext;
use crate::model::heads::{MaskedLmHead, PairHead, SequenceHead, SpanHead, TokenHead};
use crate::model::input::{Input, Mode};
use crate::model::layer_gradients::LayerGradients;
use crate::model::weights::Weights;
use crate::shim::{GradientReducer, Targets};

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
    Token(TokenHead),
}

impl Heads {
    fn new(config: &BertConfig, weights: &Weights, compute: Compute) -> Result<Self> {
        Ok(match config.task_head {
            None => Self::Pretraining {
                masked_lm: Box::new(MaskedLmHead::new(config, weights, compute)?),
                pair: if config.pair_head { Some(PairHead::new(weights)?) } else { None },
            },
            Some(TaskHead::Sequence { .. }) => Self::Sequence(SequenceHead::new(config, weights, compute)?),
            Some(TaskHead::Span) => Self::Span(SpanHead::new(weights)?),
            Some(TaskHead::Token { .. }) => Self::Token(TokenHead::new(config, weights, compute)?),
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
    /// A model that computes as `compute` says, a precision alone being enough, with the tensors of `weights`, shared as `map`.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn new(config: &BertConfig, map: &LayerMap, weights: &Weights, compute: impl Into<Compute>) -> Result<Self> {
        let compute = compute.into();
        Self::assemble(config, weights, Encoder::new(config, map, weights, compute)?, compute)
    }

    /// The same model, bit for bit, whose backward leaves the gradient of every layer apart.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn probed(
        config: &BertConfig,
        map: &LayerMap,
        weights: &Weights,
        compute: impl Into<Compute>,
    ) -> Result<(Self, LayerGradients)> {
        let compute = compute.into();
        let gradients = LayerGradients::new(map, weights)?;
        let encoder = Encoder::probed(config, map, weights, &gradients, compute)?;
        Ok((Self::assemble(config, weights, encoder, compute)?, gradients))
    }

    fn assemble(config: &BertConfig, weights: &Weights, encoder: Encoder, compute: Compute) -> Result<Self> {
        let embeddings = Embeddings::new(config, weights, compute)?;
        let heads = Heads::new(config, weights, compute)?;
        Ok(Self { embeddings, encoder, heads, kind: compute.kind, reducer: RefCell::default() })
    }

    /// Hidden states of the last layer, [B, T, C].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn encode(&self, input: Input<'_>, mode: Mode) -> Result<Tensor> {
        let reducer = self.reducer.borrow();
        let mut marked = Ok(());
        let last = self.walk(input, mode, |hidden, group| {
            if let (Some(reducer), Some(group), Ok(())) = (reducer.as_ref(), group, &marked) {
                marked = reducer.mark(hidden, group);
            }
        })?;
        marked.map(|()| last)
    }

    /// From now on the hidden states before the lowest layer of group g tell `reducer` place g, and those after the last layer the
    /// number of groups: when a backward gets there, the groups from g on have their gradients, for groups are numbered in the order
    /// of their lowest layers. `None`: no more.
    pub fn mark_for(&self, reducer: Option<Rc<GradientReducer>>) {
        *self.reducer.borrow_mut() = reducer;
    }

    /// Forwards execute the layers of `walk` from now on, which has the same groups; `None`: those of the model's own walk.
    pub fn execute(&self, walk: Option<&LayerMap>) {
        self.encoder.execute(walk);
    }

    /// Hidden states before the first layer and after every layer, as transformers' `output_hidden_states` gives
    /// them: `num_hidden_layers` + 1 tensors [B, T, C].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn hidden_states(&self, input: Input<'_>, mode: Mode) -> Result<Vec<Tensor>> {
        let mut states = Vec::new();
        self.walk(input, mode, |hidden, _| states.push(hidden.shallow_clone())).map(|_last| states)
    }

    fn walk(&self, input: Input<'_>, mode: Mode, visit: impl FnMut(&Tensor, Option<usize>)) -> Result<Tensor> {
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
    /// When the model has no such head, when it trains with dropout by fused kernels and there are no keys, and libtorch's own.
    pub fn sequence_logits(&self, hidden: &Tensor, mode: Mode, dropout_keys: Option<&Tensor>) -> Result<Tensor> {
        match &self.heads {
            Heads::Sequence(head) => head.forward(hidden, mode, dropout_keys),
            _ => Err(Error::failed("the model has no head for sequences")),
        }
    }

    /// Logits [B, T, L] of the tokens whose last hidden states are `hidden` [B, T, C], padding included. `dropout_keys` are those of
    /// [`Input`].
    ///
    /// # Errors
    /// When the model has no such head, when it trains with dropout by fused kernels and there are no keys, and libtorch's own.
    pub fn token_logits(&self, hidden: &Tensor, mode: Mode, dropout_keys: Option<&Tensor>) -> Result<Tensor> {
        match &self.heads {
            Heads::Token(head) => head.forward(hidden, mode, dropout_keys),
            _ => Err(Error::failed("the model has no head for tokens")),
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
