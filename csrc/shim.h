// The C interface between src/shim (Rust) and libtorch, for what the tch crate lacks.
//
// Every function returns NULL when it went well, else a message that the caller owns and gives back to
// untie_free_message. No C++ exception crosses this line. A tensor argument is tch's C_tensor, an at::Tensor*.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace at {
class Tensor;
}

extern "C" {

void untie_free_message(char *message);

// optim.cpp
char *untie_fused_adamw(size_t count, at::Tensor *const *parameters, at::Tensor *const *gradients,
                        at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs, double learning_rate,
                        double beta1, double beta2, double weight_decay, double epsilon, uint64_t step);
char *untie_norms(size_t count, at::Tensor *const *tensors, double *norms);
char *untie_scale(size_t count, at::Tensor *const *tensors, const double *factors);

// device_step.cpp
char *untie_device_norms(size_t count, at::Tensor *const *tensors, at::Tensor **norms);
char *untie_device_adamw(size_t count, at::Tensor *const *parameters, at::Tensor *const *gradients,
                         at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs, double learning_rate,
                         double beta1, double beta2, double weight_decay, double epsilon, const at::Tensor *step,
                         const at::Tensor *divisor, const at::Tensor *found_inf);

// autograd.cpp
char *untie_retain_grad(const at::Tensor *tensor);

// fused/node.cpp
struct UntieLayer;
// What one pass through a layer depends on beside x; null tensors: none.
struct UntiePass {
  const at::Tensor *visible;
  const at::Tensor *documents;
  const at::Tensor *keys;
  uint32_t site;
  double attention_dropout;
  double hidden_dropout;
};
bool untie_has_avx512();
char *untie_set_kernel_level(const char *name);
char *untie_layer_new(at::Tensor *const *parts, int32_t kind, int64_t heads, bool pre_norm, double epsilon,
                      UntieLayer **layer);
void untie_layer_free(UntieLayer *layer);
char *untie_layer_forward(const UntieLayer *layer, const at::Tensor *x, const UntiePass *pass, at::Tensor **out);
char *untie_dropout(const at::Tensor *x, const at::Tensor *keys, uint32_t site, double probability, at::Tensor **out);

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
}

// Runs `body` and turns whatever it throws into a message.
char *untie_message(const std::string &text);

template <typename Body> char *untie_guard(Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return untie_message(error.what());
  } catch (...) {
    return untie_message("unknown C++ exception");
  }
}
