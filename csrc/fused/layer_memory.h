// What the forward and the backward of a fused layer allocate: for them, and for who asks before there is a layer.
#pragma once

#include "layer.h"

namespace untie {

// The parts whose gradients are sums over rows.
constexpr Part SUMMED[] = {QKV_BIAS, OUT_BIAS, NORM1, NORM1_BIAS, INNER_BIAS, OUTER_BIAS, NORM2, NORM2_BIAS};

template <typename T> class LayerMemory {
  using W = Wide<T>;
  using Gradient = WeightGradient<T>;

public:
  explicit LayerMemory(LayerShape of)
      : shape(of), rows(of.batch * of.length), hidden_size(of.hidden_size), intermediate_size(of.intermediate_size) {}

  // Rows of a block of all: many, since each block reads all weights again, but enough blocks for all cores to have some.
  int64_t rows_of_block() const { return rows < 1024 ? 64 : 128; }
  int64_t num_blocks() const { return (rows + rows_of_block() - 1) / rows_of_block(); }

  // The columns of the forward's matrices: qkv, context, sum1, middle, inner, and sum2 of Post-LN or normed of Pre-LN. What is not
  // kept has none.
  std::vector<int64_t> forward_columns(bool keep) const {
    const int64_t if_saved = keep ? hidden_size : 0, of_post = shape.pre_norm ? 0 : if_saved;
    return {3 * hidden_size, hidden_size, if_saved, if_saved, keep ? intermediate_size : 0, of_post, if_saved - of_post};
  }
  std::array<int64_t, 2> log_sum_shape() const { return {shape.batch * shape.heads, Attention<T>::rounded(shape.length)}; }
  std::array<int64_t, 2> statistics_shape() const { return {4, rows}; }

  // The backward's workspace, in elements: gradients of sum1 and qkv, and behind them the operands of the weights' gradients. Those
  // of qkv take the place of the others and of the gradient of context.
  int64_t inner_operands() const { return Gradient::size(rows, hidden_size, intermediate_size); }
  int64_t out_operands() const { return Gradient::size(rows, hidden_size, hidden_size); }
  int64_t workspace_elements() const {
    const int64_t first = 2 * inner_operands() + out_operands() + rows * hidden_size;
    return 4 * rows * hidden_size + std::max(first, Gradient::size(rows, hidden_size, 3 * hidden_size));
  }

  // Sums over rows, by part.
  std::vector<int64_t> sums() const {
    std::vector<int64_t> sizes(PARTS, 0);
    for (const Part part : SUMMED) {
      sizes[part] = part == QKV_BIAS ? 3 * hidden_size : part == INNER_BIAS ? intermediate_size : hidden_size;
    }
    return sizes;
  }

  // What the tasks take. The forward's normed, sum1, middle and sum2 are null where they are kept.
  struct QkvForward {
    W *tile;
    T *normed = nullptr;

    template <typename From> QkvForward(From &from, const LayerMemory &memory, int64_t count, bool keep) {
      tile = from.template take<W>(count * Packed<T>::TILE);
      if (memory.shape.pre_norm && !keep) {
        normed = from.template take<T>(count * memory.hidden_size);
      }
    }
  };
  struct Forward {
    W *wide, *tile;
    T *after, *sum1 = nullptr, *middle = nullptr, *sum2 = nullptr;

    template <typename From> Forward(From &from, const LayerMemory &memory, int64_t count, bool keep) {
      const int64_t size = count * memory.hidden_size;
      wide = from.template take<W>(size), tile = from.template take<W>(count * Packed<T>::TILE);
      after = from.template take<T>(count * apart<T>(memory.intermediate_size));
      if (!keep) {
        sum1 = from.template take<T>(size), middle = from.template take<T>(size);
        sum2 = memory.shape.pre_norm ? nullptr : from.template take<T>(size);
      }
    }
  };
  struct Backward {
    W *wide, *tile;
    T *d_sum2, *d_middle, *d_branch, *d_inner;

    template <typename From> Backward(From &from, const LayerMemory &memory, int64_t count) {
      const int64_t size = count * memory.hidden_size;
      wide = from.template take<W>(size), tile = from.template take<W>(count * Packed<T>::TILE);
      d_sum2 = from.template take<T>(size), d_middle = from.template take<T>(size), d_branch = from.template take<T>(size);
      d_inner = from.template take<T>(count * apart<T>(memory.intermediate_size));
    }
  };
  struct QkvBackward {
    W *wide;
    T *d_normed = nullptr;

    template <typename From> QkvBackward(From &from, const LayerMemory &memory, int64_t count) {
      wide = from.template take<W>(count * memory.hidden_size);
      if (memory.shape.pre_norm) {
        d_normed = from.template take<T>(count * memory.hidden_size);
      }
    }
  };

  UntieBytes bytes() const {
    constexpr int64_t narrow = sizeof(T), wide = sizeof(W);
    const int64_t x = rows * hidden_size * narrow;
    const auto elements = [](std::array<int64_t, 2> matrix) { return matrix[0] * matrix[1]; };
    UntieBytes found{};
    found.saved = x + (elements(log_sum_shape()) + elements(statistics_shape())) * wide;
    for (const auto &[count, size] : pieces_of<T>(rows, forward_columns(true))) {
      found.saved += size * narrow, found.largest = std::max(found.largest, size * narrow);
    }
    found.workspace = workspace_size(static_cast<size_t>(workspace_elements() * narrow));
    found.passing = x + PartialSums<T>::bytes(num_blocks(), sums());
    for (const auto &[out, in] : weights()) {
      found.packed += PackedWeight<T>::bytes(out, in);
    }
    found.per_thread = per_thread();
    return found;
  }

private:
  // [out, in] of qkv, out, inner and outer.
  std::array<std::array<int64_t, 2>, 4> weights() const {
    return {{{3 * hidden_size, hidden_size},
             {hidden_size, hidden_size},
             {intermediate_size, hidden_size},
             {hidden_size, intermediate_size}}};
  }

  // What a thread comes to hold that runs tasks of each kind, in the order of a forward that keeps and a backward.
  int64_t per_thread() const {
    ScratchLayout taken;
    const int64_t count = std::min(rows, rows_of_block()), features = hidden_size / shape.heads;
    const auto task = [&](auto take) { take(), taken.take_back(); };
    for (const auto &weight : weights()) {
      task([&] { PackedWeight<T>::narrowed_rows(taken, std::min(PackedCopy::ROWS, weight[0]), weight[1]); });
    }
    task([&] { QkvForward(taken, *this, count, true); });
    task([&] { typename Attention<T>::ForwardScratch(taken, shape.length, features); });
    task([&] { Forward(taken, *this, count, true); });
    task([&] { Backward(taken, *this, count); });
    task([&] { Gradient::tile_in(taken); });
    task([&] { typename Attention<T>::BackwardScratch(taken, shape.length, features); });
    task([&] { QkvBackward(taken, *this, count); });
    return taken.bytes();
  }

  LayerShape shape;
  int64_t rows, hidden_size, intermediate_size;
};

} // namespace untie
