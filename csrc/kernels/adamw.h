// AdamW (Loshchilov & Hutter 2019, algorithm 2) and the sum of squares that clipping needs.
#pragma once

#include "vector.h"

namespace untie {
namespace LEVEL {

// 16 lanes at a time; what is behind `count` is neither read nor written.
template <typename W>
void adamw(int64_t count, W *weight, const W *gradient, W *exp_avg, W *exp_avg_sq, AdamW with) {
  const auto constant = [](double value) { return splat(static_cast<W>(value)); };
  const auto scale = constant(with.gradient_scale), keep = constant(1.0 - with.learning_rate * with.weight_decay);
  const auto first_rest = constant(1.0 - with.beta1), second = constant(with.beta2), second_rest = constant(1.0 - with.beta2);
  const auto rate = constant(with.learning_rate / with.correction1), correction = constant(std::sqrt(with.correction2));
  const auto epsilon = constant(with.epsilon);
  for (int64_t i = 0; i < count; i += LANES) {
    const int64_t left = count - i;
    const auto g = load(gradient + i, left) * scale;
    auto m = load(exp_avg + i, left), v = load(exp_avg_sq + i, left);
    m = m + (g - m) * first_rest;
    v = v * second + g * g * second_rest;
    store(exp_avg + i, m, left);
    store(exp_avg_sq + i, v, left);
    const auto w = load(weight + i, left) * keep;
    store(weight + i, w - rate * m / (square_root(v) / correction + epsilon), left);
  }
}

// In fp64: adding millions of squares in fp32 would be 1e-3 off.
template <typename W> double squares(int64_t count, const W *x) {
  f64x16 total{};
  for (int64_t i = 0; i < count; i += LANES) {
    const auto wide = convert<double>(load(x + i, count - i));
    total += wide * wide;
  }
  return sum<double>(total);
}

} // namespace LEVEL
} // namespace untie
