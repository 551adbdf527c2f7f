// Loads, stores and functions of vectors of 16 lanes (lanes.h).
#pragma once

#include "lanes.h"

namespace untie {
namespace LEVEL {

template <typename W> using Vector = Lanes<W>;

INLINE f32x16 widen(u16x16 bits) {
  return bits_of<float>(convert<uint32_t>(bits) << 16);
}

// Round to nearest, ties to even; NaN stays NaN. The instruction takes numbers below 1.2e-38 for 0.
INLINE u16x16 narrow(f32x16 value) {
#if defined(__AVX512BF16__)
  return {{(u16x16::Part)_mm512_cvtneps_pbh((__m512)value.part[0])}};
#endif
  const u32x16 bits = bits_of<uint32_t>(value);
  const u32x16 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return convert<uint16_t>(choose(value == value, rounded, u32x16::all(0x7fc0)));
}

// What is loaded and stored of a T is a vector of its `Wide`.
template <typename T> struct Memory {
  INLINE Vector<T> load(const T *from, int64_t count) { return read<T>(from, count); }
  INLINE void store(T *to, Vector<T> value, int64_t count) { write(to, value, count); }
};
template <> struct Memory<bf16> {
  INLINE f32x16 load(const bf16 *from, int64_t count) { return widen(read<uint16_t>(from, count)); }
  INLINE void store(bf16 *to, f32x16 value, int64_t count) { write(to, narrow(value), count); }
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

template <typename W> INLINE Vector<W> splat(W value) { return Vector<W>::all(value); }

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

template <typename V> INLINE V maximum(V a, V b) { return choose(a > b, a, b); }

// The mask of a comparison as one of 32-bit lanes.
INLINE i32x16 narrow_mask(i32x16 mask) { return mask; }
INLINE i32x16 narrow_mask(i64x16 mask) { return convert<int32_t>(mask); }

INLINE float root(float x) { return __builtin_sqrtf(x); }
INLINE double root(double x) { return __builtin_sqrt(x); }
template <typename V> INLINE V square_root(V x) {
  return each(x, [](auto lane) { return root(lane); });
}
INLINE f32x16 logarithm(f32x16 x) {
  return each(x, [](float lane) { return __builtin_logf(lane); });
}
INLINE f64x16 logarithm(f64x16 x) {
  return each(x, [](double lane) { return __builtin_log(lane); });
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
  const f32x16 power = bits_of<float>((convert<int32_t>(n) + 127) << 23);
  return choose(x < -87.3f, f32x16{}, y * power);
}
INLINE f64x16 exponential(f64x16 x) {
  return each(x, [](double lane) { return __builtin_exp(lane); });
}

// Φ(x), the normal distribution function, and φ(x), its density. Φ(-z)·e^(z²/2) for z >= 0 is a polynomial in
// 1/(1 + 0.27·z) without constant term, the form of Abramowitz & Stegun 26.2.17, fitted to a relative error of 2e-8.
INLINE void normal(f32x16 x, f32x16 &distribution, f32x16 &density) {
  const f32x16 z = choose(x < 0.0f, -x, x);
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
  distribution = choose(x < 0.0f, tail, 1.0f - tail);
}
INLINE void normal(f64x16 x, f64x16 &distribution, f64x16 &density) {
  distribution = each(x, [](double lane) { return 0.5 * __builtin_erfc(-lane * 0.70710678118654752440); });
  density = each(x, [](double lane) { return 0.39894228040143267794 * __builtin_exp(-0.5 * lane * lane); });
}

} // namespace LEVEL
} // namespace untie
