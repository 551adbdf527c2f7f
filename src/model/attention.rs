//! Multi-head self-attention: softmax(q·kᵀ/√D)·v (Vaswani et al. 2017, eq. 1), through libtorch's
//! scaled_dot_product_attention.

use tch::Tensor;

use crate::error::Result;
use crate::model::config::BertConfig;
use crate::model::linear::Linear;
use crate::model::weights::Weights;
use crate::model::Mode;

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
        let heads = heads.f_permute([2, 0, 3, 1, 4])?; // [3, B, H, T, D]
        let (query, key, value) = (heads.f_get(0)?, heads.f_get(1)?, heads.f_get(2)?); // [B, H, T, D]
        let dropout = if mode == Mode::Train { self.dropout } else { 0.0 };
        let context =
            Tensor::f_scaled_dot_product_attention(&query, &key, &value, bias, dropout, false, None::<f64>, false)?;
        let context = context.f_transpose(1, 2)?.f_reshape([batch, length, hidden_size])?; // [B, T, C]
        self.output.forward(&context)
    }
}
