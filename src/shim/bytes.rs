//! What models on fused kernels hold, in bytes, counted by the code that allocates it (csrc/fused).

use tch::{Device, Kind, Tensor};

use super::ffi::{
    check, untie_embeddings_bytes, untie_head_bytes, untie_held_bytes, untie_largest_in_heap, untie_layer_bytes,
    FusedBytes,
};
use super::fused::{fits, scalar_type, LayerSizes};
use super::fused_embeddings::embeddings_fit;
use super::fused_head::head_fits;
use crate::error::Result;

/// Of a layer on `batch` sequences of `length`; `None` where there is no fused layer of these sizes that computes in `kind`.
pub fn layer_bytes(sizes: LayerSizes, batch: i64, length: i64, kind: Kind) -> Option<FusedBytes> {
    let LayerSizes { hidden_size, intermediate_size, heads, pre_norm, .. } = sizes;
    fits(sizes, kind, Device::Cpu).then(|| {
        // SAFETY: numbers, and a struct that lives through the call.
        filled(|bytes| unsafe {
            let kind = scalar_type(kind);
            check(untie_layer_bytes(kind, batch, length, hidden_size, intermediate_size, heads, pre_norm, bytes))
        })
    })
}

/// Of a head over `rows` hidden states with `targets` targets; `None` where there is no fused head of these sizes that computes in
/// `kind`.
pub fn head_bytes(rows: i64, targets: i64, hidden_size: i64, vocabulary: i64, kind: Kind) -> Option<FusedBytes> {
    head_fits(hidden_size, vocabulary, kind, Device::Cpu).then(|| {
        // SAFETY: numbers, and a struct that lives through the call.
        filled(|bytes| unsafe {
            check(untie_head_bytes(scalar_type(kind), rows, targets, hidden_size, vocabulary, bytes))
        })
    })
}

/// Of the embeddings of `rows` tokens, with a LayerNorm or without; `None` where there are no fused ones that compute in `kind`.
pub fn embeddings_bytes(rows: i64, hidden_size: i64, has_norm: bool, kind: Kind) -> Option<FusedBytes> {
    embeddings_fit(hidden_size, kind, Device::Cpu).then(|| {
        // SAFETY: numbers, and a struct that lives through the call.
        filled(|bytes| unsafe { check(untie_embeddings_bytes(scalar_type(kind), rows, hidden_size, has_norm, bytes)) })
    })
}

/// What the fused operation that made `out` has saved and packed, and the workspace and tasks' memory of this thread as they are
/// now. The rest is 0.
///
/// # Errors
/// A tensor without a fused operation behind it.
pub fn held_bytes(out: &Tensor) -> Result<FusedBytes> {
    let mut bytes = FusedBytes::default();
    // SAFETY: a live tensor, and a struct that lives through the call.
    check(unsafe { untie_held_bytes(out.as_ptr(), &raw mut bytes) })?;
    Ok(bytes)
}

/// The largest buffer that the heap keeps when it is freed; a larger one comes and goes with its pages.
pub fn largest_in_heap() -> i64 {
    // SAFETY: no arguments; it returns a constant.
    unsafe { untie_largest_in_heap() }
}

fn filled(fill: impl FnOnce(*mut FusedBytes) -> Result<()>) -> FusedBytes {
    let mut bytes = FusedBytes::default();
    fill(&raw mut bytes).expect("what fits has bytes");
    bytes
}
