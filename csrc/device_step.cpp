// The parts of a step whose numbers stay on the device of its tensors: nothing here reads one to the host, so a CUDA
// device can work while the host is already at the next step.
#include "shim.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

namespace {

std::vector<at::Tensor> list(size_t count, at::Tensor *const *pointers) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    tensors.push_back(*pointers[i]);
  }
  return tensors;
}

} // namespace

// The Euclidean norms, fp64 [count]. On CUDA a few launches over all tensors, which add squares in fp64 from the first on.
char *untie_device_norms(size_t count, at::Tensor *const *tensors, at::Tensor **norms) {
  return untie_guard([&] {
    at::NoGradGuard no_grad;
    *norms = new at::Tensor(at::stack(at::_foreach_norm(list(count, tensors), 2, at::kDouble)));
  });
}

// AdamW on gradients that are first divided by `divisor`, unless `found_inf` is 1. All three of the last are float32 scalars;
// `step` is the number of this update, from 1.
char *untie_device_adamw(size_t count, at::Tensor *const *parameters, at::Tensor *const *gradients,
                         at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs, double learning_rate,
                         double beta1, double beta2, double weight_decay, double epsilon, const at::Tensor *step,
                         const at::Tensor *divisor, const at::Tensor *found_inf) {
  return untie_guard([&] {
    at::NoGradGuard no_grad;
    const auto params = list(count, parameters);
    at::_fused_adamw_(params, list(count, gradients), list(count, exp_avgs), list(count, exp_avg_sqs),
                      /*max_exp_avg_sqs=*/{}, std::vector<at::Tensor>(count, *step), learning_rate, beta1, beta2,
                      weight_decay, epsilon, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/*divisor, *found_inf);
    // The kernel leaves the versions alone, and packed copies of weights (fused/weights.h) go by them.
    for (const auto &parameter : params) {
      parameter.unsafeGetTensorImpl()->bump_version();
    }
  });
}
