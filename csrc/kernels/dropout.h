// Random bits from a counter: Philox4x32-10 (Salmon et al. 2011), 16 counters at a time.
//
// A group of 128 neighbouring elements of a row takes 16 counters of four words, and an element 16 bits: element 16·k + lane
// has half k % 2 of word k / 2 of the lane's counter. Counter (16·group + lane, site, 0, 0), key the sequence's.
#pragma once

#include "vector.h"

namespace untie {
namespace LEVEL {

constexpr int64_t GROUP = 128;

// The upper and lower words of m·x, lane by lane.
INLINE void multiply(u32x16 x, uint32_t m, u32x16 &high, u32x16 &low) {
  typedef uint64_t Pairs __attribute__((vector_size(4 * PART)));
  const auto times_m = [m](Pairs lanes) {
#if defined(__AVX512F__)
    return (Pairs)_mm512_mul_epu32((__m512i)lanes, _mm512_set1_epi64(m));
#elif defined(__AVX2__)
    return (Pairs)_mm256_mul_epu32((__m256i)lanes, _mm256_set1_epi64x(m));
#elif defined(__SSE2__)
    return (Pairs)_mm_mul_epu32((__m128i)lanes, _mm_set1_epi64x(m));
#else
    return (lanes & 0xffffffffu) * m;
#endif
  };
  const Pairs lower = Pairs{} + 0xffffffffu;
  for (int64_t p = 0; p < PARTS; ++p) {
    const Pairs pairs = (Pairs)x.part[p], even = times_m(pairs), odd = times_m(pairs >> 32);
    low.part[p] = (u32x16::Part)((even & lower) | (odd << 32));
    high.part[p] = (u32x16::Part)((even >> 32) | (odd & ~lower));
  }
}

// The 16 random bits of each element of group `group`, as eight vectors.
INLINE void random_bits(uint64_t key, uint32_t site, uint32_t group, u32x16 bits[8]) {
  constexpr uint32_t numbers[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  u32x16 lanes;
  std::memcpy(&lanes, numbers, sizeof(lanes));
  u32x16 c0 = lanes + 16 * group, c1 = u32x16::all(site), c2{}, c3{};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    u32x16 high0, low0, high1, low1;
    multiply(c0, 0xD2511F53u, high0, low0);
    multiply(c2, 0xCD9E8D57u, high1, low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const u32x16 words[4] = {c0, c1, c2, c3};
  for (int word = 0; word < 4; ++word) {
    bits[2 * word] = words[word] & 0xffff;
    bits[2 * word + 1] = words[word] >> 16;
  }
}

template <typename V> INLINE V keep(V x, u32x16 bits, uint32_t threshold) { return choose(bits < threshold, V{}, x); }

// The factors (0 or scale) of row `row` of a batch, applied as `use(j, count, factor)` to its elements j..j+count, 16 at a time.
template <typename W, typename Use>
INLINE void dropped_row(const Dropout &dropout, int64_t row, int64_t width, Use use) {
  const bool drops = dropout.threshold != 0;
  const int64_t sequence = drops ? row / dropout.rows_of_a_key : 0;
  const uint64_t key = drops ? static_cast<uint64_t>(dropout.keys[sequence]) : 0;
  const auto place = static_cast<uint32_t>(row - sequence * dropout.rows_of_a_key);
  const auto groups = static_cast<uint32_t>((width + GROUP - 1) / GROUP);
  const Vector<W> scale = splat(static_cast<W>(drops ? dropout.scale : 1.0));
  for (int64_t start = 0; start < width; start += GROUP) {
    u32x16 bits[8];
    if (drops) {
      random_bits(key, dropout.site, place * groups + static_cast<uint32_t>(start / GROUP), bits);
    }
    const int64_t end = start + GROUP < width ? start + GROUP : width;
    for (int64_t j = start, k = 0; j < end; j += LANES, ++k) {
      const Vector<W> factor = drops ? keep(scale, bits[k], dropout.threshold) : scale;
      use(j, end - j < LANES ? end - j : LANES, factor);
    }
  }
}

} // namespace LEVEL
} // namespace untie
