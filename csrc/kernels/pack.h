// Layouts of a product's operands. The right operand B [K, N] of a bfloat16 product has its rows in pairs, as AMX and
// AVX512-BF16 read them: element (k, n) at [k / 2][n][k % 2], an odd last row paired with zeros; a float's stays [k][n].
#pragma once

#include "vector.h"

namespace untie {
namespace LEVEL {

// A transposition of PART registers of PART lanes: in stage s, registers i and i + s exchange the lanes whose numbers differ
// from theirs in bit s.
template <int S> INLINE void exchange(u32x16::Part rows[PART]) {
  u32x16::Part upper{}, lower{};
  for (uint32_t lane = 0; lane < PART; ++lane) {
    upper[lane] = (lane & S) != 0 ? PART + lane - S : lane;
    lower[lane] = (lane & S) != 0 ? PART + lane : lane + S;
  }
  for (int i = 0; i < PART; ++i) {
    if ((i & S) == 0) {
      const u32x16::Part a = rows[i], b = rows[i + S];
      rows[i] = __builtin_shuffle(a, b, upper);
      rows[i + S] = __builtin_shuffle(a, b, lower);
    }
  }
}

INLINE void transpose_square(u32x16::Part rows[PART]) {
  if constexpr (PART > 8) {
    exchange<8>(rows);
  }
  if constexpr (PART > 4) {
    exchange<4>(rows);
  }
  exchange<2>(rows);
  exchange<1>(rows);
}

// The same of 16 vectors, square by square.
INLINE void transpose16(u32x16 rows[16]) {
  u32x16 turned[16];
  for (int64_t down = 0; down < PARTS; ++down) {
    for (int64_t across = 0; across < PARTS; ++across) {
      u32x16::Part square[PART];
      for (int64_t i = 0; i < PART; ++i) {
        square[i] = rows[down * PART + i].part[across];
      }
      transpose_square(square);
      for (int64_t i = 0; i < PART; ++i) {
        turned[across * PART + i].part[down] = square[i];
      }
    }
  }
  for (int i = 0; i < 16; ++i) {
    rows[i] = turned[i];
  }
}

INLINE u32x16 load_halves(const bf16 *from, int64_t count) { return convert<uint32_t>(read<uint16_t>(from, count)); }
INLINE int64_t at_most(int64_t count) { return count < LANES ? count : LANES; }

// One register of words, 0 behind `count`.
INLINE u32x16::Part load_part(const char *from, int64_t count) {
  u32x16::Part value{};
  if (count >= PART) {
    std::memcpy(&value, from, sizeof(value));
  } else {
    std::memcpy(&value, from, static_cast<size_t>(count) * 4);
  }
  return value;
}
INLINE void store_part(char *to, u32x16::Part value, int64_t count) {
  if (count >= PART) {
    std::memcpy(to, &value, sizeof(value));
  } else {
    std::memcpy(to, &value, static_cast<size_t>(count) * 4);
  }
}

// At most PART rows of PART words; of constant sizes everything stays in registers.
INLINE void turn_square(int64_t height, int64_t columns, const char *from, int64_t stride, char *to, int64_t to_stride) {
  u32x16::Part square[PART] = {};
  for (int64_t k = 0; k < height; ++k) {
    square[k] = load_part(from + 4 * k * stride, columns);
  }
  transpose_square(square);
  for (int64_t k = 0; k < columns; ++k) {
    store_part(to + 4 * k * to_stride, square[k], height);
  }
}

// from [rows, width] of 32-bit words to its transpose.
INLINE void transpose_words(int64_t rows, int64_t width, const char *from, int64_t stride, char *to, int64_t to_stride) {
  for (int64_t i = 0; i < rows; i += PART) {
    const int64_t height = rows - i < PART ? rows - i : PART;
    for (int64_t j = 0; j < width; j += PART) {
      const int64_t columns = width - j < PART ? width - j : PART;
      const char *source = from + 4 * (i * stride + j);
      char *target = to + 4 * (j * to_stride + i);
      if (height == PART && columns == PART) {
        turn_square(PART, PART, source, stride, target, to_stride);
      } else {
        turn_square(height, columns, source, stride, target, to_stride);
      }
    }
  }
}

// B = from [K, N]: rows in pairs.
template <typename T> struct Pack {
  static void rows(int64_t rows, int64_t width, const T *from, int64_t stride, T *to, int64_t to_width) {
    for (int64_t i = 0; i < rows; ++i) {
      std::memcpy(to + i * to_width, from + i * stride, static_cast<size_t>(width) * sizeof(T));
    }
  }
  // B = the transpose of from [N, K].
  static void columns(int64_t rows, int64_t width, const T *from, int64_t stride, T *to, int64_t to_width) {
    transpose(rows, width, from, stride, to, to_width);
  }
  static void transpose(int64_t rows, int64_t width, const T *from, int64_t stride, T *to, int64_t to_stride) {
    if (sizeof(T) == 4) {
      transpose_words(rows, width, (const char *)from, stride, (char *)to, to_stride);
      return;
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < width; ++j) {
        to[j * to_stride + i] = from[i * stride + j];
      }
    }
  }
};

template <> struct Pack<bf16> {
  static void rows(int64_t rows, int64_t width, const bf16 *from, int64_t stride, bf16 *to, int64_t to_width) {
    for (int64_t i = 0; i < rows; i += 2) {
      const bool paired = i + 1 < rows;
      for (int64_t j = 0; j < width; j += LANES) {
        const int64_t count = at_most(width - j);
        const u32x16 first = load_halves(from + i * stride + j, count);
        const u32x16 second = paired ? load_halves(from + (i + 1) * stride + j, count) : u32x16{};
        write(to + i * to_width + 2 * j, first | (second << 16), count);
      }
    }
  }
  // An even number of columns: neighbours in a row stay neighbours, as one 32-bit word.
  static void columns(int64_t rows, int64_t width, const bf16 *from, int64_t stride, bf16 *to, int64_t to_width) {
    for (int64_t i = 0; i < rows; i += LANES) {
      const int64_t height = at_most(rows - i);
      for (int64_t j = 0; j < width / 2; j += LANES) {
        const int64_t columns = at_most(width / 2 - j);
        u32x16 tile[16] = {};
        for (int64_t k = 0; k < height; ++k) {
          tile[k] = read<uint32_t>(from + (i + k) * stride + 2 * j, columns);
        }
        transpose16(tile);
        for (int64_t k = 0; k < columns; ++k) {
          write(to + 2 * ((j + k) * to_width + i), tile[k], height);
        }
      }
    }
  }
  // Pairs of rows become words, and the words are transposed. `to` has an even number of columns, those behind `rows` are
  // zeros.
  static void transpose(int64_t rows, int64_t width, const bf16 *from, int64_t stride, bf16 *to, int64_t to_stride) {
    for (int64_t i = 0; i < rows; i += 2 * LANES) {
      const int64_t pairs = at_most((rows - i + 1) / 2);
      for (int64_t j = 0; j < width; j += LANES) {
        const int64_t columns = at_most(width - j);
        u32x16 tile[16] = {};
        for (int64_t k = 0; k < pairs; ++k) {
          const bf16 *row = from + (i + 2 * k) * stride + j;
          tile[k] = load_halves(row, columns);
          if (i + 2 * k + 1 < rows) {
            tile[k] |= load_halves(row + stride, columns) << 16;
          }
        }
        transpose16(tile);
        for (int64_t k = 0; k < columns; ++k) {
          write(to + (j + k) * to_stride + i, tile[k], pairs);
        }
      }
    }
  }
};

// Two rows of B as the functions above lay them out, from vectors: elements (k, j..j+16) and (k + 1, j..j+16), k even, of which
// the first is at `packed`.
template <typename T>
INLINE void store_pair(T *packed, int64_t to_next_row, Vector<Wide<T>> first, Vector<Wide<T>> second, int64_t count,
                       bool both) {
  store(packed, first, count);
  if (both) {
    store(packed + to_next_row, second, count);
  }
}
template <>
inline __attribute__((always_inline)) void store_pair<bf16>(bf16 *packed, int64_t, f32x16 first, f32x16 second,
                                                            int64_t count, bool) {
  const u32x16 low = convert<uint32_t>(narrow(first)), high = convert<uint32_t>(narrow(second));
  write(packed, low | (high << 16), count);
}

template <typename T>
void narrow_tile(int64_t rows, int64_t width, const Wide<T> *wide, int64_t wide_stride, T *out, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; j += LANES) {
      store(out + i * stride + j, load(wide + i * wide_stride + j, width - j), width - j);
    }
  }
}

