// Matrix products of double at every level, and of float at the levels without AVX-512, for which libtorch's brgemm has no
// tiles: C (+)= A·B.
//
// The loops of Goto & van de Geijn (2008) around one tile of C in registers: 6 rows of A times two vectors of B's columns, 12
// sums of the 16 registers that AVX2 (and SSE2) has. DEPTH rows of these columns of B lie in the first-level cache, copied
// there side by side: in B itself they are a power of two apart, which maps all of them to few cache sets.
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
  static constexpr int64_t DEPTH = 16384 / (COLUMNS * sizeof(W)); // a panel of 16 KiB, half of the first-level cache
  static constexpr int64_t PANELS = 4;                            // copied at once, so that B is read in one stream

public:
  // c [m, n] (+)= a [m, k] · b [k, n]; lda, ldb, ldc: elements from row to row.
  static void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const W *a,
                       const W *b, W *c) {
    alignas(64) W panels[PANELS * DEPTH * COLUMNS];
    for (int64_t first = 0; first < k; first += DEPTH) {
      const int64_t depth = smaller(DEPTH, k - first);
      for (int64_t start = 0; start < n; start += PANELS * COLUMNS) {
        const int64_t end = smaller(n, start + PANELS * COLUMNS);
        copy_panels(depth, end - start, b + first * ldb + start, ldb, panels);
        for (int64_t column = start; column < end; column += COLUMNS) {
          for (int64_t row = 0; row < m; row += ROWS) {
            strip(smaller(ROWS, m - row), smaller(COLUMNS, end - column), depth, a + row * lda + first, lda,
                  panels + (column - start) * depth, c + row * ldc + column, ldc, add || first > 0);
          }
        }
      }
    }
  }

private:
  static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

  // Panels one behind the other, each [depth, COLUMNS]; columns that are not there are 0.
  static void copy_panels(int64_t depth, int64_t width, const W *from, int64_t stride, W *to) {
    for (int64_t i = 0; i < depth; ++i, from += stride) {
      for (int64_t column = 0; column < width; column += COLUMNS) {
        W *panel = to + column * depth + i * COLUMNS;
        if (column + COLUMNS <= width) {
          for (int64_t half = 0; half < 2; ++half) {
            Register values;
            std::memcpy(&values, from + column + half * SIZE, sizeof(values));
            std::memcpy(panel + half * SIZE, &values, sizeof(values));
          }
          continue;
        }
        for (int64_t j = 0; j < COLUMNS; ++j) {
          panel[j] = column + j < width ? from[column + j] : W{};
        }
      }
    }
  }

  static void strip(int64_t rows, int64_t width, int64_t depth, const W *a, int64_t lda, const W *panel, W *c, int64_t ldc,
                    bool add) {
    if (width == COLUMNS) {
      any_tile(rows, depth, a, lda, panel, c, ldc, add);
      return;
    }
    W whole[ROWS * COLUMNS];
    any_tile(rows, depth, a, lda, panel, whole, COLUMNS, false);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < width; ++j) {
        c[i * ldc + j] = whole[i * COLUMNS + j] + (add ? c[i * ldc + j] : W{});
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
    Register sums[R][2] = {};
    for (int64_t l = 0; l < depth; ++l, panel += COLUMNS) {
      Register b[2];
      std::memcpy(b, panel, sizeof(b));
#pragma GCC unroll 6
      for (int i = 0; i < R; ++i) {
        const W factor = a[i * lda + l];
        sums[i][0] += factor * b[0];
        sums[i][1] += factor * b[1];
      }
    }
    for (int i = 0; i < R; ++i) {
      for (int half = 0; half < 2; ++half) {
        W *place = c + i * ldc + half * SIZE;
        if (add) {
          Register before;
          std::memcpy(&before, place, sizeof(before));
          sums[i][half] += before;
        }
        std::memcpy(place, &sums[i][half], sizeof(Register));
      }
    }
  }
};

} // namespace LEVEL
} // namespace untie
