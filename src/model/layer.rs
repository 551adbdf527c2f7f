//! One encoder layer: attention and feed-forward, each with dropout, residual sum and LayerNorm.
//!
//! Post-LN (Devlin et al. 2018):  x ← LN(x + f(x)), twice.
//! Pre-LN (Megatron-LM, Shoeybi et al. 2019):  x ← x + f(LN(x)), twice; the encoder adds a last LayerNorm.

use tch::Tensor;

use crate::error::Result;
use crate::model::attention::SelfAttention;
use crate::model::config::{BertConfig, Norm};
use crate::model::linear::{LayerNorm, Linear};
use crate::model::weights::Weights;
use crate::model::Mode;

/// The weights of one group, as a function of hidden states.
#[derive(Debug)]
pub struct Layer {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    norm: Norm,
    dropout: f64,
}

impl Layer {
    /// The tensors below `prefix`, e.g. `bert.encoder.layer.0.`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, prefix: &str) -> Result<Self> {
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

    /// [B, T, C] → [B, T, C]; `bias` as in [`SelfAttention::forward`].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, hidden: &Tensor, bias: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
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
