// Weights as right operands of products: packed copies in the precision of the products, kept up to date.
#pragma once

#include "products.h"

namespace untie {

// A right operand [k, n] in blocks of columns, each packed by itself (kernels/pack.h): of 64 columns, or panels for our kernel.
template <typename T> struct Packed {
  // The most columns that a product makes at a time.
  static constexpr int64_t TILE = 64;

  Packed(int64_t rows, int64_t columns) : k(rows), n(columns), storage(buffer<T>({size(k, n)})) {}
  // Its elements.
  static int64_t size(int64_t rows, int64_t columns) { return even(rows) * in_panels(columns); }

  int64_t block() const { return panels ? PANEL : TILE; }
  // Of the block that starts at `column`: its columns, and the elements from row to row.
  int64_t width(int64_t column) const { return std::min(block(), n - column); }
  int64_t stride(int64_t column) const { return panels ? PANEL : width(column); }
  T *at(int64_t column) const { return data<T>(storage) + column * even(k); }

  // out [rows, width] = a [rows, k] · `width` columns from `column` on, a multiple of TILE.
  void product(int64_t rows, const T *a, int64_t lda, int64_t column, int64_t width, Wide<T> *out, int64_t ldc) const {
    multiply(rows, width, k, lda, stride(column), ldc, false, a, at(column), out, PANEL * even(k));
  }

  int64_t k, n;
  at::Tensor storage;
  bool panels = is_own_product<T>();
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

  // Bytes of both copies of a weight [out, in].
  static int64_t bytes(int64_t out, int64_t in) {
    return (Packed<T>::size(in, out) + Packed<T>::size(out, in)) * static_cast<int64_t>(sizeof(T));
  }
  int64_t bytes() const { return static_cast<int64_t>(columns.packed.storage.nbytes() + rows.packed.storage.nbytes()); }
  // What a task takes that packs `count` rows of a weight whose rows have `in` columns.
  template <typename From> static T *narrowed_rows(From &from, int64_t count, int64_t in) {
    return from.template take<T>(count * in);
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
    Side(int64_t k, int64_t n) : packed(k, n) {}
    bool is_made() const { return version != NONE; }
    Packed<T> packed;
    // Of the weight that was packed; set when all of it is, so that a packing that ran out of memory is done again.
    int64_t version = NONE;
  };

  const Packed<T> &fresh(Side &side) {
    if (side.version != master._version() || side.packed.panels != is_own_product<T>()) {
      side.version = NONE, side.packed.panels = is_own_product<T>();
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
    const T *from = narrowed(count, in, data<Wide<T>>(master) + first * in, narrowed_rows(Scratch::of_thread(), count, in));
    for (int64_t row = 0; to_columns && row < count; row += columns.packed.block()) {
      const int64_t column = first + row;
      kernels.pack_columns(columns.packed.width(column), in, from + row * in, in, columns.packed.at(column),
                           columns.packed.stride(column));
    }
    for (int64_t column = 0; to_rows && column < in; column += rows.packed.block()) {
      const int64_t stride = rows.packed.stride(column);
      kernels.pack_rows(count, rows.packed.width(column), from + column, in, rows.packed.at(column) + first * stride, stride);
    }
  }

  static_assert(ROWS % Packed<T>::TILE == 0, "blocks of columns are rows of the weight that are packed at once");
  at::Tensor master;
  Side columns, rows;
};

// a [rows, k] · b tile by tile: use(first column, width, tile) sees each tile [rows, width], in `tile` [rows, 64].
template <typename T, typename Use>
void each_tile(int64_t rows, const T *a, int64_t lda, const Packed<T> &b, Wide<T> *tile, Use use) {
  for (int64_t column = 0; column < b.n; column += Packed<T>::TILE) {
    const int64_t width = std::min(Packed<T>::TILE, b.n - column);
    b.product(rows, a, lda, column, width, tile, width);
    use(column, width, tile);
  }
}

// out [rows, n] = a [rows, k] · b.
template <typename T> void whole(int64_t rows, const T *a, int64_t lda, const Packed<T> &b, Wide<T> *out) {
  for (int64_t column = 0; column < b.n; column += Packed<T>::TILE) {
    b.product(rows, a, lda, column, std::min(Packed<T>::TILE, b.n - column), out + column, b.n);
  }
}

// The same in the precision of the products; `wide` [rows, n] is used where the sums have another.
template <typename T>
void whole_narrow(int64_t rows, const T *a, int64_t lda, const Packed<T> &b, Wide<T> *wide, T *out) {
  if constexpr (std::is_same_v<T, Wide<T>>) {
    whole(rows, a, lda, b, out);
  } else {
    whole(rows, a, lda, b, wide);
    Scalar<T>::kernels().narrow(rows, b.n, wide, b.n, out, b.n);
  }
}

} // namespace untie