template <typename T> void widen_tile(int64_t size, const T *x, Wide<T> *out) {
  for (int64_t i = 0; i < size; i += LANES) {
    store(out + i, load(x + i, size - i), size - i);
  }
}

template <typename T>
void add_bias(int64_t rows, int64_t width, const Wide<T> *wide, const Wide<T> *bias, T *out, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j;
      store(out + i * stride + j, load(wide + i * width + j, count) + load(bias + j, count), count);
    }
  }
}

template <typename T>
void accumulate(int64_t rows, int64_t width, const Wide<T> *wide, Wide<T> *sum, Wide<T> *copy, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t count = width - j, at = i * stride + j;
      const auto value = load(wide + i * width + j, count);
      store(sum + at, load(sum + at, count) + value, count);
      if (copy != nullptr) {
        store(copy + at, load(copy + at, count) + value, count);
      }
    }
  }
}

template <typename T>
void accumulate_transposed(int64_t rows, int64_t width, const Wide<T> *wide, Wide<T> *sum, Wide<T> *copy, int64_t stride) {
  using W = Wide<T>;
  for (int64_t i = 0; i < rows; i += LANES) {
    const int64_t height = at_most(rows - i);
    for (int64_t j = 0; j < width; j += LANES) {
      const int64_t columns = at_most(width - j);
      W turned[LANES * LANES];
      Pack<W>::transpose(height, columns, wide + i * width + j, width, turned, LANES);
      for (int64_t k = 0; k < columns; ++k) {
        const int64_t at = (j + k) * stride + i;
        const auto value = load(turned + k * LANES, height);
        store(sum + at, load(sum + at, height) + value, height);
        if (copy != nullptr) {
          store(copy + at, load(copy + at, height) + value, height);
        }
      }
    }
  }
}

template <typename T> void column_sums(int64_t rows, int64_t width, const T *x, Wide<T> *sum) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; j += LANES) {
      store(sum + j, load(sum + j, width - j) + load(x + i * width + j, width - j), width - j);
    }
  }
}

} // namespace LEVEL
} // namespace untie
