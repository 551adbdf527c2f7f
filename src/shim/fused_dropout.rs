//! Dropout whose bits are a function of a sequence's key, on the CPU (csrc/kernels/dropout.h).

use std::ptr::null_mut;

use tch::{Device, Kind, Tensor};

use super::ffi::{check, untie_dropout_factors};
use super::fused::{expect, probability, scalar_type};
use crate::error::{Error, Result};

/// Dropout with `probability` for the sequences with these keys, int64 `[B]`; `site` is its number in the model.
#[derive(Clone, Copy, Debug)]
pub struct KeyedDropout<'a> {
    /// One a sequence.
    pub keys: &'a Tensor,
    /// Number of the dropout.
    pub site: u32,
    /// In [0, 1), rounded to a multiple of 2⁻¹⁶.
    pub probability: f64,
}

impl KeyedDropout<'_> {
    /// Refuses keys that are not int64 `[batch]`, and a probability outside of [0, 1).
    pub(super) fn check(&self, batch: i64, device: Device) -> Result<()> {
        expect("dropout keys", self.keys, (Kind::Int64, device), &[batch])?;
        probability(self.probability)
    }
}

/// Whether [`dropout_factors`] makes factors of `kind` for `device`.
pub fn dropout_fits(kind: Kind, device: Device) -> bool {
    device == Device::Cpu && matches!(kind, Kind::Float | Kind::Double)
}

/// What one vector of `width` features a sequence is multiplied by, [batch, width] in `kind` (float or double): 0 where it
/// is dropped, else 1/(1 − probability). No part of a graph.
///
/// # Errors
/// Keys of another shape or precision, a probability out of range, and libtorch's own.
pub fn dropout_factors(dropout: KeyedDropout<'_>, (batch, width): (i64, i64), kind: Kind) -> Result<Tensor> {
    if !dropout_fits(kind, Device::Cpu) || width < 1 {
        return Err(Error::failed(format!("no factors of dropout for {width} features in {kind:?}")));
    }
    dropout.check(batch, Device::Cpu)?;
    let mut out = null_mut();
    // SAFETY: the keys live through the call, and are checked above for what the kernel reads through a pointer.
    check(unsafe {
        untie_dropout_factors(
            dropout.keys.as_ptr(),
            dropout.site,
            dropout.probability,
            width,
            scalar_type(kind),
            &raw mut out,
        )
    })?;
    // SAFETY: on success `out` is a tensor that is ours.
    Ok(unsafe { Tensor::from_ptr(out) })
}
