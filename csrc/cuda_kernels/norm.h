// Dropout, residual sum and LayerNorm (Ba et al. 2016), forward and backward, for widths that are multiples of 256 and fit in
// registers. A warp has a row, a lane eight neighbouring columns of every 256. Statistics are fp32 in two passes over what was stored.
//
// With x̂ = (x − mean)·inverse and g = d·weight: dx = (g − mean(g) − x̂·mean(g·x̂))·inverse, d weight = Σ d·x̂, d bias = Σ d.
#pragma once
#include "dropout.h"

// x += factor·branch, rounded: stored, and left in x as stored.
template <typename T> DEVICE void add_branch(const Eight &branch, const float factor[8], float x[8], Eight *sum) {
  float b[8];
  widen<T>(branch, b);
  UNROLL
  for (int j = 0; j < 8; ++j) {
    x[j] += product(b[j], factor[j]);
  }
  const Eight stored = pack<T>(x);
  store(sum, stored);
  widen<T>(stored, x);
}

// Eight columns of the forward's result.
template <typename T>
DEVICE void write_normed(const float x[8], float mean, float inverse, const float *weight, const float *bias, Eight *out) {
  float w[8], b[8], y[8];
  load8(weight, w);
  load8(bias, b);
  UNROLL
  for (int j = 0; j < 8; ++j) {
    y[j] = (x[j] - mean) * inverse * w[j] + b[j];
  }
  store(out, pack<T>(y));
}

// sum = residual + factor·branch, out = LayerNorm(sum). Branch null: sum is the residual and is not written. Weight null: no LayerNorm.
template <typename T, int C>
DEVICE void norm_forward(const Eight *branch, const Eight *residual, const float *weight, const float *bias, float epsilon,
                         const Dropout &dropout, u32 rows, Eight *sum, Eight *out, float *means, float *inverses) {
  constexpr int PIECES = C / 256;
  const u32 lane = threadIdx.x % 32, warps = blockDim.x / 32 * gridDim.x;
  for (u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < rows; row += warps) {
    const u64 at = (u64)row * (C / 8) + lane;
    Eight left[PIECES], right[PIECES];
    UNROLL
    for (int p = 0; p < PIECES; ++p) {
      right[p] = load(residual + at + 32 * p);
      if (branch != nullptr) {
        left[p] = load(branch + at + 32 * p);
      }
    }
    const MaskRow mask = mask_row(dropout, row, C);
    float x[8 * PIECES], total = 0.0f;
    UNROLL
    for (int p = 0; p < PIECES; ++p) {
      widen<T>(right[p], x + 8 * p);
      if (branch != nullptr) {
        float factor[8];
        factors(dropout, mask, 256 * p, factor);
        add_branch<T>(left[p], factor, x + 8 * p, sum + at + 32 * p);
      }
      UNROLL
      for (int j = 0; j < 8; ++j) {
        total += x[8 * p + j];
      }
    }
    if (weight == nullptr) {
      continue;
    }
    const float mean = sum_of_warp(total) / C;
    float squares = 0.0f;
    UNROLL
    for (int j = 0; j < 8 * PIECES; ++j) {
      squares += (x[j] - mean) * (x[j] - mean);
    }
    const float inverse = 1.0f / sqrtf(sum_of_warp(squares) / C + epsilon);
    UNROLL
    for (int p = 0; p < PIECES; ++p) {
      const u32 column = 256 * p + 8 * lane;
      write_normed<T>(x + 8 * p, mean, inverse, weight + column, bias + column, out + at + 32 * p);
    }
    if (lane == 0) {
      means[row] = mean;
      inverses[row] = inverse;
    }
  }
}

// d·weight and x̂ of eight columns.
template <typename T>
DEVICE void norm_terms(const Eight &x, float mean, float inverse, const float *weight, float d[8], float normed[8]) {
  float w[8];
  load8(weight, w);
  widen<T>(x, normed);
  UNROLL
  for (int j = 0; j < 8; ++j) {
    normed[j] = (normed[j] - mean) * inverse;
    d[j] *= w[j];
  }
}

// Rounds d and stores it where `to` is not null; d is left as stored.
template <typename T> DEVICE void write_rounded(float d[8], Eight *to, u64 at) {
  const Eight stored = pack<T>(d);
  if (to != nullptr) {
    store(to + at, stored);
  }
  widen<T>(stored, d);
}

