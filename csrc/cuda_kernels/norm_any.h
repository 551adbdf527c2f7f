// norm.h for every width that is a multiple of 8: a row does not stay in registers but is read again for each pass, from the cache.
#pragma once
#include "norm.h"
#include "sums.h"

template <typename T>
DEVICE void norm_forward_any(const Eight *branch, const Eight *residual, const float *weight, const float *bias, float epsilon,
                             const Dropout &dropout, u32 rows, u32 width, Eight *sum, Eight *out, float *means, float *inverses) {
  const u32 lane = threadIdx.x % 32, warps = blockDim.x / 32 * gridDim.x, pieces = width / 8;
  for (u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < rows; row += warps) {
    const u64 at = (u64)row * pieces;
    float x[8], total = 0.0f;
    const MaskRow mask = mask_row(dropout, row, width);
    for (u32 first = 0; first < pieces; first += 32) {
      const u32 i = first + lane;
      float factor[8];
      if (branch != nullptr) {
        factors(dropout, mask, 8 * first, factor);
      }
      if (i < pieces) {
        widen<T>(load(residual + at + i), x);
        if (branch != nullptr) {
          add_branch<T>(load(branch + at + i), factor, x, sum + at + i);
        }
        UNROLL
        for (int j = 0; j < 8; ++j) {
          total += x[j];
        }
      }
    }
    if (weight == nullptr) {
      continue;
    }
    // Each lane reads what it stored itself.
    const Eight *stored = (branch != nullptr ? sum : residual) + at;
    const float mean = sum_of_warp(total) / (float)width;
    float squares = 0.0f;
    for (u32 i = lane; i < pieces; i += 32) {
      widen<T>(load(stored + i), x);
      UNROLL
      for (int j = 0; j < 8; ++j) {
        squares += (x[j] - mean) * (x[j] - mean);
      }
    }
    const float inverse = 1.0f / sqrtf(sum_of_warp(squares) / (float)width + epsilon);
    for (u32 i = lane; i < pieces; i += 32) {
      widen<T>(load(stored + i), x);
      write_normed<T>(x, mean, inverse, weight + 8 * i, bias + 8 * i, out + at + i);
    }
    if (lane == 0) {
      means[row] = mean;
      inverses[row] = inverse;
    }
  }
}

// The rows alone; norm_sums_any has the sums.
template <typename T>
DEVICE void norm_backward_any(const Eight *d_out, const Eight *sum, const float *means, const float *inverses, const float *weight,
                              const Eight *add, const Dropout &dropout, u32 rows, u32 width, Eight *d_sum, Eight *d_branch) {
  const u32 lane = threadIdx.x % 32, warps = blockDim.x / 32 * gridDim.x, pieces = width / 8;
  for (u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < rows; row += warps) {
    const u64 at = (u64)row * pieces;
    float d[8], normed[8], mean = 0.0f, inverse = 0.0f, mean_plain = 0.0f, mean_product = 0.0f;
    if (weight != nullptr) {
      mean = means[row];
      inverse = inverses[row];
      float plain = 0.0f, products = 0.0f;
      for (u32 i = lane; i < pieces; i += 32) {
        widen<T>(load(d_out + at + i), d);
        norm_terms<T>(load(sum + at + i), mean, inverse, weight + 8 * i, d, normed);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          plain += d[j];
          products += d[j] * normed[j];
        }
      }
      mean_plain = sum_of_warp(plain) / (float)width;
      mean_product = sum_of_warp(products) / (float)width;
    }
    const MaskRow mask = mask_row(dropout, row, width);
    for (u32 first = 0; first < pieces; first += 32) {
      const u32 i = first + lane;
      float factor[8];
      if (d_branch != nullptr) {
        factors(dropout, mask, 8 * first, factor);
      }
      if (i >= pieces) {
        continue;
      }
      widen<T>(load(d_out + at + i), d);
      if (weight != nullptr) {
        norm_terms<T>(load(sum + at + i), mean, inverse, weight + 8 * i, d, normed);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          d[j] = (d[j] - mean_plain - normed[j] * mean_product) * inverse;
        }
      }
      if (add != nullptr) {
        float more[8];
        widen<T>(load(add + at + i), more);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          d[j] += more[j];
        }
      }
      write_rounded<T>(d, d_sum, at + i);
      if (d_branch != nullptr) {
        UNROLL
        for (int j = 0; j < 8; ++j) {
          d[j] *= factor[j];
        }
        store(d_branch + at + i, pack<T>(d));
      }
    }
  }
}

// partial [gridDim.y, 3, width]: the block's sums of d_out·x̂, d_out (0 where sum is null) and d_branch (0 where it is null).
template <typename T>
DEVICE void norm_sums_any(const Eight *d_out, const Eight *sum, const float *means, const float *inverses, const Eight *d_branch,
                          u32 rows, u32 width, float *partial) {
  float of_weight[8] = {}, of_bias[8] = {}, of_branch[8] = {};
  if (first_column() < width) {
    for (u32 row = first_row(); row < rows; row += row_step()) {
      const u64 at = ((u64)row * width + first_column()) / 8;
      float d[8], x[8];
      if (sum != nullptr) {
        const float mean = means[row], inverse = inverses[row];
        widen<T>(load(d_out + at), d);
        widen<T>(load(sum + at), x);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          of_weight[j] += d[j] * ((x[j] - mean) * inverse);
          of_bias[j] += d[j];
        }
      }
      if (d_branch != nullptr) {
        widen<T>(load(d_branch + at), d);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          of_branch[j] += d[j];
        }
      }
    }
  }
  float *to = partial + (u64)blockIdx.y * 3 * width;
  write_sums(of_weight, width, to);
  write_sums(of_bias, width, to + width);
  write_sums(of_branch, width, to + 2 * width);
}
