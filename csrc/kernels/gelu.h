// The exact GELU, x·Φ(x), and its derivative Φ(x) + x·φ(x) (Hendrycks & Gimpel 2016).
#pragma once

#include "vector.h"

namespace untie {
namespace LEVEL {

template <typename T>
void gelu_forward(int64_t rows, int64_t width, const Wide<T> *wide, const Wide<T> *bias, T *before, int64_t stride,
                  T *after, int64_t after_stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      // The backward sees what was stored.
      const auto x = rounded<T>(load(wide + i * width + j, count) + load(bias + j, count));
      Vector<Wide<T>> distribution, density;
      normal(x, distribution, density);
      if (before != nullptr) {
        store(before + i * stride + j, x, count);
      }
      store(after + i * after_stride + j, x * distribution, count);
    }
  }
}

template <typename T>
void gelu_backward(int64_t rows, int64_t width, const Wide<T> *wide, const T *before, int64_t stride, T *gradient,
                   T *after, Wide<T> *bias_sum) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      const auto x = load(before + i * stride + j, count);
      Vector<Wide<T>> distribution, density;
      normal(x, distribution, density);
      const auto d = load(wide + i * width + j, count) * (distribution + x * density);
      store(bias_sum + j, load(bias_sum + j, count) + d, count);
      store(gradient + i * stride + j, d, count);
      store(after + i * stride + j, x * distribution, count);
    }
  }
}

} // namespace LEVEL
} // namespace untie
