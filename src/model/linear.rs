//! The two modules that everything else is made of: an affine map and LayerNorm.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::weights::Weights;

/// y = x·Wᵀ + b in the precision of x.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// The tensors `{name}.weight` `[out, in]` and `{name}.bias` `[out]`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(weights: &Weights, name: &str) -> Result<Self> {
        Ok(Self { weight: weights.tensor(&format!("{name}.weight"))?, bias: weights.tensor(&format!("{name}.bias"))? })
    }

    /// [.., in] → [.., out].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let kind = input.kind();
        Ok(input.f_linear(&self.weight.f_to_kind(kind)?, Some(&self.bias.f_to_kind(kind)?))?)
    }
}

/// LayerNorm over the last dimension, y = (x − mean)/√(var + ε)·w + b, with statistics in fp32 at least.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// The tensors `{name}.weight` `[C]` and `{name}.bias` `[C]`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(weights: &Weights, name: &str, epsilon: f64) -> Result<Self> {
        Ok(Self {
            weight: weights.tensor(&format!("{name}.weight"))?,
            bias: weights.tensor(&format!("{name}.bias"))?,
            epsilon,
        })
    }

    /// Weight, bias and ε.
    pub(super) fn parts(&self) -> (&Tensor, &Tensor, f64) {
        (&self.weight, &self.bias, self.epsilon)
    }

    /// [.., C] → [.., C], in the precision of the input.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let size = self.weight.size();
        let wide = input.f_to_kind(statistics_kind(input.kind()))?;
        let output = wide.f_layer_norm(&size, Some(&self.weight), Some(&self.bias), self.epsilon, true)?;
        Ok(output.f_to_kind(input.kind())?)
    }
}

/// The precision of statistics, softmax and loss for activations of `kind`.
pub fn statistics_kind(kind: Kind) -> Kind {
    match kind {
        Kind::Half | Kind::BFloat16 => Kind::Float,
        other => other,
    }
}
