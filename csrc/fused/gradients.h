// Gradients of weights, added to the leaves' own in place. That of a matrix is the product of a transposed and a plain matrix
// over all rows of a batch; whoever makes the rows lays them out as the product's operands while they are in cache.
#pragma once

#include "../gradient.h"
#include "products.h"

namespace untie {

// Sums over rows that each task makes for itself, added up in the order of the tasks: the same on any number of threads.
template <typename T> class PartialSums {
public:
  // One sum of each of `sizes`.
  PartialSums(int64_t tasks, const std::vector<int64_t> &sizes_of) : sizes(sizes_of) {
    int64_t size = 0;
    for (const int64_t part : sizes) {
      offsets.push_back(size);
      size += part;
    }
    all = at::zeros({tasks, size}, Scalar<T>::wide);
  }
  static int64_t bytes(int64_t tasks, const std::vector<int64_t> &sizes_of) {
    return tasks * std::accumulate(sizes_of.begin(), sizes_of.end(), int64_t{0}) * static_cast<int64_t>(sizeof(Wide<T>));
  }
  Wide<T> *of(int64_t task, size_t part) const { return data<Wide<T>>(all) + task * all.size(1) + offsets[part]; }
  at::Tensor total(size_t part) const { return all.narrow(1, offsets[part], sizes[part]).sum(0); }

private:
  std::vector<int64_t> sizes, offsets;
  at::Tensor all;
};

// leftᵀ·right for left [rows, m] and right [rows, n], which is dW where left is dy and right is x, and dWᵀ the other way
// round. The wider of the two is better off right: rows in pairs are less work than a transposition. Right is laid out in blocks of
// columns, each [rows, width], as products read them: of 64 columns, or panels for our kernel.
template <typename T> class WeightGradient {
  using W = Wide<T>;
  // Of a task's tile, and rows summed at a time: what brgemm is fastest with on AMX, of what the first-level cache holds.
  static constexpr int64_t HEIGHT = 128, WIDTH = 64, DEPTH = 256;
  // The transposed operand is laid out DEPTH rows at a time, so that who writes some rows touches few pages. Its features lie a
  // cache line further apart than a power of two, which would map all to one cache set.
  static constexpr int64_t STRIDE = DEPTH + 64 / sizeof(T);

public:
  enum Form { PLAIN, TRANSPOSED };

  // In `memory` of `size` elements.
  WeightGradient(Form result, int64_t rows, int64_t left_features, int64_t right_features, T *memory)
      : form(result), m(left_features), n(right_features), depth(sizeof(T) == 2 ? even(rows) : rows),
        block(panels ? PANEL : WIDTH), left(memory), right(memory + left_size(rows, m)) {}
  static int64_t size(int64_t rows, int64_t left_features, int64_t right_features) {
    return left_size(rows, left_features) + even(rows) * in_panels(right_features);
  }

  // Rows first..first + count of left: some of those from one multiple of 256 to the next, `first` even.
  void set_left(int64_t first, int64_t count, const T *from) const {
    kernels.transpose(count, m, from, m, left_at(first, 0) + first % DEPTH, STRIDE);
  }
  // The same of right.
  void set_right(int64_t first, int64_t count, const T *from) const {
    for (int64_t column = 0; column < n; column += block) {
      kernels.pack_rows(count, std::min(block, n - column), from + column, n, right_at(first, column), right_row(column));
    }
  }
  // Where right's row `first`, an even one, has its column, a multiple of 64: for who lays out 64 columns of rows himself,
  // `right_row(column)` elements from row to row and `right_column()` from a column, a multiple of 16, to the next.
  T *right_at(int64_t first, int64_t column) const { return right + column * depth + first * right_row(column); }
  int64_t right_row(int64_t column) const { return panels ? PANEL : width(column); }
  int64_t right_column() const { return panels ? depth : IN_A_COLUMN<T>; }

  int64_t num_tasks() const { return down() * across(); }
  // What a task takes; all but those at the edges have a tile of this size.
  template <typename From> static W *tile_in(From &from, int64_t height = HEIGHT, int64_t width = WIDTH) {
    return from.template take<W>(height * width);
  }
  // Adds a tile to `sum`, and to `copy` where there is one. It is summed by itself first and then added, so that a copy of its
  // own never changes `sum`.
  void add(int64_t task, const at::Tensor &sum, const at::Tensor &copy) const {
    const int64_t row = task / across() * HEIGHT, column = task % across() * WIDTH;
    const int64_t height = std::min(HEIGHT, m - row), tile_width = width(column);
    W *tile = tile_in(Scratch::of_thread(), height, tile_width);
    for (int64_t at = 0; at < depth; at += DEPTH) {
      multiply(height, tile_width, std::min(DEPTH, depth - at), STRIDE, right_row(column), tile_width, at > 0, left_at(at, row),
               right_at(at, column), tile, PANEL * depth);
    }
    const bool turned = form == TRANSPOSED;
    const int64_t place = turned ? column * m + row : row * n + column;
    (turned ? kernels.accumulate_transposed : kernels.accumulate)(height, tile_width, tile, data<W>(sum) + place,
                                                                  copy.defined() ? data<W>(copy) + place : nullptr,
                                                                  turned ? m : n);
  }

private:
  static int64_t left_size(int64_t rows, int64_t features) { return (rows + DEPTH - 1) / DEPTH * features * STRIDE; }
  int64_t down() const { return (m + HEIGHT - 1) / HEIGHT; }
  int64_t across() const { return (n + WIDTH - 1) / WIDTH; }
  int64_t width(int64_t column) const { return std::min(WIDTH, n - column); }
  T *left_at(int64_t row, int64_t feature) const { return left + (row / DEPTH * m + feature) * STRIDE; }

  const Kernels<T> &kernels = Scalar<T>::kernels();
  const bool panels = is_own_product<T>();
  Form form;
  int64_t m, n, depth, block;
  T *left, *right;
};

} // namespace untie
