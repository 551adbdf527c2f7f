//! An encoder layer as one operation of autograd (csrc/fused/layer.h, csrc/device/layer.cpp), and which of the CPU's kernels run.

use std::ffi::{c_void, CStr, CString};
use std::ptr::{null, null_mut, NonNull};

use tch::{Device, Kind, Tensor};

use super::ffi::{
    check, pointers, untie_kernel_level, untie_layer_forward, untie_layer_free, untie_layer_new,
    untie_set_kernel_level, CLayerContext,
};
use super::kernel_set::{multiplies, KernelSet};
use crate::error::{Error, Result};

/// Number of tensors of a layer.
const NUM_PARTS: usize = 12;

/// Sizes that the fused layer is made for.
#[derive(Clone, Copy, Debug)]
pub struct LayerSizes {
    /// Hidden size, C.
    pub hidden_size: i64,
    /// Size of the feed-forward layer.
    pub intermediate_size: i64,
    /// Attention heads; they divide C.
    pub heads: i64,
    /// Whether the LayerNorms come before attention and feed-forward.
    pub pre_norm: bool,
    /// ε of the LayerNorms.
    pub epsilon: f64,
}

/// What one forward of a layer depends on beside its input.
#[derive(Clone, Copy, Debug)]
pub struct LayerContext<'a> {
    /// On the CPU, int32 [B, T]: 0 for padding, which no token sees.
    pub visible: Option<&'a Tensor>,
    /// On the CPU, int32 [B, T]: tokens see those of their own document.
    pub documents: Option<&'a Tensor>,
    /// On CUDA: added to the scores, [B, 1, 1, T] or [B, 1, T, T] in the layer's precision.
    pub bias: Option<&'a Tensor>,
    /// int64 `[B]`: the sequences' keys for dropout; `None`: no dropout.
    pub keys: Option<&'a Tensor>,
    /// Number of the layer's first dropout; it uses three.
    pub site: u32,
    /// Probability for attention's weights.
    pub attention_dropout: f64,
    /// Probability for the outputs of attention and feed-forward.
    pub hidden_dropout: f64,
    /// Whether the backward runs the forward again, so that only `x` is kept; the same bits, a third more work.
    pub recompute: bool,
}

/// Whether there are fused layers of these sizes that compute in `kind` on `device`: heads must divide the hidden size; the
/// feed-forward layer's and a head's size are multiples of 2 on the CPU and of 8 on CUDA.
pub fn fits(sizes: LayerSizes, kind: Kind, device: Device) -> bool {
    let LayerSizes { hidden_size, intermediate_size, heads, .. } = sizes;
    let set = KernelSet::of(device, kind);
    multiplies(kind, device)
        && heads > 0
        && hidden_size % heads == 0
        && set.divides(hidden_size / heads)
        && set.divides(intermediate_size)
}

/// Makes the kernels run at `level`: `DEFAULT` (SSE2), `AVX2`, `AVX512` or `AVX512BF16`. Without this it is the best that the
/// CPU has and that libtorch's own level allows.
///
/// # Errors
/// A level that this CPU lacks.
pub fn set_kernel_level(level: &str) -> Result<()> {
    let name = CString::new(level).map_err(|_| Error::failed("a level has no zero byte"))?;
    // SAFETY: a terminated string that lives through the call.
    check(unsafe { untie_set_kernel_level(name.as_ptr()) })
}

