// Vectors of 16 lanes as registers: one of 512 bits, two of 256 or four of 128 (SSE2, NEON), as the level has them. Each level computes
// the same lanes in the same order.
//
// A register is GCC's and Clang's vector extension. The compiler takes a vector that is wider than its registers apart lane by
// lane where it compares, chooses, converts or shuffles. So the vectors of float and of 32-bit integers fill one register each. Those
// of double and of 64-bit integers are two registers wide and slower: fp64 is for tests.
#pragma once

#include "kernels.h"

#include <cmath>
#include <cstring>
#include <type_traits>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define FRIEND friend inline __attribute__((always_inline))

namespace untie {
namespace LEVEL {

constexpr int64_t LANES = 16;
// 32-bit lanes of a register.
#if defined(__AVX512F__)
constexpr int64_t PART = 16;
#elif defined(__AVX2__)
constexpr int64_t PART = 8;
#else
constexpr int64_t PART = 4;
#endif
constexpr int64_t PARTS = LANES / PART;

// PART lanes of E.
template <typename E> struct PartOf {
  typedef E type __attribute__((vector_size(PART * sizeof(E))));
};
// An E whose type says nothing about which template is meant: literals of other types become E.
template <typename E> struct SameAs {
  using type = E;
};

template <typename E> struct Lanes {
  using Part = typename PartOf<E>::type;
  // What comparing gives: all bits of a lane, or none.
  using Truth = Lanes<std::conditional_t<sizeof(E) == 8, int64_t, int32_t>>;
  using Scalar = typename SameAs<E>::type;
  Part part[PARTS];

#define UNTIE_BINARY(sign)                                                                                              \
  FRIEND Lanes operator sign(const Lanes &a, const Lanes &b) {                                                          \
    Lanes out;                                                                                                          \
    for (int64_t p = 0; p < PARTS; ++p) {                                                                               \
      out.part[p] = a.part[p] sign b.part[p];                                                                           \
    }                                                                                                                   \
    return out;                                                                                                         \
  }                                                                                                                     \
  FRIEND Lanes operator sign(const Lanes &a, Scalar b) { return a sign all(b); }                                        \
  FRIEND Lanes operator sign(Scalar a, const Lanes &b) { return all(a) sign b; }                                        \
  FRIEND Lanes &operator sign##=(Lanes & a, const Lanes & b) { return a = a sign b; }
  UNTIE_BINARY(+)
  UNTIE_BINARY(-)
  UNTIE_BINARY(*)
  UNTIE_BINARY(/)
  UNTIE_BINARY(&)
  UNTIE_BINARY(|)
  UNTIE_BINARY(^)
#undef UNTIE_BINARY

#define UNTIE_COMPARISON(sign)                                                                                          \
  FRIEND Truth operator sign(const Lanes &a, const Lanes &b) {                                                          \
    Truth out;                                                                                                          \
    for (int64_t p = 0; p < PARTS; ++p) {                                                                               \
      out.part[p] = (typename Truth::Part)(a.part[p] sign b.part[p]);                                                   \
    }                                                                                                                   \
    return out;                                                                                                         \
  }                                                                                                                     \
  FRIEND Truth operator sign(const Lanes &a, Scalar b) { return a sign all(b); }
  UNTIE_COMPARISON(<)
  UNTIE_COMPARISON(>)
  UNTIE_COMPARISON(==)
#undef UNTIE_COMPARISON

  FRIEND Lanes operator<<(const Lanes &a, int count) {
    Lanes out;
    for (int64_t p = 0; p < PARTS; ++p) {
      out.part[p] = a.part[p] << count;
    }
    return out;
  }
  FRIEND Lanes operator>>(const Lanes &a, int count) {
    Lanes out;
    for (int64_t p = 0; p < PARTS; ++p) {
      out.part[p] = a.part[p] >> count;
    }
    return out;
  }
  FRIEND Lanes operator-(const Lanes &a) {
    Lanes out;
    for (int64_t p = 0; p < PARTS; ++p) {
      out.part[p] = -a.part[p];
    }
    return out;
  }

  INLINE Lanes all(E value) {
    Lanes out;
    for (int64_t p = 0; p < PARTS; ++p) {
      out.part[p] = Part{} + value;
    }
    return out;
  }
};

using f32x16 = Lanes<float>;
using f64x16 = Lanes<double>;
using i32x16 = Lanes<int32_t>;
using u32x16 = Lanes<uint32_t>;
using u16x16 = Lanes<uint16_t>;
using i64x16 = Lanes<int64_t>;

// 16 elements in memory, register by register: a copy of all 64 bytes at once goes through smaller registers and the stack.
template <typename E> INLINE Lanes<E> read(const void *from) {
  Lanes<E> out;
  for (int64_t p = 0; p < PARTS; ++p) {
    std::memcpy(&out.part[p], static_cast<const char *>(from) + p * sizeof(out.part[p]), sizeof(out.part[p]));
  }
  return out;
}
template <typename E> INLINE void write(void *to, const Lanes<E> &x) {
  for (int64_t p = 0; p < PARTS; ++p) {
    std::memcpy(static_cast<char *>(to) + p * sizeof(x.part[p]), &x.part[p], sizeof(x.part[p]));
  }
}

// The first `count` of them, 0 behind. Whole vectors by a copy of constant size: one of a size known only at run time is a loop over
// bytes and words, even where it is always the same.
template <typename E> INLINE Lanes<E> read(const void *from, int64_t count) {
  if (count >= LANES) {
    return read<E>(from);
  }
  Lanes<E> out{};
  std::memcpy(&out, from, static_cast<size_t>(count) * sizeof(E));
  return out;
}
template <typename E> INLINE void write(void *to, const Lanes<E> &x, int64_t count) {
  if (count >= LANES) {
    write(to, x);
  } else {
    std::memcpy(to, &x, static_cast<size_t>(count) * sizeof(E));
  }
}

// Each lane as the nearest value of another type.
template <typename To, typename From> INLINE Lanes<To> convert(const Lanes<From> &x) {
  Lanes<To> out;
  for (int64_t p = 0; p < PARTS; ++p) {
    out.part[p] = __builtin_convertvector(x.part[p], typename Lanes<To>::Part);
  }
  return out;
}

// The same bits as another type of the same size.
template <typename To, typename From> INLINE Lanes<To> bits_of(const Lanes<From> &x) {
  static_assert(sizeof(To) == sizeof(From), "lanes keep their size");
  Lanes<To> out;
  for (int64_t p = 0; p < PARTS; ++p) {
    out.part[p] = (typename Lanes<To>::Part)x.part[p];
  }
  return out;
}

// Lane by lane `yes` or `no`.
template <typename E> INLINE Lanes<E> choose(const typename Lanes<E>::Truth &mask, const Lanes<E> &yes, const Lanes<E> &no) {
  Lanes<E> out;
  for (int64_t p = 0; p < PARTS; ++p) {
    out.part[p] = mask.part[p] ? yes.part[p] : no.part[p];
  }
  return out;
}
INLINE f64x16 choose(const i32x16 &mask, const f64x16 &yes, const f64x16 &no) {
  return choose(convert<int64_t>(mask), yes, no);
}

// `function` of each lane: what no instruction does.
template <typename E, typename Function> INLINE Lanes<E> each(const Lanes<E> &x, Function function) {
  E lanes[LANES];
  std::memcpy(lanes, &x, sizeof(x));
  for (auto &lane : lanes) {
    lane = function(lane);
  }
  Lanes<E> out;
  std::memcpy(&out, lanes, sizeof(out));
  return out;
}

// x with 0 in the lanes from `count` on.
template <typename E> INLINE Lanes<E> cleared_from(const Lanes<E> &x, int64_t count) {
  E lanes[LANES];
  std::memcpy(lanes, &x, sizeof(x));
  for (int64_t lane = count; lane < LANES; ++lane) {
    lanes[lane] = 0;
  }
  Lanes<E> out;
  std::memcpy(&out, lanes, sizeof(out));
  return out;
}

} // namespace LEVEL
} // namespace untie
