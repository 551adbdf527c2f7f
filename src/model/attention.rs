//! Multi-head self-attention: softmax(q·kᵀ/√D)·v (Vaswani et al. 2017, eq. 1), through libtorch's
//! scaled_dot_product_attention (csrc/device/attention.cpp).

use tch::Tensor;

use crate::error::{Error, Result};
use crate::model::config::BertConfig;
use crate::model::linear::Linear;
use crate::model::weights::Weights;
use crate::model::Mode;
use crate::shim::attention;

/// Query, key and value in one product, attention, and the output projection.
#[derive(Debug)]
pub struct SelfAttention {
    qkv: Linear,
    output: Linear,
    num_heads: i64,
    dropout: f64,
}

impl SelfAttention {
    /// The attention tensors below `prefix`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, weights: &Weights, prefix: &str) -> Result<Self> {
        Ok(Self {
            qkv: Linear::new(weights, &format!("{prefix}attention.self.qkv"))?,
            output: Linear::new(weights, &format!("{prefix}attention.output.dense"))?,
            num_heads: config.num_attention_heads,
            dropout: config.attention_probs_dropout_prob,
        })
    }

    /// [B, T, C] → [B, T, C]; `bias` [B, 1, 1, T] is added to the scores (0 to see a token, −∞ to ignore it).
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(&self, hidden: &Tensor, bias: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let (batch, length, hidden_size) = hidden.size3()?;
        let heads =
            self.qkv.forward(hidden)?.f_view([batch, length, 3, self.num_heads, hidden_size / self.num_heads])?;
        // The backward of one `unbind` writes the gradient of all three once; that of three `get` adds up three whole ones.
        let [query, key, value]: [Tensor; 3] =
            heads.f_unbind(2)?.try_into().map_err(|_| Error::failed("expected query, key and value"))?; // [B, T, H, D]
        let by_head = |part: &Tensor| part.f_transpose(1, 2); // [B, H, T, D]
        let dropout = if mode == Mode::Train { self.dropout } else { 0.0 };
        let context = attention(&by_head(&query)?, &by_head(&key)?, &by_head(&value)?, bias, dropout)?;
        let context = context.f_transpose(1, 2)?.f_reshape([batch, length, hidden_size])?; // [B, T, C]
        self.output.forward(&context)
    }
}
