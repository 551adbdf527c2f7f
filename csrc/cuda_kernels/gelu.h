// The exact GELU, x·Φ(x), and its derivative Φ(x) + x·φ(x) (Hendrycks & Gimpel 2016). The backward also sums its columns, for the bias.
#pragma once
#include "sums.h"

// Φ(x), the normal distribution function, and φ(x), its density, by the approximation of csrc/kernels/vector.h: the form of
// Abramowitz & Stegun 26.2.17 with coefficients fitted to a relative error of 2e-8. Both take one exponential.
DEVICE void normal(float x, float &distribution, float &density) {
  const float t = reciprocal(fmaf(0.27f, fabsf(x), 1.0f));
  float y = fmaf(t, 2.891536601e-2f, -1.262557073e-1f);
  y = fmaf(y, t, 1.692923104e-1f);
  y = fmaf(y, t, -6.862199814e-2f);
  y = fmaf(y, t, 1.074001235e-1f);
  y = fmaf(y, t, 7.224000190e-2f);
  y = fmaf(y, t, 1.017592373e-1f);
  y = fmaf(y, t, 1.075504966e-1f);
  y = fmaf(y, t, 1.077201816e-1f);
  const float power = power_of_two(-0.72134752f * x * x); // e^(−x²/2)
  const float tail = y * t * power;
  density = 0.39894228f * power;
  distribution = x < 0.0f ? tail : 1.0f - tail;
}

template <typename T> DEVICE void gelu_forward(const Eight *before, u64 pieces, Eight *after) {
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < pieces; i += (u64)gridDim.x * blockDim.x) {
    float x[8];
    widen<T>(load(before + i), x);
    UNROLL
    for (int j = 0; j < 8; ++j) {
      float distribution, density;
      normal(x[j], distribution, density);
      x[j] *= distribution;
    }
    store(after + i, pack<T>(x));
  }
}

// partial [gridDim.y, width]: Σ of the block's rows of d_before as stored.
template <typename T>
DEVICE void gelu_backward(const Eight *d_after, const Eight *before, u32 rows, u32 width, Eight *d_before, float *partial) {
  float total[8] = {};
  if (first_column() < width) {
    for (u32 row = first_row(); row < rows; row += row_step()) {
      const u64 at = ((u64)row * width + first_column()) / 8;
      float d[8], x[8];
      const Eight given = load(d_after + at);
      widen<T>(load(before + at), x);
      widen<T>(given, d);
      UNROLL
      for (int j = 0; j < 8; ++j) {
        float distribution, density;
        normal(x[j], distribution, density);
        d[j] *= distribution + x[j] * density;
      }
      const Eight stored = pack<T>(d);
      store(d_before + at, stored);
      widen<T>(stored, d);
      UNROLL
      for (int j = 0; j < 8; ++j) {
        total[j] += d[j];
      }
    }
  }
  write_sums(total, width, partial + (u64)blockIdx.y * width);
}
