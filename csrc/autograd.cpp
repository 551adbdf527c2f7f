// What the autograd engine keeps.
#include "shim.h"

#include <ATen/ATen.h>

char *untie_retain_grad(const at::Tensor *tensor) {
  return untie_guard([&] { tensor->retain_grad(); });
}
