// Softmax cross-entropy of rows of logits: a block has a row. The row is read twice, the second time from the cache, and becomes the
// gradient.
#pragma once
#include "lane.h"

// What is known of a part of a row: the largest x, where it is, and Σ exp(x − largest).
struct Softmax {
  float top, sum;
  u32 place;
};

DEVICE float exponential(float x) { return power_of_two(1.44269504f * x); }

// Of equal largest ones the first. Products are rounded by themselves: both orders of the two give the same sum.
DEVICE Softmax merged(const Softmax &a, const Softmax &b) {
  const bool left = a.top > b.top || (a.top == b.top && a.place < b.place);
  const float top = left ? a.top : b.top;
  return {top, product(a.sum, exponential(a.top - top)) + product(b.sum, exponential(b.top - top)), left ? a.place : b.place};
}
DEVICE Softmax merged_with_lane(const Softmax &mine, int distance) {
  const Softmax other = {__shfl_xor_sync(ALL_LANES, mine.top, distance), __shfl_xor_sync(ALL_LANES, mine.sum, distance),
                         __shfl_xor_sync(ALL_LANES, mine.place, distance)};
  return merged(mine, other);
}

// Eight logits with their bias.
template <typename T> DEVICE void biased(const Eight *row, const float *bias, u32 i, float x[8]) {
  float b[8];
  widen<T>(load(row + i), x);
  load8(bias + 8 * i, b);
  UNROLL
  for (int j = 0; j < 8; ++j) {
    x[j] += b[j];
  }
}

// losses = weight·(log Σ exp x − x of the label), correct = weight where the label has the first of the largest x, and the logits become
// weight·(softmax − onehot). A weight of 0 makes all of them 0, whatever the logits and the label are. A label outside the row makes
// loss and gradient NaN, so that no update is made of them.
template <typename T>
DEVICE void cross_entropy(Eight *logits, const float *bias, const i64 *labels, const float *weights, u32 width, float *losses,
                          float *correct) {
  constexpr u32 THREADS = 512, WARPS = THREADS / 32;
  SHARED(Softmax, of_warps, WARPS);
  SHARED(float, of_label, 1);
  const u32 row = blockIdx.x, lane = threadIdx.x % 32, pieces = width / 8;
  Eight *line = logits + (u64)row * pieces;
  float weight = weights[row];
  if (weight == 0.0f) {
    for (u32 i = threadIdx.x; i < pieces; i += THREADS) {
      store(line + i, Eight{});
    }
    if (threadIdx.x == 0) {
      losses[row] = correct[row] = 0.0f;
    }
    return;
  }
  const u32 label = (u32)labels[row];
  if ((u64)labels[row] >= width) {
    weight = 0.0f / 0.0f;
  }
  Softmax all = {-3.4e38f, 0.0f, ALL_LANES};
  for (u32 i = threadIdx.x; i < pieces; i += THREADS) {
    float x[8];
    biased<T>(line, bias, i, x);
    float top = all.top;
    UNROLL
    for (int j = 0; j < 8; ++j) {
      if (x[j] > top) {
        top = x[j];
        all.place = 8 * i + j;
      }
      if (8 * i + j == label) {
        of_label[0] = x[j];
      }
    }
    float sum = all.sum * exponential(all.top - top);
    UNROLL
    for (int j = 0; j < 8; ++j) {
      sum += exponential(x[j] - top);
    }
    all.top = top;
    all.sum = sum;
  }
  UNROLL
  for (int distance = 16; distance > 0; distance /= 2) {
    all = merged_with_lane(all, distance);
  }
  if (lane == 0) {
    of_warps[threadIdx.x / 32] = all;
  }
  __syncthreads();
  // Every warp adds up the warps' sums for itself.
  all = of_warps[lane % WARPS];
  UNROLL
  for (int distance = WARPS / 2; distance > 0; distance /= 2) {
    all = merged_with_lane(all, distance);
  }
  if (threadIdx.x == 0) {
    losses[row] = weight * (all.top + logf(all.sum) - of_label[0]);
    correct[row] = all.place == label ? weight : 0.0f;
  }
  const float inverse = 1.0f / all.sum;
  for (u32 i = threadIdx.x; i < pieces; i += THREADS) {
    float x[8];
    biased<T>(line, bias, i, x);
    UNROLL
    for (int j = 0; j < 8; ++j) {
      x[j] = weight * (exponential(x[j] - all.top) * inverse - (8 * i + j == label ? 1.0f : 0.0f));
    }
    store(line + i, pack<T>(x));
  }
}
