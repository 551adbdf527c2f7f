//! One encoder layer: attention and feed-forward, each with dropout, residual sum and LayerNorm.
//!
//! Post-LN (Devlin et al. 2018):  x ← LN(x + f(x)), twice.
//! Pre-LN (Megatron-LM, Shoeybi et al. 2019):  x ← x + f(LN(x)), twice; the encoder adds a last LayerNorm.
//!
//! On the CPU a layer is one operation of our own kernels (csrc/fused); elsewhere, and where asked for, a composition of
//! libtorch's. With activation checkpointing (Chen et al. 2016) a layer keeps its input only and runs its forward again in the
//! backward: the same bits, for a third more products.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::model::attention::SelfAttention;
use crate::model::config::{BertConfig, Norm};
use crate::model::forward_context::ForwardContext;
use crate::model::linear::{LayerNorm, Linear};
use crate::model::weights::{layer_specs, Spec, Weight, Weights};
use crate::model::Mode;
use crate::shim::{fits, kernel_level, multiplies, recompute, FusedLayer, LayerContext, LayerSizes};

/// How layers compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// `Fused` where this project has kernels for the device and the precision, else `Plain`.
    #[default]
    Auto,
    /// A layer is one operation, where there are kernels for its device, precision and sizes.
    Fused,
    /// A layer is a composition of libtorch's operations.
    Plain,
}

impl Kernels {
    /// Decides `Auto` for models that compute in `kind` on `device`.
    ///
    /// A fused step was at least as fast as a composed one wherever both were measured (docs/performance.md), so that
    /// what exists is taken.
    pub fn resolve(self, kind: Kind, device: Device) -> Self {
        match self {
            Self::Auto if multiplies(kind, device) => Self::Fused,
            Self::Auto => Self::Plain,
            decided => decided,
        }
    }

    /// What layers of `config` compute with, and why, for a person. `self` is resolved.
    pub fn describe(self, config: &BertConfig, kind: Kind, device: Device) -> String {
        let why = match self {
            Self::Plain if multiplies(kind, device) => "as `train.kernels` says",
            _ if fits(layer_sizes(config), kind, device) => return format!("fused layers, level {}", kernel_level()),
            _ if device != Device::Cpu => "fused layers exist for the CPU only",
            _ if kind == Kind::BFloat16 => "fused layers in bf16 need a CPU with AVX-512",
            _ => "fused layers need an even intermediate size and an even head size",
        };
        format!("libtorch's operations: {why}")
    }
}

static FUSES: AtomicBool = AtomicBool::new(true);

/// Decides for all models of this process that are made from now on. Without it: [`Kernels::Auto`].
pub fn use_kernels(kernels: Kernels) {
    FUSES.store(kernels != Kernels::Plain, Ordering::Relaxed);
}

/// Whether models that are made now use kernels of our own where they can.
pub(super) fn fuses() -> bool {
    FUSES.load(Ordering::Relaxed)
}

static RECOMPUTES: AtomicBool = AtomicBool::new(false);

/// Decides for all models of this process that are made from now on whether layers keep their inputs only. Without it: no.
pub fn use_activation_checkpointing(enabled: bool) {
    RECOMPUTES.store(enabled, Ordering::Relaxed);
}

/// Whether a layer of these sizes that computes in `kind` on `device` is one operation of our own kernels.
pub fn is_fused(config: &BertConfig, kind: Kind, device: Device) -> bool {
    fuses() && fits(layer_sizes(config), kind, device)
}

fn layer_sizes(config: &BertConfig) -> LayerSizes {
    LayerSizes {
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        heads: config.num_attention_heads,
        pre_norm: config.norm == Norm::Pre,
        epsilon: config.layer_norm_eps,
    }
}

/// The weights of one group, as a function of hidden states.
#[derive(Debug)]
pub struct Layer {
    form: Form,
    recomputes: bool,
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
    /// The tensors below `prefix`, e.g. `bert.encoder.layer.0.`, computing in `kind`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, prefix: &str, kind: Kind) -> Result<Self> {
        let parts: Vec<Tensor> = layer_specs(config)
            .iter()
            .map(|(suffix, _, _)| weights.tensor(&format!("{prefix}{suffix}")))
            .collect::<Result<_>>()?;
        let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        let is_fused = parts.iter().all(|part| part.kind() == wide) && is_fused(config, kind, parts[0].device());
        let recomputes = RECOMPUTES.load(Ordering::Relaxed);
        let form = match (is_fused, recomputes) {
            (true, _) => Form::Fused(FusedLayer::new(&parts, layer_sizes(config), kind)?),
            (false, false) => Form::Composed(Box::new(Composed::new(config, weights, prefix)?)),
            (false, true) => Form::Recomputed(Recomputed { config: config.clone(), prefix: prefix.into(), parts }),
        };
        Ok(Self {
            form,
            recomputes,
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
                fused.forward(hidden, LayerContext { recompute: self.recomputes, ..of_layer })
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
