//! One encoder layer: attention and feed-forward, each with dropout, residual sum and LayerNorm.
//!
//! Post-LN (Devlin et al. 2018):  x ← LN(x + f(x)), twice.
//! Pre-LN (Megatron-LM, Shoeybi et al. 2019):  x ← x + f(LN(x)), twice; the encoder adds a last LayerNorm.
//!
//! On the CPU (csrc/fused), and on CUDA in bf16 and fp16 (csrc/device), a layer is one operation with kernels of our own; elsewhere, and
//! where asked for, a composition of libtorch's. With activation checkpointing (Chen et al. 2016) a layer keeps its input only and runs its forward again in the
//! backward: the same bits, for a third more products.

use tch::Tensor;

use crate::error::Result;
use crate::model::attention::SelfAttention;
use crate::model::compute::{layer_sizes, Compute};
use crate::model::config::{BertConfig, Norm};
use crate::model::forward_context::ForwardContext;
use crate::model::linear::{LayerNorm, Linear};
use crate::model::weights::{layer_specs, Spec, Weight, Weights};
use crate::model::Mode;
use crate::shim::{recompute, FusedLayer, LayerContext};

/// The weights of one group, as a function of hidden states.
#[derive(Debug)]
pub struct Layer {
    form: Form,
    /// One of its weights, which all train or none.
    leaf: Tensor,
    recompute: bool,
    attention_dropout: f64,
    dropout: f64,
}

#[derive(Debug)]
enum Form {
    Fused(FusedLayer),
    Composed(Box<Composed>),
    Recomputed(Recomputed),
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

/// A layer of libtorch's operations that keeps its input only.
#[derive(Debug)]
struct Recomputed {
    config: BertConfig,
    prefix: String,
    /// In the order of [`layer_specs`].
    parts: Vec<Tensor>,
}

impl Recomputed {
    fn forward(&self, hidden: &Tensor, bias: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let inputs: Vec<Tensor> = std::iter::once(hidden).chain(&self.parts).map(Tensor::shallow_clone).collect();
        let (config, prefix) = (self.config.clone(), self.prefix.clone());
        let bias = bias.map(Tensor::shallow_clone);
        recompute(&inputs, move |inputs| {
            let specs = layer_specs(&config).into_iter().zip(&inputs[1..]);
            let entries = specs.map(|((suffix, shape, init), tensor)| Weight {
                spec: Spec { name: format!("{prefix}{suffix}"), shape, init, group: None },
                tensor: tensor.shallow_clone(),
                members: 1,
            });
            let weights = Weights::new(entries.collect());
            Composed::new(&config, &weights, &prefix)?.forward(&inputs[0], bias.as_ref(), mode)
        })
    }
}

impl Layer {
    /// The tensors below `prefix`, e.g. `bert.encoder.layer.0.`, computing as `compute` says.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, prefix: &str, compute: Compute) -> Result<Self> {
        let parts: Vec<Tensor> = layer_specs(config)
            .iter()
            .map(|(suffix, _, _)| weights.tensor(&format!("{prefix}{suffix}")))
            .collect::<Result<_>>()?;
        let wide = compute.weight_kind();
        let is_fused = parts.iter().all(|part| part.kind() == wide) && compute.fuses_layers(config, parts[0].device());
        let leaf = parts[0].shallow_clone();
        let form = match (is_fused, compute.recompute) {
            (true, _) => Form::Fused(FusedLayer::new(&parts, layer_sizes(config), compute.kind)?),
            (false, false) => Form::Composed(Box::new(Composed::new(config, weights, prefix)?)),
            (false, true) => Form::Recomputed(Recomputed { config: config.clone(), prefix: prefix.into(), parts }),
        };
        Ok(Self {
            form,
            leaf,
            recompute: compute.recompute,
            attention_dropout: config.attention_probs_dropout_prob,
            dropout: config.hidden_dropout_prob,
        })
    }

    /// Whether it is one operation of our own kernels.
    pub fn is_fused(&self) -> bool {
        matches!(self.form, Form::Fused(_))
    }

    /// [B, T, C] → [B, T, C], as layer number `layer` of a model.
    ///
    /// # Errors
    /// libtorch's own, and dropout without keys.
    pub fn forward(&self, hidden: &Tensor, layer: usize, context: &ForwardContext<'_>) -> Result<Tensor> {
        match &self.form {
            Form::Fused(fused) => {
                let of_layer = context.layer(layer, self.attention_dropout, self.dropout)?;
                // Its node hangs on its input alone, below which everything may be frozen.
                let is_first = context.mode() == Mode::Train && self.leaf.requires_grad() && !hidden.requires_grad();
                let entry = if is_first { Some(hidden.detach().f_set_requires_grad(true)?) } else { None };
                fused.forward(entry.as_ref().unwrap_or(hidden), LayerContext { recompute: self.recompute, ..of_layer })
            }
            Form::Composed(composed) => composed.forward(hidden, context.bias.as_ref(), context.mode()),
            Form::Recomputed(layer) => layer.forward(hidden, context.bias.as_ref(), context.mode()),
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

    fn forward(&self, hidden: &Tensor, bias: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
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
