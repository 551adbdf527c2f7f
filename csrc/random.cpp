// Random numbers from a generator of their own: libtorch's default one belongs to dropout.
#include "shim.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

char *untie_uniform(const at::Tensor *tensor, uint64_t seed) {
  return untie_guard([&] {
    at::NoGradGuard no_grad;
    tensor->uniform_(0.0, 1.0, at::make_generator<at::CPUGeneratorImpl>(seed));
  });
}
