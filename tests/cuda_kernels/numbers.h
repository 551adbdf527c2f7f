// bfloat16 and IEEE half precision from and to fp32, for the host: round to nearest, ties to even, as a GPU's cvt.rn does it. NaN
// becomes 0x7fff.
#pragma once

#include <cstdint>
#include <cstring>

namespace emulated {

template <typename To, typename From> inline To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From), "bits keep their size");
  To result;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}

inline uint32_t bf16_of(float value) {
  const auto bits = bits_as<uint32_t>(value);
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

inline uint32_t fp16_of(float value) {
  const auto bits = bits_as<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return 0x7fffu;
  }
  if (magnitude >= 0x477ff000u) { // from 65520 on: infinity
    return sign | 0x7c00u;
  }
  if (magnitude < 0x38800000u) { // below 2^-14: multiples of 2^-24, which are the last bits of numbers in [0.5, 1)
    return sign | (bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - 0x3f000000u);
  }
  return sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13;
}

inline float of_bf16(uint32_t bits) { return bits_as<float>(bits << 16); }

inline float of_fp16(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude < 0x400u) { // multiples of 2^-24
    const float value = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
    return sign != 0 ? -value : value;
  }
  return bits_as<float>(sign | ((magnitude << 13) + (magnitude < 0x7c00u ? 0x38000000u : 0x70000000u)));
}

} // namespace emulated
