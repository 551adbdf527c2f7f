// The exact GELU, x·Φ(x), and its derivative Φ(x) + x·φ(x) (Hendrycks & Gimpel 2016).
#pragma once

#include "pack.h"

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

// Two rows at a time, as the packed layout has them.
template <typename T>
void gelu_backward(int64_t rows, int64_t width, const Wide<T> *wide, const T *before, int64_t stride, T *gradient,
                   int64_t gradient_stride, T *packed_gradient, T *packed_after, int64_t packed_row, int64_t packed_column,
                   Wide<T> *bias_sum) {
  for (int64_t i = 0; i < rows; i += 2) {
    const bool both = i + 1 < rows;
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      Vector<Wide<T>> after[2] = {}, d[2] = {};
      for (int64_t which = 0; which < (both ? 2 : 1); ++which) {
        const int64_t row = i + which;
        const auto x = load(before + row * stride + j, count);
        Vector<Wide<T>> distribution, density;
        normal(x, distribution, density);
        after[which] = x * distribution;
        d[which] = load(wide + row * width + j, count) * (distribution + x * density);
        store(gradient + row * gradient_stride + j, d[which], count);
      }
      store(bias_sum + j, load(bias_sum + j, count) + d[0] + d[1], count);
      if (packed_gradient != nullptr) {
        const int64_t at = i * packed_row + j * packed_column;
        store_pair<T>(packed_gradient + at, packed_row, d[0], d[1], count, both);
        store_pair<T>(packed_after + at, packed_row, after[0], after[1], count, both);
      }
    }
  }
}

} // namespace LEVEL
} // namespace untie
