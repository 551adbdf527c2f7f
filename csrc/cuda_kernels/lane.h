// What the kernels need of their compiler: element types, loads and stores of 16 bytes, sums over a warp. The same text is compiled
// by NVRTC for a GPU (sm_80 and newer) and by the host's compiler over tests/cuda_kernels/emulate.h. No header of CUDA is read.
#pragma once

#if defined(__CUDACC__)
#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define SHARED(type, name, count) __shared__ type name[count]
#else
#include "emulate.h"
#endif

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr u32 ALL_LANES = 0xffffffffu;

// Eight elements of 16 bits: what a lane loads and stores at a time.
struct alignas(16) Eight {
  u32 pair[4];
};

DEVICE float from_bits(u32 bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return emulated::bits_as<float>(bits);
#endif
}
DEVICE u32 to_bits(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  return emulated::bits_as<u32>(value);
#endif
}

// The element types. `narrow` makes a pair, its first element in the low half: round to nearest, ties to even.
struct bf16 {
  static DEVICE u32 narrow(float low, float high) {
#if defined(__CUDA_ARCH__)
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return emulated::bf16_of(low) | emulated::bf16_of(high) << 16;
#endif
  }
  static DEVICE float low(u32 pair) { return from_bits(pair << 16); }
  static DEVICE float high(u32 pair) { return from_bits(pair & 0xffff0000u); }
};

struct fp16 {
  static DEVICE u32 narrow(float low, float high) {
#if defined(__CUDA_ARCH__)
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return emulated::fp16_of(low) | emulated::fp16_of(high) << 16;
#endif
  }
  static DEVICE float low(u32 pair) { return widened((u16)(pair & 0xffff)); }
  static DEVICE float high(u32 pair) { return widened((u16)(pair >> 16)); }

private:
  static DEVICE float widened(u16 bits) {
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    return emulated::of_fp16(bits);
#endif
  }
};

template <typename T> DEVICE void widen(const Eight &packed, float values[8]) {
  UNROLL
  for (int k = 0; k < 4; ++k) {
    values[2 * k] = T::low(packed.pair[k]);
    values[2 * k + 1] = T::high(packed.pair[k]);
  }
}
template <typename T> DEVICE Eight pack(const float values[8]) {
  Eight packed;
  UNROLL
  for (int k = 0; k < 4; ++k) {
    packed.pair[k] = T::narrow(values[2 * k], values[2 * k + 1]);
  }
  return packed;
}

// One instruction each; left to itself, the compiler splits most 16-byte accesses. They keep their order: a lane may load what
// it stored.
DEVICE Eight load(const Eight *from) {
  Eight v;
#if defined(__CUDA_ARCH__)
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.pair[0]), "=r"(v.pair[1]), "=r"(v.pair[2]), "=r"(v.pair[3])
               : "l"(from)
               : "memory");
#else
  emulated::copy<16>(&v, from, from);
#endif
  return v;
}
DEVICE void store(Eight *to, const Eight &v) {
#if defined(__CUDA_ARCH__)
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.pair[0]), "r"(v.pair[1]), "r"(v.pair[2]), "r"(v.pair[3])
               : "memory");
#else
  emulated::copy<16>(to, &v, to);
#endif
}

// Four fp32 the same way, and eight as two loads or stores.
DEVICE void load4(const float *from, float out[4]) {
  const Eight v = load(reinterpret_cast<const Eight *>(from));
  UNROLL
  for (int j = 0; j < 4; ++j) {
    out[j] = from_bits(v.pair[j]);
  }
}
DEVICE void store4(float *to, const float from[4]) {
  store(reinterpret_cast<Eight *>(to), Eight{{to_bits(from[0]), to_bits(from[1]), to_bits(from[2]), to_bits(from[3])}});
}
DEVICE void load8(const float *from, float out[8]) {
  load4(from, out);
  load4(from + 4, out + 4);
}
DEVICE void store8(float *to, const float from[8]) {
  store4(to, from);
  store4(to + 4, from + 4);
}

// Four elements of 16 bits, 8 bytes.
DEVICE void store_pairs(u16 *to, u32 first, u32 second) {
#if defined(__CUDA_ARCH__)
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(first), "r"(second) : "memory");
#else
  const u32 pairs[2] = {first, second};
  emulated::copy<8>(to, pairs, to);
#endif
}

// a·b rounded by itself: the compiler makes no fused multiply-add of it.
DEVICE float product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

// One instruction each, within two units in the last place; denormal numbers are 0.
DEVICE float reciprocal(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}
DEVICE float power_of_two(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

// The sum over the 32 lanes, the same in all of them.
DEVICE float sum_of_warp(float value) {
  UNROLL
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(ALL_LANES, value, distance);
  }
  return value;
}
