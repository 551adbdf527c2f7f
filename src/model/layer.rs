//! One encoder layer: attention and feed-forward, each with dropout, residual sum and LayerNorm.
//!
//! Post-LN (Devlin et al. 2018):  x ← LN(x + f(x)), twice.
//! Pre-LN (Megatron-LM, Shoeybi et al. 2019):  x ← x + f(LN(x)), twice; the encoder adds a last LayerNorm.
//!
//! On the CPU a layer is one operation of our own kernels (csrc/fused); elsewhere, and where asked for, a composition of
//! libtorch's.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::attention::SelfAttention;
use crate::model::config::{BertConfig, Norm};
use crate::model::linear::{LayerNorm, Linear};
use crate::model::surroundings::Surroundings;
use crate::model::weights::{layer_specs, Weights};
use crate::shim::{fits, FusedLayer, LayerSizes};

/// How layers compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// A layer is one operation, where there are kernels for its device, precision and sizes.
    #[default]
    Fused,
    /// A layer is a composition of libtorch's operations.
    Plain,
}

static FUSES: AtomicBool = AtomicBool::new(true);

/// Decides for all models of this process that are made from now on. Without it: [`Kernels::Fused`].
pub fn use_kernels(kernels: Kernels) {
    FUSES.store(kernels == Kernels::Fused, Ordering::Relaxed);
}

/// Whether models that are made now use kernels of our own where they can.
pub(super) fn fuses() -> bool {
    FUSES.load(Ordering::Relaxed)
}

/// The weights of one group, as a function of hidden states.
#[derive(Debug)]
pub struct Layer {
    form: Form,
    attention_dropout: f64,
    dropout: f64,
}

#[derive(Debug)]
enum Form {
    Fused(FusedLayer),
    Composed(Box<Composed>),
}

/// A layer of libtorch's operations.
#[derive(Debug)]
struct Composed {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    norm: Norm,
    dropout: f64,
}

impl Layer {
    /// The tensors below `prefix`, e.g. `bert.encoder.layer.0.`, computing in `kind`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, prefix: &str, kind: Kind) -> Result<Self> {
        let parts: Vec<Tensor> = layer_specs(config)
            .iter()
            .map(|(suffix, _, _)| weights.tensor(&format!("{prefix}{suffix}")))
            .collect::<Result<_>>()?;
        let sizes = LayerSizes {
            width: config.hidden_size,
            breadth: config.intermediate_size,
            heads: config.num_attention_heads,
            pre_norm: config.norm == Norm::Pre,
            epsilon: config.layer_norm_eps,
        };
        let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        let is_fused = fuses() && parts.iter().all(|part| part.kind() == wide) && fits(sizes, kind, parts[0].device());
        let form = if is_fused {
            Form::Fused(FusedLayer::new(&parts, sizes, kind)?)
        } else {
            Form::Composed(Box::new(Composed::new(config, weights, prefix)?))
        };
        Ok(Self { form, attention_dropout: config.attention_probs_dropout_prob, dropout: config.hidden_dropout_prob })
    }

    /// Whether it is one operation of our own kernels.
    pub fn is_fused(&self) -> bool {
        matches!(self.form, Form::Fused(_))
    }

    /// [B, T, C] → [B, T, C], as layer number `layer` of a model.
    ///
    /// # Errors
    /// libtorch's own, and dropout without keys.
    pub fn forward(&self, hidden: &Tensor, layer: usize, surroundings: &Surroundings<'_>) -> Result<Tensor> {
        match &self.form {
            Form::Fused(fused) => {
                fused.forward(hidden, surroundings.pass(layer, self.attention_dropout, self.dropout)?)
            }
            Form::Composed(composed) => composed.forward(hidden, surroundings),
        }
    }
}

impl Composed {
    fn new(config: &BertConfig, weights: &Weights, prefix: &str) -> Result<Self> {
        let (attention_norm, output_norm) = match config.norm {
            Norm::Post => ("attention.output.LayerNorm", "output.LayerNorm"),
            Norm::Pre => ("attention.ln", "ln"),
        };
        Ok(Self {
            attention: SelfAttention::new(config, weights, prefix)?,
            attention_norm: LayerNorm::new(weights, &format!("{prefix}{attention_norm}"), config.layer_norm_eps)?,
            intermediate: Linear::new(weights, &format!("{prefix}intermediate.dense"))?,
            output: Linear::new(weights, &format!("{prefix}output.dense"))?,
            output_norm: LayerNorm::new(weights, &format!("{prefix}{output_norm}"), config.layer_norm_eps)?,
            norm: config.norm,
            dropout: config.hidden_dropout_prob,
        })
    }

    fn forward(&self, hidden: &Tensor, surroundings: &Surroundings<'_>) -> Result<Tensor> {
        let (bias, mode) = (surroundings.bias.as_ref(), surroundings.mode());
        match self.norm {
            Norm::Post => {
                let attended = mode.dropout(&self.attention.forward(hidden, bias, mode)?, self.dropout)?;
                let hidden = self.attention_norm.forward(&hidden.f_add(&attended)?)?;
                let fed = mode.dropout(&self.feed_forward(&hidden)?, self.dropout)?;
                self.output_norm.forward(&hidden.f_add(&fed)?)
            }
            Norm::Pre => {
                let normed = self.attention_norm.forward(hidden)?;
                let attended = mode.dropout(&self.attention.forward(&normed, bias, mode)?, self.dropout)?;
                let hidden = hidden.f_add(&attended)?;
                let normed = self.output_norm.forward(&hidden)?;
                let fed = mode.dropout(&self.feed_forward(&normed)?, self.dropout)?;
                Ok(hidden.f_add(&fed)?)
            }
        }
    }

    /// gelu(x·W₁ᵀ + b₁)·W₂ᵀ + b₂ with the exact GELU.
    fn feed_forward(&self, hidden: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.intermediate.forward(hidden)?.f_gelu("none")?)
    }
}
