// Matrix products on tiles, so that what follows a product works on a tile that is still in cache.
//
// bfloat16 and float go to libtorch's brgemm, oneDNN's batch-reduce kernel that AMX and AVX512-BF16 run at full speed; its
// right operand is packed (kernels/pack.h). Sums are in float. double, and float where the CPU lacks AVX-512, take plain
// loops or libtorch's matmul.
#pragma once

#include "../kernels/kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/native/CPUBlas.h>

#include <memory>

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

template <typename T> T *data(const at::Tensor &tensor) { return static_cast<T *>(tensor.data_ptr()); }

// c [m, n] (+)= a [m, k] · b [k, n], b packed; lda, ldb, ldc: elements from row to row.
inline void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const bf16 *a,
                     const bf16 *b, float *c) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, reinterpret_cast<const at::BFloat16 *>(a),
                              reinterpret_cast<const at::BFloat16 *>(b), c, /*is_vnni=*/true);
}
inline void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const float *a,
                     const float *b, float *c) {
  if (has_avx512()) {
    at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/false);
    return;
  }
  const auto view = [](const float *from, int64_t rows, int64_t width, int64_t stride) {
    return at::from_blob(const_cast<float *>(from), {rows, width}, {stride, 1}, at::kFloat);
  };
  auto out = view(c, m, n, ldc);
  const auto left = view(a, m, k, lda), right = view(b, k, n, ldb);
  add ? out.addmm_(left, right) : at::mm_out(out, left, right);
}
inline void multiply(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const double *a,
                     const double *b, double *c) {
  for (int64_t i = 0; i < m; ++i) {
    double *row = c + i * ldc;
    if (!add) {
      std::fill(row, row + n, 0.0);
    }
    for (int64_t l = 0; l < k; ++l) {
      for (int64_t j = 0; j < n; ++j) {
        row[j] += a[i * lda + l] * b[l * ldb + j];
      }
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

// Runs `body` for 0..count on libtorch's threads; the tile configuration that AMX keeps in a thread is released.
template <typename Body> void in_parallel(int64_t count, Body body) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    at::NoGradGuard no_grad;
    for (int64_t i = begin; i < end; ++i) {
      body(i);
    }
    if (has_avx512()) {
      at::native::cpublas::brgemm_release(true);
    }
  });
}

template <typename T> at::Tensor buffer(at::IntArrayRef shape) { return at::empty(shape, Scalar<T>::kind); }
template <typename T> at::Tensor wide_buffer(at::IntArrayRef shape) { return at::empty(shape, Scalar<T>::wide); }

// Matrices [rows, width] in one piece of memory. What comes and goes together is one hole in the heap; buffers of many sizes
// leave gaps between those that stay, a quarter of all activations.
template <typename T> std::vector<at::Tensor> buffers(int64_t rows, std::initializer_list<int64_t> widths) {
  const auto aligned = [&](int64_t width) { return (rows * width + 63) / 64 * 64; };
  int64_t size = 0, place = 0;
  for (const int64_t width : widths) {
    size += aligned(width);
  }
  const auto all = buffer<T>({size});
  std::vector<at::Tensor> matrices;
  for (const int64_t width : widths) {
    matrices.push_back(all.narrow(0, place, rows * width).view({rows, width}));
    place += aligned(width);
  }
  return matrices;
}

// A right operand [k, n] in blocks of columns, each packed by itself.
template <typename T> struct Packed {
  static constexpr int64_t BLOCK = 64;
  int64_t k = 0, n = 0;
  at::Tensor storage;

  int64_t blocks() const { return (n + BLOCK - 1) / BLOCK; }
  int64_t width(int64_t block) const { return std::min(BLOCK, n - block * BLOCK); }
  T *at(int64_t block) const { return data<T>(storage) + block * BLOCK * even(k); }
  void allocate(int64_t rows, int64_t columns) {
    if (!storage.defined()) {
      k = rows, n = columns;
      storage = buffer<T>({even(k) * n});
    }
  }
};

