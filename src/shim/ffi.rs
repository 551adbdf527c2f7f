//! The C declarations of csrc/shim.h, and the way a message becomes an error.

use std::ffi::{c_char, c_void, CStr};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::error::{libtorch, Result};

/// `UntiePass`.
#[repr(C)]
pub(super) struct CPass {
    pub(super) visible: *const C_tensor,
    pub(super) documents: *const C_tensor,
    pub(super) keys: *const C_tensor,
    pub(super) site: u32,
    pub(super) attention_dropout: f64,
    pub(super) hidden_dropout: f64,
}

extern "C" {
    pub(super) fn untie_free_message(message: *mut c_char);
    pub(super) fn untie_fused_adamw(
        count: usize,
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        exp_avgs: *const *const C_tensor,
        exp_avg_sqs: *const *const C_tensor,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        step: u64,
    ) -> *mut c_char;
    pub(super) fn untie_norms(count: usize, tensors: *const *const C_tensor, norms: *mut f64) -> *mut c_char;
    pub(super) fn untie_scale(count: usize, tensors: *const *const C_tensor, factors: *const f64) -> *mut c_char;
    pub(super) fn untie_device_norms(
        count: usize,
        tensors: *const *const C_tensor,
        norms: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_device_adamw(
        count: usize,
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        exp_avgs: *const *const C_tensor,
        exp_avg_sqs: *const *const C_tensor,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        step: *const C_tensor,
        divisor: *const C_tensor,
        found_inf: *const C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_retain_grad(tensor: *const C_tensor) -> *mut c_char;
    pub(super) fn untie_has_avx512() -> bool;
    pub(super) fn untie_set_kernel_level(name: *const c_char) -> *mut c_char;
    pub(super) fn untie_layer_new(
        parts: *const *const C_tensor,
        kind: i32,
        heads: i64,
        pre_norm: bool,
        epsilon: f64,
        layer: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn untie_layer_free(layer: *mut c_void);
    pub(super) fn untie_layer_forward(
        layer: *const c_void,
        x: *const C_tensor,
        pass: *const CPass,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_dropout(
        x: *const C_tensor,
        keys: *const C_tensor,
        site: u32,
        probability: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_uniform(tensor: *const C_tensor, seed: u64) -> *mut c_char;
    pub(super) fn untie_profile_start() -> *mut c_char;
    pub(super) fn untie_profile_stop(table: *mut *mut c_char) -> *mut c_char;
    pub(super) fn untie_set_deterministic(enabled: bool) -> *mut c_char;
    pub(super) fn untie_set_tf32(enabled: bool) -> *mut c_char;
    pub(super) fn untie_cpu_capability(text: *mut c_char, capacity: usize) -> *mut c_char;
    pub(super) fn untie_libtorch_version(text: *mut c_char, capacity: usize) -> *mut c_char;
}

/// Turns what a shim function returned into a result and frees the message.
pub(super) fn check(message: *mut c_char) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null return is a NUL-terminated string that csrc/errors.cpp allocated and handed over to us.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        untie_free_message(message);
        text
    };
    Err(libtorch(&text))
}

/// The pointers of `tensors`, valid while they live.
pub(super) fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(Tensor::as_ptr).collect()
}
