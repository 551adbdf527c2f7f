// The gradient of a leaf.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>

namespace untie {

// Made if there is none; not by two threads at once.
inline at::Tensor gradient_of(const at::Tensor &leaf) {
  at::Tensor &gradient = leaf.mutable_grad();
  if (!gradient.defined()) {
    gradient = at::zeros_like(leaf.detach());
  }
  return gradient;
}

} // namespace untie
