// The optimizer's fused operations over lists of tensors.
//
// AdamW is libtorch's own fused kernel (one pass over parameter, gradient and both moments), the one that
// torch.optim.AdamW(fused=True) calls.
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

// The Euclidean norm in fp64. libtorch's CPU kernel adds the squares of an fp32 tensor one after the other in fp32, which
// is 1e-3 too low at 30522x768; rows are short enough, and their norms are added in fp64.
at::Tensor exact_norm(const at::Tensor &tensor) {
  if (tensor.dim() < 2) {
    return at::linalg_vector_norm(tensor, 2, std::nullopt, false, at::kDouble);
  }
  const auto rows = at::linalg_vector_norm(tensor.flatten(1), 2, at::IntArrayRef{1});
  return at::linalg_vector_norm(rows, 2, std::nullopt, false, at::kDouble);
}

} // namespace

char *untie_fused_adamw(size_t count, at::Tensor *const *parameters, at::Tensor *const *gradients,
                        at::Tensor *const *exp_avgs, at::Tensor *const *exp_avg_sqs, double learning_rate,
                        double beta1, double beta2, double weight_decay, double epsilon, uint64_t step) {
  return untie_guard([&] {
    if (count == 0) {
      return;
    }
    at::NoGradGuard no_grad;
    const auto params = list(count, parameters);
    // The kernel reads step counts that are already incremented, one float32 scalar a parameter; they may share one.
    const auto step_tensor =
        at::full({}, static_cast<double>(step), params[0].options().dtype(at::kFloat));
    const std::vector<at::Tensor> steps(count, step_tensor);
    at::_fused_adamw_(params, list(count, gradients), list(count, exp_avgs), list(count, exp_avg_sqs),
                      /*max_exp_avg_sqs=*/{}, steps, learning_rate, beta1, beta2, weight_decay, epsilon,
                      /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{}, /*found_inf=*/{});
    // The kernel leaves the versions alone, and packed copies of weights (fused/products.h) go by them.
    for (const auto &parameter : params) {
      parameter.unsafeGetTensorImpl()->bump_version();
    }
  });
}

char *untie_norms(size_t count, at::Tensor *const *tensors, double *norms) {
  return untie_guard([&] {
    if (count == 0) {
      return;
    }
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> found;
    found.reserve(count);
    for (const auto &tensor : list(count, tensors)) {
      found.push_back(exact_norm(tensor));
    }
    const auto stacked = at::stack(found).cpu();
    const double *values = stacked.const_data_ptr<double>();
    std::copy(values, values + count, norms);
  });
}

char *untie_scale(size_t count, at::Tensor *const *tensors, const double *factors) {
  return untie_guard([&] {
    if (count == 0) {
      return;
    }
    at::NoGradGuard no_grad;
    std::vector<at::Scalar> scalars;
    scalars.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      scalars.emplace_back(factors[i]);
    }
    at::_foreach_mul_(list(count, tensors), scalars);
  });
}
