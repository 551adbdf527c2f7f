// Weights as right operands of products: packed copies in the precision of the products, kept up to date.
#pragma once

#include "products.h"

namespace untie {

// A right operand [k, n] in blocks of columns, each packed by itself (kernels/pack.h).
template <typename T> struct Packed {
  static constexpr int64_t BLOCK = 64;
  int64_t k = 0, n = 0;
  at::Tensor storage;

  int64_t blocks() const { return (n + BLOCK - 1) / BLOCK; }
  int64_t width(int64_t block) const { return std::min(BLOCK, n - block * BLOCK); }
  T *at(int64_t block) const { return data<T>(storage) + block * BLOCK * even(k); }
};

// Copies of a weight that whoever changes it may bring up to date, rows while they are in cache.
class PackedCopy {
public:
  // Rows at a time; `first` is a multiple of it.
  static constexpr int64_t ROWS = 64;

  virtual ~PackedCopy() = default;
  virtual void refresh(int64_t first, int64_t rows) = 0;
  // All rows were.
  virtual void refreshed() = 0;
};

// The copies of `weight` that layers use at the moment.
std::vector<std::shared_ptr<PackedCopy>> copies_of(const at::Tensor &weight);
// The one in precision `kind`, made if there is none: it is shared by all layers that read the weight.
std::shared_ptr<PackedCopy> copy_of(const at::Tensor &weight, at::ScalarType kind,
                                    std::shared_ptr<PackedCopy> (*make)(const at::Tensor &));

// A weight [out, in] in fp32 (or fp64) and its packed copies, remade when the weight has changed since.
template <typename T> class PackedWeight final : public PackedCopy {
public:
  // Both copies have their place from the start, so that they do not come to lie between activations; it costs nothing before
  // they are made.
  explicit PackedWeight(at::Tensor weight)
      : master(std::move(weight)), columns(master.size(1), master.size(0)), rows(master.size(0), master.size(1)) {}

  static std::shared_ptr<PackedWeight> of(const at::Tensor &weight) {
    return std::static_pointer_cast<PackedWeight>(copy_of(
        weight, Scalar<T>::kind,
        [](const at::Tensor &it) -> std::shared_ptr<PackedCopy> { return std::make_shared<PackedWeight>(it); }));
  }

  // The right operand of x · Wᵀ.
  const Packed<T> &forward() { return fresh(columns); }
  // The right operand of dy · W.
  const Packed<T> &backward() { return fresh(rows); }

  void refresh(int64_t first, int64_t count) override { pack(first, count, columns.is_made(), rows.is_made()); }
  void refreshed() override {
    for (Side *side : {&columns, &rows}) {
      side->version = side->is_made() ? master._version() : NONE;
    }
  }

private:
  static constexpr int64_t NONE = -1;
  struct Side {
    Side(int64_t k, int64_t n) : packed{k, n, buffer<T>({even(k) * n})} {}
    bool is_made() const { return version != NONE; }
    Packed<T> packed;
    // Of the weight that was packed; set when all of it is, so that a packing that ran out of memory is done again.
    int64_t version = NONE;
  };

  const Packed<T> &fresh(Side &side) {
    if (side.version != master._version()) {
      const int64_t out = master.size(0);
      in_parallel((out + ROWS - 1) / ROWS, [&](int64_t block) {
        pack(block * ROWS, std::min(ROWS, out - block * ROWS), &side == &columns, &side == &rows);
      });
      side.version = master._version();
    }
    return side.packed;
  }

  void pack(int64_t first, int64_t count, bool to_columns, bool to_rows) {
    const auto &kernels = Scalar<T>::kernels();
    const int64_t in = master.size(1);
    T *narrowed = scratch<T>(count * in);
    kernels.narrow(count, in, data<Wide<T>>(master) + first * in, in, narrowed, in);
    if (to_columns) {
      kernels.pack_columns(count, in, narrowed, in, columns.packed.at(first / ROWS), count);
    }
    for (int64_t block = 0; to_rows && block < rows.packed.blocks(); ++block) {
      const int64_t width = rows.packed.width(block);
      kernels.pack_rows(count, width, narrowed + block * Packed<T>::BLOCK, in, rows.packed.at(block) + first * width, width);
    }
  }

  static_assert(ROWS == Packed<T>::BLOCK, "a block of columns is one of rows of the weight");
  at::Tensor master;
  Side columns, rows;
};

// a [rows, k] · b block by block: use(first column, width, tile) sees each tile [rows, width], in `tile` [rows, 64].
template <typename T, typename Use>
void each_tile(int64_t rows, const T *a, int64_t lda, const Packed<T> &b, Wide<T> *tile, Use use) {
  for (int64_t block = 0; block < b.blocks(); ++block) {
    const int64_t width = b.width(block);
    multiply(rows, width, b.k, lda, width, width, false, a, b.at(block), tile);
    use(block * Packed<T>::BLOCK, width, tile);
  }
}

// out [rows, n] = a [rows, k] · b.
template <typename T> void whole(int64_t rows, const T *a, int64_t lda, const Packed<T> &b, Wide<T> *out) {
  for (int64_t block = 0; block < b.blocks(); ++block) {
    const int64_t width = b.width(block);
    multiply(rows, width, b.k, lda, width, b.n, false, a, b.at(block), out + block * Packed<T>::BLOCK);
  }
}

} // namespace untie
