// AdamW (Loshchilov & Hutter 2019, algorithm 2) on fp32 weights; also writes their copy of 16 bits and, where wanted, zeroes the
// gradient. A block has a piece of a tensor, so that one launch updates all tensors.
#pragma once
#include "lane.h"

struct AdamWPiece {
  float *weight, *gradient, *exp_avg, *exp_avg_sq;
  u16 *copy;    // null: none
  u32 count;    // elements
  u32 index;    // of the factor that multiplies the gradient
  u32 decays;   // 1: weight decay, 0: none
  u32 keeps;    // 1: the gradient stays as it is, 0: it becomes 0
};

// What all elements of a piece share.
struct AdamWStep {
  float gradient_scale, keep, rate, root_correction, epsilon;
  float first, first_rest, second, second_rest; // β₁, 1 − β₁, β₂, 1 − β₂
};

// base^exponent for whole exponents.
DEVICE double power(double base, u32 exponent) {
  double result = 1.0;
  for (; exponent != 0; exponent /= 2) {
    if (exponent % 2 != 0) {
      result *= base;
    }
    base *= base;
  }
  return result;
}

DEVICE void update(const AdamWStep &step, float gradient, float &w, float &m, float &v) {
  const float g = gradient * step.gradient_scale;
  m = step.first * m + step.first_rest * g;
  v = step.second * v + step.second_rest * g * g;
  w = w * step.keep - step.rate * m / (sqrtf(v) / step.root_correction + step.epsilon);
}

DEVICE bool aligned(const void *pointer, u32 bytes) { return reinterpret_cast<u64>(pointer) % bytes == 0; }

// skipped != 0: nothing changes but the gradient.
template <typename T>
DEVICE void adamw(const AdamWPiece *pieces, const double *factors, const float *skipped, const float *num_updates,
                  const float *learning_rate, double beta1, double beta2, double epsilon, double weight_decay) {
  SHARED(AdamWStep, shared, 1);
  const AdamWPiece piece = pieces[blockIdx.x];
  const bool skips = *skipped != 0.0f;
  if (threadIdx.x == 0 && !skips) {
    const double rate = *learning_rate, correction = 1.0 - power(beta1, (u32)*num_updates);
    const double root = sqrt(1.0 - power(beta2, (u32)*num_updates)), decay = piece.decays != 0 ? weight_decay : 0.0;
    shared[0] = {(float)factors[piece.index],
                 (float)(1.0 - rate * decay),
                 (float)(rate / correction),
                 (float)root,
                 (float)epsilon,
                 (float)beta1,
                 (float)(1.0 - beta1),
                 (float)beta2,
                 (float)(1.0 - beta2)};
  }
  __syncthreads();
  const bool vectors = aligned(piece.weight, 16) && aligned(piece.gradient, 16) && aligned(piece.exp_avg, 16) &&
                       aligned(piece.exp_avg_sq, 16) && aligned(piece.copy, 8);
  // Fours first, then what is left one by one.
  const u32 whole = vectors ? piece.count / 4 * 4 : 0;
  for (u32 i = 4 * threadIdx.x; i < whole; i += 4 * blockDim.x) {
    if (!skips) {
      const AdamWStep step = shared[0];
      float w[4], g[4], m[4], v[4];
      load4(piece.weight + i, w);
      load4(piece.gradient + i, g);
      load4(piece.exp_avg + i, m);
      load4(piece.exp_avg_sq + i, v);
      UNROLL
      for (int j = 0; j < 4; ++j) {
        update(step, g[j], w[j], m[j], v[j]);
      }
      store4(piece.weight + i, w);
      store4(piece.exp_avg + i, m);
      store4(piece.exp_avg_sq + i, v);
      if (piece.copy != nullptr) {
        store_pairs(piece.copy + i, T::narrow(w[0], w[1]), T::narrow(w[2], w[3]));
      }
    }
    if (piece.keeps == 0) {
      const float zeros[4] = {};
      store4(piece.gradient + i, zeros);
    }
  }
  for (u32 i = whole + threadIdx.x; i < piece.count; i += blockDim.x) {
    if (!skips) {
      float w = piece.weight[i], m = piece.exp_avg[i], v = piece.exp_avg_sq[i];
      update(shared[0], piece.gradient[i], w, m, v);
      piece.weight[i] = w;
      piece.exp_avg[i] = m;
      piece.exp_avg_sq[i] = v;
      if (piece.copy != nullptr) {
        piece.copy[i] = (u16)T::narrow(w, 0.0f);
      }
    }
    if (piece.keeps == 0) {
      piece.gradient[i] = 0.0f;
    }
  }
}
