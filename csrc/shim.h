// The C interface between src/shim (Rust) and libtorch, for what the tch crate lacks.
//
// Every function returns NULL when it went well, else a message that the caller owns and gives back to
// untie_free_message. No C++ exception crosses this line: what may throw has a body inside untie_guard, the rest is noexcept.
// A tensor argument is tch's C_tensor, an at::Tensor*.
//
// src/shim/ffi.rs declares the same functions and structs. Both sides state where the structs' fields lie, so that a change on
// one side alone does not compile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>

namespace at {
class Tensor;
}

extern "C" {

void untie_free_message(char *message) noexcept;

// fused/optimizer.cpp
struct UntieAdamW {
  at::Tensor *parameter, *gradient, *exp_avg, *exp_avg_sq;
  double gradient_scale; // multiplied into the gradient
  double weight_decay;
};
char *untie_adamw(size_t count, const UntieAdamW *tensors, double learning_rate, double beta1, double beta2, double epsilon,
                  uint64_t step);
char *untie_norms(size_t count, at::Tensor *const *tensors, double *norms);

// device_step.cpp
char *untie_device_norms(size_t count, at::Tensor *const *tensors, at::Tensor **norms);
char *untie_device_adamw(size_t count, at::Tensor *const *parameters, at::Tensor *const *gradients,
                         at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs, double learning_rate,
                         double beta1, double beta2, double weight_decay, double epsilon, const at::Tensor *step,
                         const at::Tensor *divisor, const at::Tensor *found_inf);

// device/optimizer.cpp: the same update of all tensors in one launch of our own kernel, on a device. `gradient_scale` of each tensor is
// `factors[i]`, float64 there; a tensor's weight decay is `weight_decay` or 0. Gradients become 0 unless they are kept.
struct UntieDeviceAdamW;
char *untie_device_adamw_new(UntieDeviceAdamW **made);
void untie_device_adamw_free(UntieDeviceAdamW *adamw) noexcept;
char *untie_device_adamw_update(UntieDeviceAdamW *adamw, size_t count, const UntieAdamW *tensors, bool keeps_gradients,
                                double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                                const at::Tensor *factors, const at::Tensor *skipped, const at::Tensor *num_updates);

// autograd.cpp
char *untie_retain_grad(const at::Tensor *tensor);
char *untie_make_gradients(size_t count, at::Tensor *const *tensors);

// recompute.cpp
// A function of tensors in Rust. It writes its value to `out`, which C++ then owns, or a message and returns false.
typedef bool (*UntieFunction)(void *context, size_t count, const at::Tensor *const *inputs, at::Tensor **out, char *message,
                              size_t capacity);
// `call(context, inputs)` with a backward that calls it again; `context` is released when it is not needed any more.
char *untie_recompute(UntieFunction call, void *context, void (*release)(void *), size_t count,
                      const at::Tensor *const *inputs, at::Tensor **out);

// What a part of a model on fused kernels holds, in bytes, by the code that allocates it.
struct UntieBytes {
  int64_t saved;      // by a forward for its backward, its input included
  int64_t workspace;  // by a thread that runs backwards, from the first on
  int64_t passing;    // the most that comes and goes in a backward beside these: results, sums
  int64_t packed;     // copies of the weights for the forward and the backward
  int64_t per_thread; // by each thread, for its tasks
  int64_t largest;    // the largest buffer that comes and goes
};

// fused/node.cpp
struct UntieLayer;
// What one forward of a layer depends on beside x; null tensors: none.
struct UntieLayerContext {
  const at::Tensor *visible;
  const at::Tensor *documents;
  const at::Tensor *bias; // of the scores, on a device
  const at::Tensor *keys;
  uint32_t site;
  double attention_dropout;
  double hidden_dropout;
  bool recompute; // whether the forward runs again in the backward instead of being kept
};
char *untie_set_kernel_level(const char *name);
// A string that lives as long as the program.
char *untie_kernel_level(const char **name);
// `on_device`: by the kernels of cuda_kernels instead of those for the CPU.
char *untie_layer_new(at::Tensor *const *parts, int32_t kind, bool on_device, int64_t heads, bool pre_norm, double epsilon,
                      UntieLayer **layer);
void untie_layer_free(UntieLayer *layer) noexcept;
char *untie_layer_forward(const UntieLayer *layer, const at::Tensor *x, const UntieLayerContext *context, at::Tensor **out);

char *untie_layer_bytes(int32_t kind, int64_t batch, int64_t length, int64_t hidden_size, int64_t intermediate_size,
                        int64_t heads, bool pre_norm, UntieBytes *bytes);
// What the operation behind `out` has saved and packed, and what this thread holds now; the rest is 0.
char *untie_held_bytes(const at::Tensor *out, UntieBytes *bytes);

// fused/head_node.cpp
struct UntieHead;
char *untie_head_new(at::Tensor *const *parts, int32_t kind, bool on_device, double epsilon, UntieHead **head);
void untie_head_free(UntieHead *head) noexcept;
char *untie_head_loss(const UntieHead *head, const at::Tensor *hidden, const at::Tensor *positions, const at::Tensor *labels,
                      const at::Tensor *weights, double total, at::Tensor **loss, at::Tensor **num_correct);

// Of `rows` hidden states, of which `targets` are targets.
char *untie_head_bytes(int32_t kind, int64_t rows, int64_t targets, int64_t hidden_size, int64_t vocabulary,
                       UntieBytes *bytes);

// fused/embeddings.cpp; null tensors: no LayerNorm, 0..T, all 0, no dropout
struct UntieEmbeddings {
  const at::Tensor *word, *position, *type, *weight, *bias;
  const at::Tensor *word_ids, *position_ids, *type_ids, *keys;
  double epsilon, dropout;
  uint32_t site;
};
char *untie_embeddings(const UntieEmbeddings *of, int32_t kind, bool on_device, at::Tensor **out);
char *untie_embeddings_bytes(int32_t kind, int64_t rows, int64_t hidden_size, bool norm, UntieBytes *bytes);

// fused/dropout.cpp; [B, width] for keys [B]
char *untie_dropout_factors(const at::Tensor *keys, uint32_t site, double probability, int64_t width, int32_t kind,
                            at::Tensor **out);

// device/launch.cpp: what runs the kernels of cuda_kernels, as csrc/device/launch.h has it; null: nothing does.
typedef const char *(*UntieLaunch)(const char *name, uint32_t grid_x, uint32_t grid_y, uint32_t threads, void **arguments);
void untie_set_launcher(UntieLaunch launch, uint32_t multiprocessors) noexcept;
bool untie_has_launcher() noexcept;

// cuda/library.cpp
// Why libtorch has no CUDA where there is a driver and a libtorch for CUDA; null: it has CUDA, or need not have it.
char *untie_cuda_problem() noexcept;
char *untie_cuda_capability(int32_t device, int32_t *major, int32_t *minor);
// `image`: a cubin, or PTX that ends in a NUL. What launches on the device from now on are its kernels; the image is copied.
char *untie_cuda_load_kernels(int32_t device, const void *image);

// device/attention.cpp; [B, H, T, D], and a bias of the scores or null
char *untie_attention(const at::Tensor *query, const at::Tensor *key, const at::Tensor *value, const at::Tensor *bias,
                      double dropout, at::Tensor **out);

// heap.cpp
void untie_keep_heap() noexcept;
void untie_trim_heap() noexcept;
// The largest buffer that the heap keeps when it is freed.
int64_t untie_largest_in_heap() noexcept;

// random.cpp
char *untie_uniform(const at::Tensor *tensor, uint64_t seed);

// profile.cpp; the table is a message of its own
char *untie_profile_start();
char *untie_profile_stop(char **table);

// context.cpp
char *untie_set_deterministic(bool enabled);
char *untie_set_tf32(bool enabled);
char *untie_cpu_capability(char *text, size_t capacity);
char *untie_libtorch_version(char *text, size_t capacity);
char *untie_free_memory(int32_t cuda_index, uint64_t *bytes);
char *untie_reset_peak_memory(int32_t cuda_index);
char *untie_peak_memory(int32_t cuda_index, uint64_t *bytes);

// parallel/world.cpp
struct UntieStore;
struct UntieWorld;
// A connection to the store at host:port, which this process serves or another one; keys get `prefix`.
char *untie_store_new(const char *host, uint16_t port, bool serves, int64_t timeout_ms, const char *prefix,
                      UntieStore **store);
// A connection of its own to the same store.
char *untie_store_clone(const UntieStore *store, UntieStore **copy);
void untie_store_free(UntieStore *store) noexcept;
char *untie_store_add(const UntieStore *store, const char *key, int64_t number, int64_t *sum);
char *untie_store_set(const UntieStore *store, const char *key, const char *text);
char *untie_store_get(const UntieStore *store, const char *key, char *text, size_t capacity, bool *found);
// Gloo listens at `address` of this host, or at `interface` where that is not empty; `cuda_index`: -1 for the CPU alone.
char *untie_world_new(const UntieStore *store, int32_t rank, int32_t size, int64_t timeout_ms, const char *address,
                      const char *interface, int32_t cuda_index, UntieWorld **world);
void untie_world_free(UntieWorld *world) noexcept;
char *untie_all_reduce(const UntieWorld *world, const at::Tensor *tensor, bool largest);
char *untie_broadcast(const UntieWorld *world, const at::Tensor *tensor);

// parallel/reducer.cpp
struct UntieReducer;
// `count` buckets (at least one) of `sizes[i]` leaves each, finished at `places[i]`, in the order of places from the highest;
// with the last one `num_values` numbers of each process travel.
char *untie_reducer_new(const UntieWorld *world, bool narrow, size_t num_values, size_t count, const size_t *sizes,
                        const int64_t *places, at::Tensor *const *leaves, UntieReducer **reducer);
void untie_reducer_free(UntieReducer *reducer) noexcept;
// The backward that reaches `hidden` has finished every bucket whose place is at least `place`.
char *untie_reducer_mark(const UntieReducer *reducer, const at::Tensor *hidden, int64_t place);
// `values`: fp64 [num_values] of this process, on the leaves' device; `rows`: those of all, [processes, num_values], there.
char *untie_reducer_finish(const UntieReducer *reducer, const at::Tensor *values, at::Tensor **rows);
}

