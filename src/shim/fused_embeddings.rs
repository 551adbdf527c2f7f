//! The sum of embeddings with LayerNorm and dropout as one operation of autograd
//! (csrc/fused/embeddings.cpp, csrc/device/embeddings.cpp).

use std::ptr::{null, null_mut};

use tch::{Device, Kind, Tensor};

use super::ffi::{check, untie_embeddings, CEmbeddings};
use super::fused::{expect, scalar_type};
use super::fused_dropout::KeyedDropout;
use super::kernel_set::{multiplies, KernelSet};
use crate::error::{Error, Result};

/// The tables and LayerNorm, fp32 (fp64 to compute in `Kind::Double`) leaves.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingTables<'a> {
    /// [V, C].
    pub word: &'a Tensor,
    /// [P, C].
    pub position: &'a Tensor,
    /// [S, C].
    pub token_type: &'a Tensor,
    /// Weight and bias `[C]` and ε; `None`: no LayerNorm.
    pub norm: Option<(&'a Tensor, &'a Tensor, f64)>,
}

/// What is looked up; int64 [B, T] each.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingIds<'a> {
    /// Tokens.
    pub tokens: &'a Tensor,
    /// Places; `None`: 0..T.
    pub positions: Option<&'a Tensor>,
    /// Segments; `None`: all 0.
    pub types: Option<&'a Tensor>,
}

/// Whether there are fused embeddings of `hidden_size` in `kind` on `device`: of any size on the CPU, where bf16 needs no AVX-512; of
/// multiples of 8 on CUDA.
pub fn embeddings_fit(hidden_size: i64, kind: Kind, device: Device) -> bool {
    let set = KernelSet::of(device, kind);
    match set {
        KernelSet::Cpu => matches!(kind, Kind::BFloat16 | Kind::Float | Kind::Double),
        KernelSet::Cuda => multiplies(kind, device) && set.divides(hidden_size),
    }
}

/// The embeddings of `ids`, [B, T, C] in `kind`. The backward adds gradients to the tables' own in place.
///
/// # Errors
/// Tensors of other shapes or precisions, ids outside of the tables, and libtorch's own.
pub fn embeddings(
    tables: EmbeddingTables<'_>,
    ids: EmbeddingIds<'_>,
    dropout: Option<KeyedDropout<'_>>,
    kind: Kind,
) -> Result<Tensor> {
    let (device, (_, hidden_size)) = (tables.word.device(), tables.word.size2()?);
    if !embeddings_fit(hidden_size, kind, device) {
        return Err(Error::failed(format!("no fused embeddings of {hidden_size} in {kind:?} on {device:?}")));
    }
    let wide = (if kind == Kind::Double { Kind::Double } else { Kind::Float }, device);
    for (what, table) in [
        ("word embeddings", tables.word),
        ("position embeddings", tables.position),
        ("type embeddings", tables.token_type),
    ] {
        expect(what, table, wide, &[table.size2()?.0, hidden_size])?;
    }
    for part in tables.norm.iter().flat_map(|&(weight, bias, _)| [weight, bias]) {
        expect("an embedding's LayerNorm", part, wide, &[hidden_size])?;
    }
    let (batch, length) = ids.tokens.size2()?;
    for part in [Some(ids.tokens), ids.positions, ids.types].into_iter().flatten() {
        expect("ids", &part.contiguous(), (Kind::Int64, device), &[batch, length])?;
    }
    if let Some(dropout) = dropout {
        dropout.check(batch, device)?;
    }
    let pointer = |tensor: Option<&Tensor>| tensor.map_or(null(), Tensor::as_ptr);
    let of = CEmbeddings {
        word: tables.word.as_ptr(),
        position: tables.position.as_ptr(),
        token_type: tables.token_type.as_ptr(),
        weight: pointer(tables.norm.map(|(weight, _, _)| weight)),
        bias: pointer(tables.norm.map(|(_, bias, _)| bias)),
        word_ids: ids.tokens.as_ptr(),
        position_ids: pointer(ids.positions),
        type_ids: pointer(ids.types),
        keys: pointer(dropout.map(|dropout| dropout.keys)),
        epsilon: tables.norm.map_or(0.0, |(_, _, epsilon)| epsilon),
        dropout: dropout.map_or(0.0, |dropout| dropout.probability),
        site: dropout.map_or(0, |dropout| dropout.site),
    };
    let mut out = null_mut();
    // SAFETY: live tensors, checked above for what the kernels read through pointers; C++ checks the ids.
    check(unsafe {
        untie_embeddings(&raw const of, scalar_type(kind), KernelSet::of(device, kind) == KernelSet::Cuda, &raw mut out)
    })?;
    // SAFETY: on success `out` is a tensor that is ours.
    Ok(unsafe { Tensor::from_ptr(out) })
}
