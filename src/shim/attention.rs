//! Attention by libtorch's kernels (csrc/device/attention.cpp).

use std::ptr::{null, null_mut};

use tch::Tensor;

use super::ffi::{check, untie_attention};
use crate::error::Result;

/// softmax(q·kᵀ/√D + bias)·v, [B, H, T, D], by the fastest of libtorch's kernels that drops weights with probability `dropout`
/// exactly: cuDNN's only where `dropout` is a multiple of 1/16.
///
/// # Errors
/// libtorch's own.
pub fn attention(query: &Tensor, key: &Tensor, value: &Tensor, bias: Option<&Tensor>, dropout: f64) -> Result<Tensor> {
    let mut out = null_mut();
    // SAFETY: live tensors, and a null pointer for no bias.
    check(unsafe {
        untie_attention(
            query.as_ptr(),
            key.as_ptr(),
            value.as_ptr(),
            bias.map_or(null(), Tensor::as_ptr),
            dropout,
            &raw mut out,
        )
    })?;
    // SAFETY: on success `out` is a tensor that is ours.
    Ok(unsafe { Tensor::from_ptr(out) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// libtorch's generator decides what is dropped: the same seed, the same values; a dropped weight is 0.
    #[test]
    fn it_is_libtorchs_attention_and_the_dropped_share_is_the_probability() {
        let [query, key] = [(); 2].map(|()| Tensor::zeros([2, 4, 64, 8], (Kind::Float, Device::Cpu)));
        let value = Tensor::eye(64, (Kind::Float, Device::Cpu)).expand([2, 4, 64, 64], false);
        tch::manual_seed(3);
        let out = attention(&query, &key, &value, None, 0.1).unwrap();
        tch::manual_seed(3);
        let theirs =
            Tensor::scaled_dot_product_attention(&query, &key, &value, None::<Tensor>, 0.1, false, None::<f64>, false);
        assert_eq!(out, theirs);
        // 32,768 weights: a standard deviation of the share is 0.0017.
        let dropped = out.eq(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        assert!((dropped - 0.1).abs() < 0.01, "{dropped}");
    }
}