// UntieAdamW, UntieBytes, UntieLayerContext and UntieEmbeddings as src/shim/ffi.rs mirrors them.
#define UNTIE_AT(type, field, offset) static_assert(offsetof(type, field) == (offset), "src/shim/ffi.rs has it elsewhere")
#define UNTIE_SIZE(type, size) static_assert(sizeof(type) == (size), "src/shim/ffi.rs has another size")
UNTIE_AT(UntieAdamW, parameter, 0);
UNTIE_AT(UntieAdamW, gradient, 8);
UNTIE_AT(UntieAdamW, exp_avg, 16);
UNTIE_AT(UntieAdamW, exp_avg_sq, 24);
UNTIE_AT(UntieAdamW, gradient_scale, 32);
UNTIE_AT(UntieAdamW, weight_decay, 40);
UNTIE_SIZE(UntieAdamW, 48);
UNTIE_AT(UntieBytes, saved, 0);
UNTIE_AT(UntieBytes, workspace, 8);
UNTIE_AT(UntieBytes, passing, 16);
UNTIE_AT(UntieBytes, packed, 24);
UNTIE_AT(UntieBytes, per_thread, 32);
UNTIE_AT(UntieBytes, largest, 40);
UNTIE_SIZE(UntieBytes, 48);
UNTIE_AT(UntieLayerContext, visible, 0);
UNTIE_AT(UntieLayerContext, documents, 8);
UNTIE_AT(UntieLayerContext, bias, 16);
UNTIE_AT(UntieLayerContext, keys, 24);
UNTIE_AT(UntieLayerContext, site, 32);
UNTIE_AT(UntieLayerContext, attention_dropout, 40);
UNTIE_AT(UntieLayerContext, hidden_dropout, 48);
UNTIE_AT(UntieLayerContext, recompute, 56);
UNTIE_SIZE(UntieLayerContext, 64);
UNTIE_AT(UntieEmbeddings, word, 0);
UNTIE_AT(UntieEmbeddings, position, 8);
UNTIE_AT(UntieEmbeddings, type, 16);
UNTIE_AT(UntieEmbeddings, weight, 24);
UNTIE_AT(UntieEmbeddings, bias, 32);
UNTIE_AT(UntieEmbeddings, word_ids, 40);
UNTIE_AT(UntieEmbeddings, position_ids, 48);
UNTIE_AT(UntieEmbeddings, type_ids, 56);
UNTIE_AT(UntieEmbeddings, keys, 64);
UNTIE_AT(UntieEmbeddings, epsilon, 72);
UNTIE_AT(UntieEmbeddings, dropout, 80);
UNTIE_AT(UntieEmbeddings, site, 88);
UNTIE_SIZE(UntieEmbeddings, 96);
#undef UNTIE_AT
#undef UNTIE_SIZE

// A copy of `text` that untie_free_message frees; NULL where there is no memory.
char *untie_copy(const char *text) noexcept;
// The same as a message, never NULL.
char *untie_message(const char *text) noexcept;

// Runs `body` and turns whatever it throws into a message.
template <typename Body> char *untie_guard(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return untie_message(error.what());
  } catch (...) {
    return untie_message("unknown C++ exception");
  }
}
