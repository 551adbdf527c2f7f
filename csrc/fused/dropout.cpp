// Dropout of one vector a sequence, as the factors to multiply it by: where there is no kernel that it could be a part of.
#include "../shim.h"
#include "products.h"

#include <ATen/ops/ones.h>

char *untie_dropout_factors(const at::Tensor *keys, uint32_t site, double probability, int64_t width, int32_t kind,
                            at::Tensor **out) {
  return untie_guard([&] {
    using namespace untie;
    at::NoGradGuard no_grad;
    const int64_t rows = keys->size(0);
    auto factors = at::ones({rows, width}, static_cast<at::ScalarType>(kind));
    of_kind(factors.scalar_type(), [&](auto element) {
      using T = decltype(element);
      const Dropout dropout = dropout_of(*keys, site, probability, /*length=*/1);
      Scalar<T>::kernels().dropout(0, rows, width, data<T>(factors), dropout, data<T>(factors), nullptr);
    });
    *out = new at::Tensor(std::move(factors));
  });
}