// d_sum = LayerNorm's backward of d_out (weight null: d_out itself) + add, d_branch = factor·d_sum, and the block's sums over its rows
// of d_out·x̂, d_out and d_branch, [gridDim.x, 3, C]. Results and `add` may be null. Without dropout d_branch is d_sum.
template <typename T, int C>
DEVICE void norm_backward(const Eight *d_out, const Eight *sum, const float *means, const float *inverses, const float *weight,
                          const Eight *add, const Dropout &dropout, u32 rows, Eight *d_sum, Eight *d_branch, float *partial) {
  constexpr int PIECES = C / 256, MINE = 8 * PIECES;
  constexpr u32 WARPS = 4;
  SHARED(float, shared, 3 * C);
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const bool has_branch = d_branch != nullptr || dropout.threshold == 0;
  float of_weight[MINE], of_bias[MINE], of_branch[MINE];
  UNROLL
  for (int i = 0; i < MINE; ++i) {
    of_weight[i] = of_bias[i] = of_branch[i] = 0.0f;
  }
  for (u32 row = blockIdx.x * WARPS + warp; row < rows; row += WARPS * gridDim.x) {
    const u64 at = (u64)row * (C / 8) + lane;
    // Kept as loaded: half the registers of fp32.
    Eight given[PIECES], x[PIECES];
    UNROLL
    for (int p = 0; p < PIECES; ++p) {
      given[p] = load(d_out + at + 32 * p);
      if (weight != nullptr) {
        x[p] = load(sum + at + 32 * p);
      }
    }
    float mean = 0.0f, inverse = 0.0f, mean_plain = 0.0f, mean_product = 0.0f;
    if (weight != nullptr) {
      mean = means[row];
      inverse = inverses[row];
      float plain = 0.0f, products = 0.0f;
      UNROLL
      for (int p = 0; p < PIECES; ++p) {
        float d[8], g[8], normed[8];
        widen<T>(given[p], d);
        widen<T>(given[p], g);
        norm_terms<T>(x[p], mean, inverse, weight + 256 * p + 8 * lane, g, normed);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          of_weight[8 * p + j] += d[j] * normed[j];
          of_bias[8 * p + j] += d[j];
          plain += g[j];
          products += g[j] * normed[j];
        }
      }
      mean_plain = sum_of_warp(plain) / C;
      mean_product = sum_of_warp(products) / C;
    }
    const MaskRow mask = mask_row(dropout, row, C);
    UNROLL
    for (int p = 0; p < PIECES; ++p) {
      float d[8];
      widen<T>(given[p], d);
      if (weight != nullptr) {
        float normed[8];
        norm_terms<T>(x[p], mean, inverse, weight + 256 * p + 8 * lane, d, normed);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          d[j] = (d[j] - mean_plain - normed[j] * mean_product) * inverse;
        }
      }
      if (add != nullptr) {
        float more[8];
        widen<T>(load(add + at + 32 * p), more);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          d[j] += more[j];
        }
      }
      write_rounded<T>(d, d_sum, at + 32 * p);
      if (has_branch) {
        float factor[8];
        factors(dropout, mask, 256 * p, factor);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          d[j] *= factor[j];
        }
        write_rounded<T>(d, d_branch, at + 32 * p);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          of_branch[8 * p + j] += d[j];
        }
      }
    }
  }
  // The warps of a block one after the other: the order is fixed.
  for (u32 turn = 0; turn < WARPS; ++turn) {
    if (warp == turn) {
      UNROLL
      for (int i = 0; i < MINE; ++i) {
        const u32 column = 256 * (i / 8) + 8 * lane + i % 8;
        shared[column] = (turn == 0 ? 0.0f : shared[column]) + of_weight[i];
        shared[C + column] = (turn == 0 ? 0.0f : shared[C + column]) + of_bias[i];
        shared[2 * C + column] = (turn == 0 ? 0.0f : shared[2 * C + column]) + of_branch[i];
      }
    }
    __syncthreads();
  }
  for (u32 i = threadIdx.x; i < 3 * C; i += 32 * WARPS) {
    partial[(u64)blockIdx.x * 3 * C + i] = shared[i];
  }
}
