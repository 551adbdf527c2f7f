// Vectors of 16 lanes: GCC's and Clang's vector extension, which the compiler maps to one 512-bit register, two of 256 or
// four of 128 bits, so that each level computes the same lanes in the same order.
#pragma once

#include "kernels.h"

#include <cmath>
#include <cstring>
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

namespace untie {
namespace LEVEL {

constexpr int64_t LANES = 16;

typedef float f32x16 __attribute__((vector_size(64)));
typedef double f64x16 __attribute__((vector_size(128)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef int64_t i64x16 __attribute__((vector_size(128)));
typedef uint64_t u64x8 __attribute__((vector_size(64)));

// The vector of W, and the integers that its comparisons give.
template <typename W> struct VectorOf;
template <> struct VectorOf<float> {
  using type = f32x16;
  using mask = i32x16;
};
template <> struct VectorOf<double> {
  using type = f64x16;
  using mask = i64x16;
};
template <typename W> using Vector = typename VectorOf<W>::type;

INLINE f32x16 widen(u16x16 bits) {
  const u32x16 upper = __builtin_convertvector(bits, u32x16) << 16;
  return (f32x16)upper;
}

// Round to nearest, ties to even; NaN stays NaN. The instruction takes numbers below 1.2e-38 for 0.
INLINE u16x16 narrow(f32x16 value) {
#if defined(__AVX512BF16__)
  return (u16x16)_mm512_cvtneps_pbh((__m512)value);
#endif
  const u32x16 bits = (u32x16)value;
  const u32x16 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const u32x16 kept = (value == value) ? rounded : (u32x16{} + 0x7fc0);
  return __builtin_convertvector(kept, u16x16);
}

template <typename T> struct Memory;
template <typename W> struct PlainMemory {
  static inline __attribute__((always_inline)) Vector<W> load(const W *from, int64_t count) {
    Vector<W> value{};
    if (count >= LANES) {
      std::memcpy(&value, from, sizeof(value));
    } else {
      std::memcpy(&value, from, static_cast<size_t>(count) * sizeof(W));
    }
    return value;
  }
  static inline __attribute__((always_inline)) void store(W *to, Vector<W> value, int64_t count) {
    if (count >= LANES) {
      std::memcpy(to, &value, sizeof(value));
    } else {
      std::memcpy(to, &value, static_cast<size_t>(count) * sizeof(W));
    }
  }
};
template <> struct Memory<float> : PlainMemory<float> {};
template <> struct Memory<double> : PlainMemory<double> {};
template <> struct Memory<bf16> {
  static inline __attribute__((always_inline)) f32x16 load(const bf16 *from, int64_t count) {
    u16x16 bits{};
    if (count >= LANES) {
      std::memcpy(&bits, from, sizeof(bits));
    } else {
      std::memcpy(&bits, from, static_cast<size_t>(count) * sizeof(bf16));
    }
    return widen(bits);
  }
  static inline __attribute__((always_inline)) void store(bf16 *to, f32x16 value, int64_t count) {
    const u16x16 bits = narrow(value);
    if (count >= LANES) {
      std::memcpy(to, &bits, sizeof(bits));
    } else {
      std::memcpy(to, &bits, static_cast<size_t>(count) * sizeof(bf16));
    }
  }
};

// Up to 16 elements from `from`, 0 in lanes behind `count`.
template <typename T> INLINE Vector<Wide<T>> load(const T *from, int64_t count = LANES) {
  return Memory<T>::load(from, count);
}
template <typename T> INLINE void store(T *to, Vector<Wide<T>> value, int64_t count = LANES) {
  Memory<T>::store(to, value, count);
}

// What storing x and loading it again gives.
template <typename T> INLINE Vector<Wide<T>> rounded(Vector<Wide<T>> x) { return x; }
template <> inline __attribute__((always_inline)) f32x16 rounded<bf16>(f32x16 x) { return widen(narrow(x)); }

template <typename W> INLINE Vector<W> splat(W value) { return Vector<W>{} + value; }

// Lane by lane, halves added to halves: the same order at every level.
template <typename W> INLINE W sum(Vector<W> value) {
  W lanes[LANES];
  std::memcpy(lanes, &value, sizeof(value));
  for (int64_t half = LANES / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) {
      lanes[i] += lanes[i + half];
    }
  }
  return lanes[0];
}

template <typename V> INLINE V maximum(V a, V b) { return a > b ? a : b; }

INLINE f32x16 choose(i32x16 mask, f32x16 yes, f32x16 no) { return mask ? yes : no; }
INLINE f64x16 choose(i32x16 mask, f64x16 yes, f64x16 no) { return __builtin_convertvector(mask, i64x16) ? yes : no; }
// The mask of a comparison as one of 32-bit lanes.
INLINE i32x16 narrow_mask(i32x16 mask) { return mask; }
INLINE i32x16 narrow_mask(i64x16 mask) { return __builtin_convertvector(mask, i32x16); }

INLINE float root(float x) { return __builtin_sqrtf(x); }
INLINE double root(double x) { return __builtin_sqrt(x); }
template <typename V> INLINE V square_root(V x) {
  decltype(x[0] + x[0]) lanes[LANES];
  std::memcpy(lanes, &x, sizeof(x));
  for (auto &lane : lanes) {
    lane = root(lane);
  }
  std::memcpy(&x, lanes, sizeof(x));
  return x;
}
INLINE f32x16 logarithm(f32x16 x) {
  for (int64_t i = 0; i < LANES; ++i) {
    x[i] = __builtin_logf(x[i]);
  }
  return x;
}
INLINE f64x16 logarithm(f64x16 x) {
  for (int64_t i = 0; i < LANES; ++i) {
    x[i] = __builtin_log(x[i]);
  }
  return x;
}

// e^x. x = n·ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial fitted on that interval (relative error 2e-9). Below -87.3
// the result is 0 (a float would be denormal); the caller keeps x below 88.
INLINE f32x16 exponential(f32x16 x) {
  const f32x16 clamped = maximum(splat(-87.3f), x); // in this order NaN stays NaN
  const f32x16 shifted = clamped * 1.44269504f + 12582912.0f; // 1.5·2^23: the integer is in the low bits
  const f32x16 n = shifted - 12582912.0f;
  f32x16 r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  f32x16 y = r * 1.383684286e-3f + 8.374815787e-3f;
  y = y * r + 4.166822563e-2f;
  y = y * r + 1.666642017e-1f;
  y = y * r + 4.999999208e-1f;
  y = y * r + 1.000000036f;
  y = y * r + 1.000000001f;
  const i32x16 power = (__builtin_convertvector(n, i32x16) + 127) << 23;
  const f32x16 result = y * (f32x16)power;
  return x < -87.3f ? f32x16{} : result;
}
INLINE f64x16 exponential(f64x16 x) {
  for (int64_t i = 0; i < LANES; ++i) {
    x[i] = __builtin_exp(x[i]);
  }
  return x;
}

// Φ(x), the normal distribution function, and φ(x), its density. Φ(-z)·e^(z²/2) for z >= 0 is a polynomial in
// 1/(1 + 0.27·z) without constant term, the form of Abramowitz & Stegun 26.2.17, fitted to a relative error of 2e-8.
INLINE void normal(f32x16 x, f32x16 &distribution, f32x16 &density) {
  const f32x16 z = x < 0.0f ? -x : x;
  const f32x16 t = 1.0f / (1.0f + 0.27f * z);
  f32x16 y = t * 2.891536601e-2f - 1.262557073e-1f;
  y = y * t + 1.692923104e-1f;
  y = y * t - 6.862199814e-2f;
  y = y * t + 1.074001235e-1f;
  y = y * t + 7.224000190e-2f;
  y = y * t + 1.017592373e-1f;
  y = y * t + 1.075504966e-1f;
  y = y * t + 1.077201816e-1f;
  const f32x16 power = exponential(-0.5f * z * z);
  const f32x16 tail = y * t * power;
  density = 0.39894228f * power;
  distribution = x < 0.0f ? tail : 1.0f - tail;
}
INLINE void normal(f64x16 x, f64x16 &distribution, f64x16 &density) {
  for (int64_t i = 0; i < LANES; ++i) {
    distribution[i] = 0.5 * __builtin_erfc(-x[i] * 0.70710678118654752440);
    density[i] = 0.39894228040143267794 * __builtin_exp(-0.5 * x[i] * x[i]);
  }
}

} // namespace LEVEL
} // namespace untie
