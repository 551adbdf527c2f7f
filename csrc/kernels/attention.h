// The softmax of attention with dropout, on a tile of transposed scores: a row is a key, a column a query. Sums run over
// rows, so that 16 queries are 16 lanes and nothing is summed across lanes.
//
// P[k, q] = exp(scale·S[k, q] - log_sum[q]) where key k is visible to query q, else 0, and a dropped P is 0 or P/(1 - p).
// With dP the gradient of the dropped P: dS = scale·P·(factor·dP - delta[q]), delta[q] = Σ_k factor·P·dP = dO[q]·O[q].
#pragma once

#include "dropout.h"
#include "pack.h"

namespace untie {
namespace LEVEL {

// Which lanes of queries see key k: all of them where there are neither masks nor documents.
struct KeyMask {
  const int32_t *visible;   // [keys] of the sequence, or null
  const int32_t *documents; // [keys] of the sequence, or null
  int64_t first_query;

  inline __attribute__((always_inline)) i32x16 of(int64_t key, int64_t query, int64_t count) const {
    i32x16 seen = i32x16::all(-1);
    if (visible != nullptr && visible[key] == 0) {
      seen = i32x16{};
    }
    if (documents != nullptr) {
      i32x16 own{};
      std::memcpy(&own, documents + first_query + query, static_cast<size_t>(count < LANES ? count : LANES) * 4);
      seen &= own == documents[key];
    }
    return seen;
  }
};

// What attention dropout does to keys k, k + 1 of a group of 128 queries.
template <typename W> struct Factors {
  Vector<W> value[2][GROUP / LANES];

  inline __attribute__((always_inline)) void set(const Dropout &dropout, uint64_t key, int64_t row, int64_t groups, int64_t group, bool both) {
    for (int64_t which = 0; which < (both ? 2 : 1); ++which) {
      u32x16 bits[8];
      random_bits(key, dropout.site, static_cast<uint32_t>((row + which) * groups + group), bits);
      for (int64_t j = 0; j < GROUP / LANES; ++j) {
        value[which][j] = keep(splat(static_cast<W>(dropout.scale)), bits[j], dropout.threshold);
      }
    }
  }
};

// scores [keys, queries] become probabilities: `packed` is the right operand [keys, queries] of Vᵀ·P, and log_sum of each
// query goes to the backward. `queries` is a multiple of 16; first_query + queries may pass the end of the sequence.
template <typename T>
void softmax_forward(Scores tile, Wide<T> *scores, Dropout dropout, T *packed, Wide<T> *log_sum) {
  using W = Wide<T>;
  const int64_t keys = tile.keys, queries = tile.queries, first_query = tile.first_query;
  const W scale = static_cast<W>(tile.scale), lowest = static_cast<W>(-1e30);
  const KeyMask mask{tile.visible, tile.documents, first_query};
  const bool all = tile.visible == nullptr && tile.documents == nullptr;
  for (int64_t j = 0; j < queries; j += LANES) {
    Vector<W> top = splat(lowest);
    for (int64_t k = 0; k < keys; ++k) {
      auto score = load(scores + k * queries + j) * scale;
      if (!all) {
        score = choose(mask.of(k, j, keys - first_query - j), score, splat(lowest));
        store(scores + k * queries + j, score);
      }
      top = maximum(top, score);
    }
    Vector<W> total{};
    const W again = all ? scale : static_cast<W>(1);
    for (int64_t k = 0; k < keys; ++k) {
      const auto power = exponential(load(scores + k * queries + j) * again - top);
      total += power;
      store(scores + k * queries + j, power);
    }
    // A query that sees nothing has probabilities of 0.
    const auto none = top == splat(lowest);
    const auto inverse = choose(none, Vector<W>{}, static_cast<W>(1) / total);
    const auto logarithms = choose(none, splat(static_cast<W>(1e30)), top + logarithm(total));
    store(log_sum + j, logarithms);
    if (dropout.threshold != 0) {
      for (int64_t k = 0; k < keys; ++k) {
        store(scores + k * queries + j, load(scores + k * queries + j) * inverse);
      }
      continue;
    }
    for (int64_t k = 0; k < keys; k += 2) {
      const bool both = k + 1 < keys;
      const auto first = load(scores + k * queries + j) * inverse;
      const auto second = both ? load(scores + (k + 1) * queries + j) * inverse : Vector<W>{};
      store_pair<T>(packed + k * queries + j * IN_A_COLUMN<T>, queries, first, second, LANES, both);
    }
  }
  if (dropout.threshold == 0) {
    return;
  }
  const int64_t groups = (keys + GROUP - 1) / GROUP;
  const auto key = static_cast<uint64_t>(dropout.keys[0]);
  for (int64_t k = 0; k < keys; k += 2) {
    const bool both = k + 1 < keys;
    Factors<W> factors;
    for (int64_t j = 0; j < queries; j += LANES) {
      const int64_t column = first_query + j;
      if (j == 0 || column % GROUP == 0) {
        factors.set(dropout, key, tile.head * keys + k, groups, column / GROUP, both);
      }
      const int64_t lane = column % GROUP / LANES;
      const auto first = load(scores + k * queries + j) * factors.value[0][lane];
      const auto second =
          both ? load(scores + (k + 1) * queries + j) * factors.value[1][lane] : Vector<W>{};
      store_pair<T>(packed + k * queries + j * IN_A_COLUMN<T>, queries, first, second, LANES, both);
    }
  }
}

// dropped = the dropped P and gradient = dS, both [keys, queries] left operands; packed_gradient = dS as a right operand.
template <typename T>
void softmax_backward(Scores tile, const Wide<T> *scores, const Wide<T> *d_scores, Dropout dropout,
                      const Wide<T> *log_sum, const Wide<T> *delta, T *dropped, T *gradient, T *packed_gradient) {
  using W = Wide<T>;
  const int64_t keys = tile.keys, queries = tile.queries, first_query = tile.first_query;
  const W scale = static_cast<W>(tile.scale);
  const KeyMask mask{tile.visible, tile.documents, first_query};
  const bool all = tile.visible == nullptr && tile.documents == nullptr;
  const int64_t groups = (keys + GROUP - 1) / GROUP;
  const uint64_t key = dropout.threshold == 0 ? 0 : static_cast<uint64_t>(dropout.keys[0]);
  for (int64_t k = 0; k < keys; k += 2) {
    const bool both = k + 1 < keys;
    Factors<W> factors;
    for (int64_t j = 0; j < queries; j += LANES) {
      const int64_t column = first_query + j;
      if (dropout.threshold != 0 && (j == 0 || column % GROUP == 0)) {
        factors.set(dropout, key, tile.head * keys + k, groups, column / GROUP, both);
      }
      const auto logarithms = load(log_sum + j), deltas = load(delta + j);
      Vector<W> result[2] = {};
      for (int64_t which = 0; which < (both ? 2 : 1); ++which) {
        const int64_t at = (k + which) * queries + j;
        auto probability = exponential(load(scores + at) * scale - logarithms);
        if (!all) {
          probability = choose(mask.of(k + which, j, keys - column), probability, Vector<W>{});
        }
        const auto factor =
            dropout.threshold == 0 ? splat(static_cast<W>(1)) : factors.value[which][column % GROUP / LANES];
        store(dropped + at, probability * factor);
        result[which] = probability * (load(d_scores + at) * factor - deltas) * scale;
        store(gradient + at, result[which]);
      }
      store_pair<T>(packed_gradient + k * queries + j * IN_A_COLUMN<T>, queries, result[0], result[1], LANES, both);
    }
  }
}

template <typename T>
void row_dots(int64_t rows, int64_t width, const T *a, int64_t a_stride, const T *b, int64_t b_stride, Wide<T> *out) {
  for (int64_t i = 0; i < rows; ++i) {
    Vector<Wide<T>> total{};
    for (int64_t j = 0; j < width; j += LANES) {
      total += load(a + i * a_stride + j, width - j) * load(b + i * b_stride + j, width - j);
    }
    out[i] = sum<Wide<T>>(total);
  }
}

} // namespace LEVEL
} // namespace untie