// A weight [out, in] in fp32 (or fp64) and its packed copies, remade when the weight has changed since.
template <typename T> class PackedWeight {
public:
  explicit PackedWeight(at::Tensor weight) : master(std::move(weight)) {}

  // The right operand of x · Wᵀ.
  const Packed<T> &forward() {
    if (forward_version != master._version()) {
      const int64_t out = master.size(0), in = master.size(1);
      columns.allocate(in, out);
      in_parallel(columns.blocks(), [&](int64_t block) {
        const int64_t width = columns.width(block), first = block * Packed<T>::BLOCK;
        const auto narrowed = buffer<T>({width, in});
        Scalar<T>::kernels().narrow(width, in, data<Wide<T>>(master) + first * in, in, data<T>(narrowed), in);
        Scalar<T>::kernels().pack_columns(width, in, data<T>(narrowed), in, columns.at(block), width);
      });
      forward_version = master._version();
    }
    return columns;
  }

  // The right operand of dy · W.
  const Packed<T> &backward() {
    if (backward_version != master._version()) {
      const int64_t out = master.size(0), in = master.size(1);
      rows.allocate(out, in);
      in_parallel(rows.blocks(), [&](int64_t block) {
        const int64_t width = rows.width(block), first = block * Packed<T>::BLOCK;
        const auto narrowed = buffer<T>({out, width});
        Scalar<T>::kernels().narrow(out, width, data<Wide<T>>(master) + first, in, data<T>(narrowed), width);
        Scalar<T>::kernels().pack_rows(out, width, data<T>(narrowed), width, rows.at(block), width);
      });
      backward_version = master._version();
    }
    return rows;
  }

private:
  at::Tensor master;
  Packed<T> columns, rows;
  // Of the weight that was packed; set when all of it is, so that a packing that ran out of memory is done again.
  int64_t forward_version = -1, backward_version = -1;
};

// a [rows, k] · b block by block: use(first column, width, tile) sees each tile [rows, width], in `scratch` [rows, 64].
template <typename T, typename Use>
void each_tile(int64_t rows, const T *a, int64_t lda, const Packed<T> &b, Wide<T> *scratch, Use use) {
  for (int64_t block = 0; block < b.blocks(); ++block) {
    const int64_t width = b.width(block);
    multiply(rows, width, b.k, lda, width, width, false, a, b.at(block), scratch);
    use(block * Packed<T>::BLOCK, width, scratch);
  }
}

// out [rows, n] = a [rows, k] · b.
template <typename T> void whole(int64_t rows, const T *a, int64_t lda, const Packed<T> &b, Wide<T> *out) {
  for (int64_t block = 0; block < b.blocks(); ++block) {
    const int64_t width = b.width(block);
    multiply(rows, width, b.k, lda, width, b.n, false, a, b.at(block), out + block * Packed<T>::BLOCK);
  }
}

// sum [n, k] += dyᵀ · x for dy [rows, n] and x [rows, k], and the same to `copy` where there is one. Every product is summed
// by itself first and then added, so that a copy of its own never changes `sum`.
template <typename T>
void add_weight_gradient(int64_t rows, const at::Tensor &dy, const at::Tensor &x, const at::Tensor &sum,
                         const at::Tensor &copy) {
  // The rows of the left operand lie a cache line further apart than a power of two, which would map all to one cache set.
  constexpr int64_t HEIGHT = 64, WIDTH = 128, DEPTH = 1024, LINE = 64 / sizeof(T);
  const auto &kernels = Scalar<T>::kernels();
  const int64_t n = dy.size(-1), k = x.size(-1), depth = even(rows), stride = depth + LINE;
  const int64_t down = (n + HEIGHT - 1) / HEIGHT, across = (k + WIDTH - 1) / WIDTH;
  const auto left = rows % 2 == 0 ? buffer<T>({n, stride}) : at::zeros({n, stride}, Scalar<T>::kind);
  const auto right = rows % 2 == 0 ? buffer<T>({depth * k}) : at::zeros({depth * k}, Scalar<T>::kind);
  const auto block_width = [&](int64_t block) { return std::min(WIDTH, k - block * WIDTH); };
  in_parallel(down + across, [&](int64_t task) {
    if (task < down) {
      const int64_t first = task * HEIGHT;
      kernels.transpose(rows, std::min(HEIGHT, n - first), data<T>(dy) + first, n, data<T>(left) + first * stride, stride);
    } else {
      const int64_t first = (task - down) * WIDTH, width = block_width(task - down);
      kernels.pack_rows(rows, width, data<T>(x) + first, k, data<T>(right) + first * depth, width);
    }
  });
  in_parallel(down * across, [&](int64_t task) {
    const int64_t row = task / across * HEIGHT, block = task % across;
    const int64_t height = std::min(HEIGHT, n - row), width = block_width(block);
    const auto tile = wide_buffer<T>({height, width});
    const T *a = data<T>(left) + row * stride, *b = data<T>(right) + block * WIDTH * depth;
    for (int64_t at = 0; at < depth; at += DEPTH) {
      multiply(height, width, std::min(DEPTH, depth - at), stride, width, width, at > 0, a + at, b + at * width,
               data<Wide<T>>(tile));
    }
    const int64_t place = row * k + block * WIDTH;
    kernels.accumulate(height, width, data<Wide<T>>(tile), data<Wide<T>>(sum) + place,
                       copy.defined() ? data<Wide<T>>(copy) + place : nullptr, k);
  });
}

} // namespace untie
