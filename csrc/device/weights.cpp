// Narrow copies and gradients of weights.
#include "weights.h"

#include "../gradient.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

namespace untie {
namespace device {
namespace {

// Whether libtorch's product of bfloat16 or half adds to float on this kind of device: that has no form on the CPU, and not in
// every version. Asked once.
bool product_adds_in_float(const at::Tensor &x) {
  static const bool found = [&] {
    if (!x.is_cuda()) {
      return false;
    }
    const at::Tensor narrow = at::zeros({8, 8}, x.options());
    at::Tensor sum = at::zeros({8, 8}, x.options().dtype(at::kFloat));
    try {
      at::addmm_out(sum, sum, narrow, narrow, at::kFloat, 1, 1);
      return true;
    } catch (const c10::Error &) {
      return false;
    }
  }();
  return found;
}

} // namespace

std::shared_ptr<NarrowWeight> NarrowWeight::of(const at::Tensor &weight, at::ScalarType kind) {
  return std::static_pointer_cast<NarrowWeight>(copy_of(
      weight, kind,
      kind == at::kHalf ? [](const at::Tensor &it) -> std::shared_ptr<PackedCopy> { return std::make_shared<NarrowWeight>(it, at::kHalf); }
                        : [](const at::Tensor &it) -> std::shared_ptr<PackedCopy> { return std::make_shared<NarrowWeight>(it, at::kBFloat16); }));
}

std::shared_ptr<NarrowWeight> NarrowWeight::fresh(const at::Tensor &weight) {
  for (const auto &copy : copies_of(weight)) {
    if (auto narrow = std::dynamic_pointer_cast<NarrowWeight>(copy); narrow != nullptr && narrow->is_fresh()) {
      return narrow;
    }
  }
  return nullptr;
}

Gradients Weight::gradients() const {
  Gradients found{gradient_of(leaf)};
  if (part.unsafeGetTensorImpl() != leaf.unsafeGetTensorImpl()) {
    found.push_back(gradient_of(part));
  }
  return found;
}

void add_product(const Gradients &gradients, const at::Tensor &d_y, const at::Tensor &x) {
  if (product_adds_in_float(x)) {
    // Once more for an alias, so that the leaf's gradient is the same bits with and without one.
    for (at::Tensor gradient : gradients) {
      at::addmm_out(gradient, gradient, d_y.t(), x, at::kFloat, 1, 1);
    }
    return;
  }
  const at::Tensor product =
      x.is_cuda() ? at::mm(d_y.t(), x, at::kFloat) : at::mm(d_y.to(at::kFloat).t(), x.to(at::kFloat));
  for (const at::Tensor &gradient : gradients) {
    gradient.add_(product);
  }
}

} // namespace device
} // namespace untie
