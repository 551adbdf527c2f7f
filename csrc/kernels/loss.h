// Softmax cross-entropy on a tile of transposed logits: a row is an entry of the vocabulary, a column a target. Sums run over
// rows, so that 16 targets are 16 lanes and nothing is summed across lanes.
//
// With l = score + bias: loss = log Σ exp(l) - l[label], and its gradient by l is exp(l - log Σ exp(l)) - [row is the label].
#pragma once

#include "pack.h"

namespace untie {
namespace LEVEL {

// What the rows of a tile say about each column: the largest logit and its row, Σ exp(l - largest), and the label's logit,
// which stays as it was where the label is no row of the tile.
template <typename T>
void logits_forward(Logits tile, Wide<T> *scores, const Wide<T> *bias, LogitSums<Wide<T>> sums) {
  using W = Wide<T>;
  for (int64_t j = 0; j < tile.columns; j += LANES) {
    Vector<W> top = splat(static_cast<W>(-1e30)), picked = load(sums.picked + j);
    i32x16 best{}, labels;
    std::memcpy(&labels, tile.labels + j, sizeof(labels));
    for (int64_t r = 0; r < tile.rows; ++r) {
      W *at = scores + r * tile.columns + j;
      const auto logit = load(at) + bias[r];
      store(at, logit);
      const i32x16 row = i32x16::all(static_cast<int32_t>(tile.first_row + r));
      const auto larger = narrow_mask(logit > top);
      best = choose(larger, row, best);
      top = maximum(logit, top);
      picked = choose(labels == row, logit, picked);
    }
    Vector<W> total{};
    for (int64_t r = 0; r < tile.rows; ++r) {
      total += exponential(load(scores + r * tile.columns + j) - top);
    }
    store(sums.top + j, top);
    store(sums.total + j, total);
    store(sums.picked + j, picked);
    std::memcpy(sums.best + j, &best, sizeof(best));
  }
}

// The gradient of each column's loss times its factor: as a left operand [rows, columns], as a right operand, and summed over
// the columns.
template <typename T>
void logits_backward(Logits tile, const Wide<T> *scores, const Wide<T> *bias, const Wide<T> *log_sum,
                     const Wide<T> *factor, T *gradient, T *packed, Wide<T> *bias_sum) {
  using W = Wide<T>;
  for (int64_t r = 0; r < tile.rows; r += 2) {
    const bool both = r + 1 < tile.rows;
    Vector<W> total[2] = {};
    for (int64_t j = 0; j < tile.columns; j += LANES) {
      i32x16 labels;
      std::memcpy(&labels, tile.labels + j, sizeof(labels));
      const auto sums = load(log_sum + j), factors = load(factor + j);
      Vector<W> result[2] = {};
      for (int64_t which = 0; which < (both ? 2 : 1); ++which) {
        const int64_t row = r + which;
        const auto probability = exponential(load(scores + row * tile.columns + j) + bias[row] - sums);
        const i32x16 is_label = labels == static_cast<int32_t>(tile.first_row + row);
        result[which] = choose(is_label, probability - static_cast<W>(1), probability) * factors;
        total[which] += result[which];
        store(gradient + row * tile.columns + j, result[which]);
      }
      store_pair<T>(packed + r * tile.columns + j * IN_A_COLUMN<T>, tile.columns, result[0], result[1], LANES, both);
    }
    for (int64_t which = 0; which < (both ? 2 : 1); ++which) {
      bias_sum[r + which] += sum<W>(total[which]);
    }
  }
}

} // namespace LEVEL
} // namespace untie
