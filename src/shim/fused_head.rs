//! The masked-language-model head with its loss as one operation of autograd (csrc/fused/head.h,
//! csrc/device/head.cpp).

use std::ffi::c_void;
use std::ptr::{null_mut, NonNull};

use tch::{Device, Kind, Tensor};

use super::ffi::{check, pointers, untie_head_free, untie_head_loss, untie_head_new};
use super::fused::{expect, scalar_type};
use super::kernel_set::{multiplies, KernelSet};
use crate::error::{Error, Result};

/// Number of tensors of a head.
const NUM_PARTS: usize = 6;

/// Which tokens of a batch are targets; N slots.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Indices into the B·T tokens, int64 `[N]`.
    pub positions: &'a Tensor,
    /// Original tokens, int64 `[N]`.
    pub labels: &'a Tensor,
    /// 1 for a target and 0 for an unused slot, float32 `[N]`.
    pub weights: &'a Tensor,
    /// What the sum of losses is divided by.
    pub total: f64,
}

/// Whether there is a fused head for hidden states of `hidden_size` and a vocabulary of `vocabulary` that computes in `kind` on
/// `device`: both sizes are multiples of 2 on the CPU and of 8 on CUDA.
pub fn head_fits(hidden_size: i64, vocabulary: i64, kind: Kind, device: Device) -> bool {
    let set = KernelSet::of(device, kind);
    multiplies(kind, device) && set.divides(hidden_size) && set.divides(vocabulary)
}

/// A head over a set of weights. Its backward adds the weights' gradients to those of the leaves in place.
#[derive(Debug)]
pub struct FusedHead {
    handle: NonNull<c_void>,
    hidden_size: i64,
    kind: Kind,
    device: Device,
}

impl FusedHead {
    /// A head that computes in `kind` with `parts`, fp32 (fp64 for `Kind::Double`) leaves: the dense layer's weight [C, C] and
    /// bias, LayerNorm's weight and bias, the word embeddings [V, C], the logits' bias `[V]`.
    ///
    /// # Errors
    /// Tensors of other shapes or precisions, and sizes that do not fit.
    pub fn new(parts: &[Tensor; NUM_PARTS], kind: Kind, epsilon: f64) -> Result<Self> {
        let (vocabulary, hidden_size) = parts[4].size2()?;
        let device = parts[0].device();
        if !head_fits(hidden_size, vocabulary, kind, device) {
            return Err(Error::failed(format!("no fused head of {vocabulary} x {hidden_size} in {kind:?}")));
        }
        let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        let shapes: [&[i64]; NUM_PARTS] = [
            &[hidden_size, hidden_size],
            &[hidden_size],
            &[hidden_size],
            &[hidden_size],
            &[vocabulary, hidden_size],
            &[vocabulary],
        ];
        for (part, shape) in parts.iter().zip(shapes) {
            expect("a head's weight", part, (wide, device), shape)?;
        }
        let list = pointers(parts);
        let mut handle = null_mut();
        // SAFETY: six live tensors of the shapes and precision that the head reads; C++ keeps references of its own.
        check(unsafe {
            untie_head_new(
                list.as_ptr(),
                scalar_type(kind),
                KernelSet::of(device, kind) == KernelSet::Cuda,
                epsilon,
                &raw mut handle,
            )
        })?;
        let handle = NonNull::new(handle).ok_or_else(|| Error::failed("no head was made"))?;
        Ok(Self { handle, hidden_size, kind, device })
    }

    /// The cross-entropy of the targets' labels, Σ weight·loss / total, with a graph, and Σ weight over the targets whose label
    /// has the highest logit; fp64 scalars. `hidden` is [B, T, C].
    ///
    /// # Errors
    /// Tensors of other shapes or precisions, a position or label out of range, and libtorch's own.
    pub fn loss(&self, hidden: &Tensor, targets: Targets<'_>) -> Result<[Tensor; 2]> {
        let (batch, length, _) = hidden.size3()?;
        expect("a head's input", hidden, (self.kind, self.device), &[batch, length, self.hidden_size])?;
        let slots = targets.positions.numel() as i64;
        expect("positions", targets.positions, (Kind::Int64, self.device), &[slots])?;
        expect("labels", targets.labels, (Kind::Int64, self.device), &[slots])?;
        expect("weights", targets.weights, (Kind::Float, self.device), &[slots])?;
        let (mut loss, mut num_correct) = (null_mut(), null_mut());
        // SAFETY: the handle is alive, and so are the tensors, checked above for what the kernels read through pointers.
        check(unsafe {
            untie_head_loss(
                self.handle.as_ptr(),
                hidden.as_ptr(),
                targets.positions.as_ptr(),
                targets.labels.as_ptr(),
                targets.weights.as_ptr(),
                targets.total,
                &raw mut loss,
                &raw mut num_correct,
            )
        })?;
        // SAFETY: on success both are tensors that are ours.
        Ok(unsafe { [Tensor::from_ptr(loss), Tensor::from_ptr(num_correct)] })
    }
}

impl Drop for FusedHead {
    fn drop(&mut self) {
        // SAFETY: the handle came from untie_head_new and is freed once; nodes of autograd hold the head by themselves.
        unsafe { untie_head_free(self.handle.as_ptr()) }
    }
}