/// The level at which the kernels run.
pub fn kernel_level() -> String {
    let mut name = null();
    // SAFETY: on success `name` is a terminated string that lives as long as the program.
    unsafe {
        check(untie_kernel_level(&raw mut name)).expect("libtorch tells its level");
        CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

/// One encoder layer over a set of weights. Its backward adds the weights' gradients to those of the leaves in place; where
/// a tensor is an alias of a leaf, also to the alias's own.
#[derive(Debug)]
pub struct FusedLayer {
    handle: NonNull<c_void>,
    sizes: LayerSizes,
    kind: Kind,
    device: Device,
}

impl FusedLayer {
    /// A layer that computes in `kind` with `parts`, in the order of
    /// [`layer_specs`](crate::model::weights::layer_specs): fp32 (fp64 for `Kind::Double`) leaves, or aliases of them.
    ///
    /// # Errors
    /// Tensors of other shapes or precisions, and sizes that do not fit.
    pub fn new(parts: &[Tensor], sizes: LayerSizes, kind: Kind) -> Result<Self> {
        let LayerSizes { hidden_size, intermediate_size, .. } = sizes;
        let shapes = [
            vec![3 * hidden_size, hidden_size],
            vec![3 * hidden_size],
            vec![hidden_size, hidden_size],
            vec![hidden_size],
            vec![hidden_size],
            vec![hidden_size],
            vec![intermediate_size, hidden_size],
            vec![intermediate_size],
            vec![hidden_size, intermediate_size],
            vec![hidden_size],
            vec![hidden_size],
            vec![hidden_size],
        ];
        let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        let device = parts.first().map_or(Device::Cpu, Tensor::device);
        if parts.len() != NUM_PARTS || !fits(sizes, kind, device) {
            return Err(Error::failed(format!("no fused layer of {} tensors, {sizes:?}, {kind:?}", parts.len())));
        }
        for (part, shape) in parts.iter().zip(&shapes) {
            expect("a layer's weight", part, (wide, device), shape)?;
        }
        let list = pointers(parts);
        let code = scalar_type(kind);
        let mut handle = null_mut();
        // SAFETY: twelve live tensors of the shapes and precision that the layer reads; C++ keeps references of its own.
        check(unsafe {
            untie_layer_new(
                list.as_ptr(),
                code,
                KernelSet::of(device, kind) == KernelSet::Cuda,
                sizes.heads,
                sizes.pre_norm,
                sizes.epsilon,
                &raw mut handle,
            )
        })?;
        let handle = NonNull::new(handle).ok_or_else(|| Error::failed("no layer was made"))?;
        Ok(Self { handle, sizes, kind, device })
    }

    /// [B, T, C] → [B, T, C].
    ///
    /// # Errors
    /// An input of another shape or precision, and libtorch's own.
    pub fn forward(&self, x: &Tensor, context: LayerContext<'_>) -> Result<Tensor> {
        let (batch, length, _) = x.size3()?;
        expect("a layer's input", x, (self.kind, self.device), &[batch, length, self.sizes.hidden_size])?;
        for limit in [context.visible, context.documents].into_iter().flatten() {
            expect("a mask", limit, (Kind::Int, self.device), &[batch, length])?;
        }
        if let Some(keys) = context.keys {
            expect("dropout keys", keys, (Kind::Int64, self.device), &[batch])?;
        }
        probability(context.attention_dropout)?;
        probability(context.hidden_dropout)?;
        let pointer = |tensor: Option<&Tensor>| tensor.map_or(null(), Tensor::as_ptr);
        let context = CLayerContext {
            visible: pointer(context.visible),
            documents: pointer(context.documents),
            bias: pointer(context.bias),
            keys: pointer(context.keys),
            site: context.site,
            attention_dropout: context.attention_dropout,
            hidden_dropout: context.hidden_dropout,
            recompute: context.recompute,
        };
        let mut out = null_mut();
        // SAFETY: the handle is alive, and so are the tensors, checked above for what the kernels read through pointers.
        check(unsafe { untie_layer_forward(self.handle.as_ptr(), x.as_ptr(), &raw const context, &raw mut out) })?;
        // SAFETY: on success `out` is a tensor that is ours.
        Ok(unsafe { Tensor::from_ptr(out) })
    }
}

impl Drop for FusedLayer {
    fn drop(&mut self) {
        // SAFETY: the handle came from untie_layer_new and is freed once; nodes of autograd hold the layer by themselves.
        unsafe { untie_layer_free(self.handle.as_ptr()) }
    }
}

/// c10::ScalarType's number of the kinds that there are layers for.
pub(super) fn scalar_type(kind: Kind) -> i32 {
    match kind {
        Kind::BFloat16 => 15,
        Kind::Half => 5,
        Kind::Double => 7,
        _ => 6,
    }
}

pub(super) fn probability(value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        Err(Error::failed(format!("expected a dropout probability in [0, 1), got {value}")))
    }
}

pub(super) fn expect(what: &str, tensor: &Tensor, (kind, device): (Kind, Device), shape: &[i64]) -> Result<()> {
    let is_right = tensor.defined()
        && tensor.device() == device
        && tensor.kind() == kind
        && tensor.size() == shape
        && tensor.is_contiguous();
    if is_right {
        return Ok(());
    }
    Err(Error::failed(format!("{what}: expected {kind:?} {shape:?} on {device:?}, got {tensor:?}")))
}
