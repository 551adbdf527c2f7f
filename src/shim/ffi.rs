//! The C declarations of csrc/shim.h, and the way a message becomes an error.

use std::ffi::{c_char, c_void, CStr};
use std::mem::{offset_of, size_of};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::error::{libtorch, Result};

/// `UntieBytes`: what a part of a model holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FusedBytes {
    /// By a forward for its backward, its input included.
    pub saved: i64,
    /// By a thread that runs backwards, from the first on.
    pub workspace: i64,
    /// The most that comes and goes in a backward beside these.
    pub passing: i64,
    /// Copies of the weights for the forward and the backward.
    pub packed: i64,
    /// By each thread, for its tasks.
    pub per_thread: i64,
    /// The largest buffer that comes and goes.
    pub largest: i64,
}

/// `UntieLayerContext`.
#[repr(C)]
pub(super) struct CLayerContext {
    pub(super) visible: *const C_tensor,
    pub(super) documents: *const C_tensor,
    pub(super) bias: *const C_tensor,
    pub(super) keys: *const C_tensor,
    pub(super) site: u32,
    pub(super) attention_dropout: f64,
    pub(super) hidden_dropout: f64,
    pub(super) recompute: bool,
}

/// `UntieAdamW`.
#[repr(C)]
pub(super) struct CAdamW {
    pub(super) parameter: *const C_tensor,
    pub(super) gradient: *const C_tensor,
    pub(super) exp_avg: *const C_tensor,
    pub(super) exp_avg_sq: *const C_tensor,
    pub(super) gradient_scale: f64,
    pub(super) weight_decay: f64,
}

/// `UntieEmbeddings`.
#[repr(C)]
pub(super) struct CEmbeddings {
    pub(super) word: *const C_tensor,
    pub(super) position: *const C_tensor,
    pub(super) token_type: *const C_tensor,
    pub(super) weight: *const C_tensor,
    pub(super) bias: *const C_tensor,
    pub(super) word_ids: *const C_tensor,
    pub(super) position_ids: *const C_tensor,
    pub(super) type_ids: *const C_tensor,
    pub(super) keys: *const C_tensor,
    pub(super) epsilon: f64,
    pub(super) dropout: f64,
    pub(super) site: u32,
}

/// csrc/shim.h says the same of its structs.
const _: () = {
    macro_rules! lies_at {
        ($type:ident, $size:literal: $($field:ident $offset:literal),+) => {
            assert!(size_of::<$type>() == $size);
            $(assert!(offset_of!($type, $field) == $offset);)+
        };
    }
    lies_at!(CAdamW, 48: parameter 0, gradient 8, exp_avg 16, exp_avg_sq 24, gradient_scale 32, weight_decay 40);
    lies_at!(FusedBytes, 48: saved 0, workspace 8, passing 16, packed 24, per_thread 32, largest 40);
    lies_at!(CLayerContext, 64: visible 0, documents 8, bias 16, keys 24, site 32, attention_dropout 40, hidden_dropout 48,
        recompute 56);
    lies_at!(CEmbeddings, 96: word 0, position 8, token_type 16, weight 24, bias 32, word_ids 40, position_ids 48, type_ids 56, keys 64, epsilon 72, dropout 80, site 88);
};

/// `UntieFunction`.
pub(super) type CFunction = unsafe extern "C" fn(
    context: *mut c_void,
    count: usize,
    inputs: *const *const C_tensor,
    out: *mut *mut C_tensor,
    message: *mut c_char,
    capacity: usize,
) -> bool;

/// `UntieLaunch`.
pub type CLaunch = unsafe extern "C" fn(
    name: *const c_char,
    grid_x: u32,
    grid_y: u32,
    threads: u32,
    arguments: *mut *mut c_void,
) -> *const c_char;

