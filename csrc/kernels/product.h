// Matrix products of double at every level, and of float at the levels without AVX-512, for which libtorch's brgemm has no
// tiles: C (+)= A·B.
//
// The loops of Goto & van de Geijn (2008) around one tile of C in registers: 6 rows of A times two vectors of B's columns, 12
// sums of the 16 registers that AVX2 (and SSE2) has. B comes in panels of 16 columns, whose rows lie one behind the other; DEPTH
// rows of a panel stay in the first-level cache. A B that is stored by rows is copied into panels: its own columns are a power of
// two apart, which maps them to few cache sets.
#pragma once

#include "vector.h"

namespace untie {
namespace LEVEL {

constexpr int64_t REGISTER_BYTES = 4 * PART;

template <typename W> struct RegisterOf {
  typedef W type __attribute__((vector_size(REGISTER_BYTES)));
};

template <typename W> class Product {
  using Register = typename RegisterOf<W>::type;
  static constexpr int64_t SIZE = REGISTER_BYTES / sizeof(W), ROWS = 6, COLUMNS = 2 * SIZE;
  static constexpr int64_t DEPTH = 16384 / (LANES * sizeof(W)); // of a panel: 16 KiB, half of the first-level cache
  static constexpr int64_t PANELS = 4;                          // copied at once, so that B is read in one stream
  static_assert(PANEL == LANES && PANEL % SIZE == 0, "a panel's row is a vector");

public:
  // c [m, n] (+)= a [m, k] · b [k, n]; lda, ldb, ldc: elements from row to row. Column j of b starts at
  // j / 16 · panel + j % 16: with panel = 16 its rows are whole, with ldb = 16 it is in panels.
  static void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t panel, int64_t ldc, bool add,
                       const W *a, const W *b, W *c) {
    alignas(64) W copied[PANELS * DEPTH * LANES];
    for (int64_t first = 0; first < k; first += DEPTH) {
      const int64_t depth = smaller(DEPTH, k - first);
      for (int64_t column = 0; column < n; column += LANES) {
        const W *from = b + first * ldb + column / LANES * panel, *next;
        if (ldb == LANES) {
          next = next_panel(n, k, first, column, panel, b);
        } else {
          const int64_t place = column / LANES % PANELS;
          if (place == 0) {
            copy_panels(depth, smaller(n - column, PANELS * LANES), from, ldb, copied);
          }
          from = copied + place * depth * LANES;
          next = from + depth * LANES;
        }
        for (int64_t row = 0; row < m;) {
          // No strip of one or two rows behind strips of six, if possible: it takes as long as one of four.
          const int64_t left = m - row, rows = left == 7 || left == 8 ? 4 : smaller(ROWS, left);
          for (int64_t l = 2 * row; l < 2 * (row + rows) && l < DEPTH; ++l) {
            __builtin_prefetch(next + l * LANES, 0, 2); // a part at each strip
          }
          strip(rows, smaller(LANES, n - column), depth, a + row * lda + first, lda, from, c + row * ldc + column, ldc,
                add || first > 0);
          row += rows;
        }
      }
    }
  }

private:
  static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

  // The panel that is read after the one at (first, column): of the same rows of b, of the next ones, or of the next columns.
  static const W *next_panel(int64_t n, int64_t k, int64_t first, int64_t column, int64_t panel, const W *b) {
    if (column + LANES < n) {
      return b + first * LANES + (column / LANES + 1) * panel;
    }
    return first + DEPTH < k ? b + (first + DEPTH) * LANES : b + (n + LANES - 1) / LANES * panel;
  }

  // Rows by rows into panels one behind the other, each [depth, 16]; columns that are not there are 0.
  static void copy_panels(int64_t depth, int64_t width, const W *from, int64_t stride, W *to) {
    for (int64_t i = 0; i < depth; ++i, from += stride) {
      for (int64_t column = 0; column < width; column += LANES) {
        write(to + column * depth + i * LANES, read<W>(from + column, width - column));
      }
    }
  }

  // A panel's columns, as many at a time as two registers hold.
  static void strip(int64_t rows, int64_t width, int64_t depth, const W *a, int64_t lda, const W *panel, W *c, int64_t ldc,
                    bool add) {
    for (int64_t column = 0; column < width; column += COLUMNS) {
      if (width - column >= COLUMNS) {
        any_tile(rows, depth, a, lda, panel + column, c + column, ldc, add);
        continue;
      }
      W whole[ROWS * COLUMNS];
      any_tile(rows, depth, a, lda, panel + column, whole, COLUMNS, false);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = column; j < width; ++j) {
          const W sum = whole[i * COLUMNS + j - column];
          c[i * ldc + j] = add ? c[i * ldc + j] + sum : sum;
        }
      }
    }
  }

  static void any_tile(int64_t rows, int64_t depth, const W *a, int64_t lda, const W *panel, W *c, int64_t ldc, bool add) {
    switch (rows) {
    case 1:
      return tile<1>(depth, a, lda, panel, c, ldc, add);
    case 2:
      return tile<2>(depth, a, lda, panel, c, ldc, add);
    case 3:
      return tile<3>(depth, a, lda, panel, c, ldc, add);
    case 4:
      return tile<4>(depth, a, lda, panel, c, ldc, add);
    case 5:
      return tile<5>(depth, a, lda, panel, c, ldc, add);
    default:
      return tile<6>(depth, a, lda, panel, c, ldc, add);
    }
  }

  template <int R>
  static void tile(int64_t depth, const W *a, int64_t lda, const W *panel, W *c, int64_t ldc, bool add) {
    Register sums[R][2];
#pragma GCC unroll 6
    for (int i = 0; i < R; ++i) {
      sums[i][0] = sums[i][1] = Register{};
    }
    for (int64_t l = 0; l < depth; ++l, panel += LANES) {
      const Register b0 = load(panel), b1 = load(panel + SIZE);
#pragma GCC unroll 6
      for (int i = 0; i < R; ++i) {
        const W factor = a[i * lda + l];
        sums[i][0] += factor * b0;
        sums[i][1] += factor * b1;
      }
    }
#pragma GCC unroll 6
    for (int i = 0; i < R; ++i) {
      W *place = c + i * ldc;
      store(place, add ? load(place) + sums[i][0] : sums[i][0]);
      store(place + SIZE, add ? load(place + SIZE) + sums[i][1] : sums[i][1]);
    }
  }

  static Register load(const W *from) {
    Register value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  static void store(W *to, Register value) { std::memcpy(to, &value, sizeof(value)); }
};

} // namespace LEVEL
} // namespace untie
