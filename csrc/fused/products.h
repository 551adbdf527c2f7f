// Matrix products on tiles, so that what follows a product works on a tile that is still in cache.
//
// bfloat16 and float go to libtorch's brgemm, oneDNN's batch-reduce kernel that AMX and AVX512-BF16 run at full speed; its
// right operand is packed (kernels/pack.h). Sums are in float. double, and float at the levels without AVX-512, take a
// kernel of ours (kernels/product.h), which is fastest with a right operand in panels of 16 columns.
#pragma once

#include "../heap.h"
#include "parallel.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <cstdlib>
#include <new>

namespace untie {

template <typename T> struct Scalar;
template <> struct Scalar<bf16> {
  static constexpr at::ScalarType kind = at::kBFloat16, wide = at::kFloat;
  static const Kernels<bf16> &kernels() { return level().of_bf16; }
};
template <> struct Scalar<float> {
  static constexpr at::ScalarType kind = at::kFloat, wide = at::kFloat;
  static const Kernels<float> &kernels() { return level().of_float; }
};
template <> struct Scalar<double> {
  static constexpr at::ScalarType kind = at::kDouble, wide = at::kDouble;
  static const Kernels<double> &kernels() { return level().of_double; }
};

// Calls `run` with a value of the element type of `kind`.
template <typename Run> auto of_kind(at::ScalarType kind, Run run) {
  switch (kind) {
  case at::kBFloat16:
    return run(bf16());
  case at::kFloat:
    return run(float());
  case at::kDouble:
    return run(double());
  default:
    throw std::runtime_error("fused kernels compute in bfloat16, float or double");
  }
}

template <typename T> T *data(const at::Tensor &tensor) { return static_cast<T *>(tensor.data_ptr()); }

// c [m, n] (+)= a [m, k] · b [k, n], b packed; lda, ldb, ldc: elements from row to row. Where the product is our own, b may be in
// panels of 16 columns, `panel` elements from one to the next, and ldb = 16.
inline void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const bf16 *a,
                     const bf16 *b, float *c, int64_t = PANEL) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, reinterpret_cast<const at::BFloat16 *>(a),
                              reinterpret_cast<const at::BFloat16 *>(b), c, /*is_vnni=*/true);
}
inline void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const float *a,
                     const float *b, float *c, int64_t panel = PANEL) {
  if (const auto own = level().multiply_float; own != nullptr) {
    own(m, n, k, lda, ldb, panel, ldc, add, a, b, c);
  } else {
    at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/false);
  }
}
inline void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const double *a,
                     const double *b, double *c, int64_t panel = PANEL) {
  level().multiply_double(m, n, k, lda, ldb, panel, ldc, add, a, b, c);
}

// Whether the products of T are our own, at the level in use.
template <typename T> bool is_own_product() {
  return std::is_same_v<T, double> || (std::is_same_v<T, float> && level().multiply_float != nullptr);
}

// Elements from row to row of a left operand of one's own. Rows a power of two apart, as most layers' widths are, would all
// lie in the same few sets of the first-level cache: a cache line more spreads them over all.
template <typename T> constexpr int64_t apart(int64_t width) { return width + 64 / static_cast<int64_t>(sizeof(T)); }

// Asks for a tile that is read next: its rows are too short and too far apart for the CPU to see what comes.
template <typename T> void prefetch(int64_t rows, int64_t width, const T *from, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < width; column += 64 / static_cast<int64_t>(sizeof(T))) {
      __builtin_prefetch(from + row * stride + column, 0, 2);
    }
  }
}

// Dropout of a probability in [0, 1), as a multiple of 2^-16, for sequences of `length` rows; none without keys.
inline Dropout dropout_of(const at::Tensor &keys, uint32_t site, double probability, int64_t length) {
  if (!keys.defined()) {
    return {nullptr, site, 0, 1.0, length};
  }
  const auto threshold = static_cast<uint32_t>(std::min(std::lround(probability * 65536), 65535L));
  return {data<int64_t>(keys), site, threshold, 65536.0 / (65536.0 - threshold), length};
}

inline int64_t even(int64_t size) { return size + size % 2; }
inline int64_t in_panels(int64_t columns) { return (columns + PANEL - 1) / PANEL * PANEL; }

// `wide` [rows, width] in the precision of the products: itself where that is the same, else in `out`.
template <typename T> const T *narrowed(int64_t rows, int64_t width, const Wide<T> *wide, T *out) {
  if constexpr (std::is_same_v<T, Wide<T>>) {
    return wide;
  } else {
    Scalar<T>::kernels().narrow(rows, width, wide, width, out, width);
    return out;
  }
}

template <typename T> at::Tensor buffer(at::IntArrayRef shape) { return at::empty(shape, Scalar<T>::kind); }
template <typename T> at::Tensor wide_buffer(at::IntArrayRef shape) { return at::empty(shape, Scalar<T>::wide); }

// `count` elements in memory from malloc. Memory from at::empty, which is posix_memalign's, does not fit where a piece of the same
// size was freed: glibc asks for more there, cuts the rest off, and then takes new memory.
template <typename T> at::Tensor from_heap(int64_t count) {
  const auto bytes = static_cast<size_t>(count) * sizeof(T);
  char *const memory = static_cast<char *>(std::malloc(bytes + LINE));
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return at::from_blob(next_line(memory), {count}, [memory](void *) { std::free(memory); }, Scalar<T>::kind);
}

// Matrices of so many rows and columns in as few pieces of memory as the heap keeps. A larger piece comes as fresh pages in every
// step, also where it is a single matrix. What comes and goes together is one hole in the heap; buffers of many sizes leave gaps
// between those that stay, a quarter of all activations.
struct Piece {
  size_t matrices;
  int64_t size; // in elements
};
inline int64_t aligned(int64_t elements) { return (elements + 63) / 64 * 64; }
template <typename T> std::vector<Piece> pieces_of(int64_t rows, const std::vector<int64_t> &columns) {
  const int64_t most = (LARGEST_IN_HEAP - 4096) / static_cast<int64_t>(sizeof(T));
  std::vector<Piece> pieces;
  for (const int64_t count : columns) {
    const int64_t size = aligned(rows * count);
    if (pieces.empty() || pieces.back().size + size > most) {
      pieces.push_back({0, 0});
    }
    ++pieces.back().matrices, pieces.back().size += size;
  }
  return pieces;
}
template <typename T> std::vector<at::Tensor> buffers(int64_t rows, const std::vector<int64_t> &columns) {
  std::vector<at::Tensor> matrices;
  for (const auto &[count, size] : pieces_of<T>(rows, columns)) {
    const auto piece = from_heap<T>(size);
    int64_t place = 0;
    for (size_t i = 0; i < count; ++i) {
      const int64_t of_matrix = columns[matrices.size()];
      matrices.push_back(piece.narrow(0, place, rows * of_matrix).view({rows, of_matrix}));
      place += aligned(rows * of_matrix);
    }
  }
  return matrices;
}

} // namespace untie
