// What the autograd engine keeps.
#include "gradient.h"
#include "shim.h"

char *untie_retain_grad(const at::Tensor *tensor) {
  return untie_guard([&] { tensor->retain_grad(); });
}

char *untie_make_gradients(size_t count, at::Tensor *const *tensors) {
  return untie_guard([&] {
    for (size_t i = 0; i < count; ++i) {
      untie::gradient_of(*tensors[i]);
    }
  });
}