extern "C" {
    pub(super) fn untie_free_message(message: *mut c_char);
    pub(super) fn untie_adamw(
        count: usize,
        tensors: *const CAdamW,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        epsilon: f64,
        step: u64,
    ) -> *mut c_char;
    pub(super) fn untie_norms(count: usize, tensors: *const *const C_tensor, norms: *mut f64) -> *mut c_char;
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
    pub(super) fn untie_device_adamw_new(made: *mut *mut c_void) -> *mut c_char;
    pub(super) fn untie_device_adamw_free(adamw: *mut c_void);
    pub(super) fn untie_device_adamw_update(
        adamw: *mut c_void,
        count: usize,
        tensors: *const CAdamW,
        keeps_gradients: bool,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        epsilon: f64,
        weight_decay: f64,
        factors: *const C_tensor,
        skipped: *const C_tensor,
        num_updates: *const C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_retain_grad(tensor: *const C_tensor) -> *mut c_char;
    pub(super) fn untie_make_gradients(count: usize, tensors: *const *const C_tensor) -> *mut c_char;
    pub(super) fn untie_recompute(
        call: CFunction,
        context: *mut c_void,
        release: unsafe extern "C" fn(*mut c_void),
        count: usize,
        inputs: *const *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_set_launcher(launch: Option<CLaunch>, multiprocessors: u32);
    pub(super) fn untie_has_launcher() -> bool;
    pub(super) fn untie_cuda_problem() -> *mut c_char;
    pub(super) fn untie_cuda_capability(device: i32, major: *mut i32, minor: *mut i32) -> *mut c_char;
    pub(super) fn untie_cuda_load_kernels(device: i32, image: *const c_void) -> *mut c_char;
    pub(super) fn untie_attention(
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        bias: *const C_tensor,
        dropout: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_set_kernel_level(name: *const c_char) -> *mut c_char;
    pub(super) fn untie_kernel_level(name: *mut *const c_char) -> *mut c_char;
    pub(super) fn untie_layer_new(
        parts: *const *const C_tensor,
        kind: i32,
        on_device: bool,
        heads: i64,
        pre_norm: bool,
        epsilon: f64,
        layer: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn untie_layer_free(layer: *mut c_void);
    pub(super) fn untie_layer_forward(
        layer: *const c_void,
        x: *const C_tensor,
        context: *const CLayerContext,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_layer_bytes(
        kind: i32,
        batch: i64,
        length: i64,
        hidden_size: i64,
        intermediate_size: i64,
        heads: i64,
        pre_norm: bool,
        bytes: *mut FusedBytes,
    ) -> *mut c_char;
    pub(super) fn untie_held_bytes(out: *const C_tensor, bytes: *mut FusedBytes) -> *mut c_char;
    pub(super) fn untie_head_bytes(
        kind: i32,
        rows: i64,
        targets: i64,
        hidden_size: i64,
        vocabulary: i64,
        bytes: *mut FusedBytes,
    ) -> *mut c_char;
    pub(super) fn untie_embeddings_bytes(
        kind: i32,
        rows: i64,
        hidden_size: i64,
        norm: bool,
        bytes: *mut FusedBytes,
    ) -> *mut c_char;
    pub(super) fn untie_head_new(
        parts: *const *const C_tensor,
        kind: i32,
        on_device: bool,
        epsilon: f64,
        head: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn untie_head_free(head: *mut c_void);
    pub(super) fn untie_head_loss(
        head: *const c_void,
        hidden: *const C_tensor,
        positions: *const C_tensor,
        labels: *const C_tensor,
        weights: *const C_tensor,
        total: f64,
        loss: *mut *mut C_tensor,
        num_correct: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_embeddings(
        of: *const CEmbeddings,
        kind: i32,
        on_device: bool,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_dropout_factors(
        keys: *const C_tensor,
        site: u32,
        probability: f64,
        width: i64,
        kind: i32,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_keep_heap();
    pub(super) fn untie_trim_heap();
    pub(super) fn untie_largest_in_heap() -> i64;
    pub(super) fn untie_uniform(tensor: *const C_tensor, seed: u64) -> *mut c_char;
    pub(super) fn untie_profile_start() -> *mut c_char;
    pub(super) fn untie_profile_stop(table: *mut *mut c_char) -> *mut c_char;
    pub(super) fn untie_set_deterministic(enabled: bool) -> *mut c_char;
    pub(super) fn untie_set_tf32(enabled: bool) -> *mut c_char;
    pub(super) fn untie_cpu_capability(text: *mut c_char, capacity: usize) -> *mut c_char;
    pub(super) fn untie_libtorch_version(text: *mut c_char, capacity: usize) -> *mut c_char;
    pub(super) fn untie_store_new(
        host: *const c_char,
        port: u16,
        serves: bool,
        timeout_ms: i64,
        prefix: *const c_char,
        store: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn untie_store_clone(store: *const c_void, copy: *mut *mut c_void) -> *mut c_char;
    pub(super) fn untie_store_free(store: *mut c_void);
    pub(super) fn untie_store_add(store: *const c_void, key: *const c_char, number: i64, sum: *mut i64) -> *mut c_char;
    pub(super) fn untie_store_set(store: *const c_void, key: *const c_char, text: *const c_char) -> *mut c_char;
    pub(super) fn untie_store_get(
        store: *const c_void,
        key: *const c_char,
        text: *mut c_char,
        capacity: usize,
        found: *mut bool,
    ) -> *mut c_char;
    pub(super) fn untie_world_new(
        store: *const c_void,
        rank: i32,
        size: i32,
        timeout_ms: i64,
        address: *const c_char,
        interface: *const c_char,
        cuda_index: i32,
        world: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn untie_world_free(world: *mut c_void);
    pub(super) fn untie_all_reduce(world: *const c_void, tensor: *const C_tensor, largest: bool) -> *mut c_char;
    pub(super) fn untie_broadcast(world: *const c_void, tensor: *const C_tensor) -> *mut c_char;
    pub(super) fn untie_reducer_new(
        world: *const c_void,
        narrow: bool,
        num_values: usize,
        count: usize,
        sizes: *const usize,
        places: *const i64,
        leaves: *const *const C_tensor,
        reducer: *mut *mut c_void,
    ) -> *mut c_char;
    pub(super) fn untie_reducer_free(reducer: *mut c_void);
    pub(super) fn untie_reducer_mark(reducer: *const c_void, hidden: *const C_tensor, place: i64) -> *mut c_char;
    pub(super) fn untie_reducer_finish(
        reducer: *const c_void,
        values: *const C_tensor,
        rows: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(super) fn untie_free_memory(cuda_index: i32, bytes: *mut u64) -> *mut c_char;
    pub(super) fn untie_reset_peak_memory(cuda_index: i32) -> *mut c_char;
    pub(super) fn untie_peak_memory(cuda_index: i32, bytes: *mut u64) -> *mut c_char;
}

/// Turns what a shim function returned into a result and frees the message.
pub(super) fn check(message: *mut c_char) -> Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null return is a NUL-terminated string of csrc/errors.cpp, which is to be handed back once.
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
