// Bias, dropout, residual sum and LayerNorm (Ba et al. 2016), forward and backward.
//
// With x̂ = (x - mean)/deviation and g = d·weight: dx = (g - mean(g) - x̂·mean(g·x̂))/deviation, d weight = Σ d·x̂,
// d bias = Σ d.
#pragma once

#include "dropout.h"

namespace untie {
namespace LEVEL {

template <typename T>
void residual_forward(int64_t first_row, int64_t rows, int64_t width, const Wide<T> *wide, const Wide<T> *bias,
                      const T *residual, Dropout dropout, T *sum) {
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = i * width;
    dropped_row<Wide<T>>(dropout, first_row + i, width, [&](int64_t j, int64_t count, auto factor) {
      const auto branch = (load(wide + at + j, count) + load(bias + j, count)) * factor;
      store(sum + at + j, load(residual + at + j, count) + branch, count);
    });
  }
}

template <typename T>
void norm_forward(int64_t rows, int64_t width, const T *x, Norm<Wide<T>> norm, T *out, Wide<T> *mean, Wide<T> *inverse) {
  using W = Wide<T>;
  for (int64_t i = 0; i < rows; ++i) {
    const T *row = x + i * width;
    Vector<W> total{};
    for (int64_t j = 0; j < width; j += LANES) {
      total += load(row + j, width - j);
    }
    const W centre = sum<W>(total) / static_cast<W>(width);
    Vector<W> squares{};
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      auto difference = load(row + j, count) - centre;
      if (count < LANES) {
        difference = cleared_from(difference, count);
      }
      squares += difference * difference;
    }
    const W variance = sum<W>(squares) / static_cast<W>(width);
    const W scale = static_cast<W>(1) / root(variance + static_cast<W>(norm.epsilon));
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      const auto normed = (load(row + j, count) - centre) * scale;
      store(out + i * width + j, normed * load(norm.weight + j, count) + load(norm.bias + j, count), count);
    }
    mean[i] = centre;
    inverse[i] = scale;
  }
}

template <typename T>
void norm_backward(int64_t rows, int64_t width, const T *d_out, const T *x, const Wide<T> *mean, const Wide<T> *inverse,
                   const Wide<T> *weight, const T *dx_add, T *dx, Wide<T> *weight_sum, Wide<T> *bias_sum) {
  using W = Wide<T>;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = i * width;
    const W centre = mean[i], scale = inverse[i];
    Vector<W> plain{}, product{};
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      const auto d = load(d_out + at + j, count);
      const auto normed = (load(x + at + j, count) - centre) * scale;
      const auto g = d * load(weight + j, count);
      plain += g;
      product += g * normed;
      store(weight_sum + j, load(weight_sum + j, count) + d * normed, count);
      store(bias_sum + j, load(bias_sum + j, count) + d, count);
    }
    const W mean_plain = sum<W>(plain) / static_cast<W>(width), mean_product = sum<W>(product) / static_cast<W>(width);
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      const auto g = load(d_out + at + j, count) * load(weight + j, count);
      const auto normed = (load(x + at + j, count) - centre) * scale;
      auto result = (g - mean_plain - normed * mean_product) * scale;
      if (dx_add != nullptr) {
        result += load(dx_add + at + j, count);
      }
      store(dx + at + j, result, count);
    }
  }
}

template <typename T>
void dropout(int64_t first_row, int64_t rows, int64_t width, const T *d, Dropout dropout, T *out, Wide<T> *bias_sum) {
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = i * width;
    dropped_row<Wide<T>>(dropout, first_row + i, width, [&](int64_t j, int64_t count, auto factor) {
      const auto value = load(d + at + j, count) * factor;
      if (bias_sum != nullptr) {
        store(bias_sum + j, load(bias_sum + j, count) + value, count);
      }
      store(out + at + j, value, count);
    });
  }
}

template <typename T> void add(int64_t size, const Wide<T> *wide, const T *add, T *out) {
  for (int64_t i = 0; i < size; i += LANES) {
    const int64_t count = size - i;
    store(out + i, load(wide + i, count) + load(add + i, count), count);
  }
}

} // namespace LEVEL
} // namespace untie
