// Exact self-attention, softmax(q·kᵀ/√D)·v (Vaswani et al. 2017, eq. 1), with dropout, without the T x T matrices in memory:
// a thread does one head of one sequence, a block of queries at a time with all keys, in its cache. The backward computes
// the probabilities again from the sums that the forward keeps.
#pragma once

#include "products.h"

namespace untie {

// B sequences of T tokens, H heads of D features.
struct AttentionShape {
  int64_t batch, length, heads, features;
  int64_t hidden_size() const { return heads * features; }
};

// What limits who sees whom, int32 [B, T] each; undefined: nothing.
struct AttentionMask {
  at::Tensor visible, documents;
};

template <typename T> class Attention {
public:
  using W = Wide<T>;
  // As many queries at a time as keep two tiles of scores in a core's second-level cache.
  static constexpr int64_t QUERIES = 128;

  Attention(AttentionShape of, const AttentionMask &attention_mask, Dropout drop)
      : shape(of), mask(attention_mask), dropout(drop), length(of.length), depth(even(of.length)), size(of.features),
        stride(3 * of.hidden_size()) {}

  // What a task of the forward takes.
  struct ForwardScratch {
    T *right, *left, *packed, *narrow;
    W *scores, *out;

    template <typename From> ForwardScratch(From &from, int64_t length, int64_t size) {
      right = from.template take<T>(size * QUERIES), left = from.template take<T>(size * even(length));
      packed = from.template take<T>(even(length) * QUERIES), narrow = from.template take<T>(size * QUERIES);
      scores = from.template take<W>(length * QUERIES), out = from.template take<W>(size * QUERIES);
    }
  };

  // What a task of the backward takes.
  struct BackwardScratch {
    // Four blocks of queries, one behind the other: as columns and as rows of right operands.
    T *blocks, *keys_left, *gradient_right, *dropped, *gradient;
    W *scores, *d_scores;
    // Sums over blocks of queries; null where they are made in the gradient itself, which is as precise.
    W *key_sum = nullptr, *value_sum = nullptr, *turned, *delta;
    T *narrow;

    template <typename From> BackwardScratch(From &from, int64_t length, int64_t size) {
      blocks = from.template take<T>(4 * size * QUERIES), keys_left = from.template take<T>(size * even(length));
      gradient_right = from.template take<T>(even(length) * QUERIES);
      dropped = from.template take<T>(length * QUERIES), gradient = from.template take<T>(length * QUERIES);
      scores = from.template take<W>(length * QUERIES), d_scores = from.template take<W>(length * QUERIES);
      if (!std::is_same_v<T, W>) {
        key_sum = from.template take<W>(length * size), value_sum = from.template take<W>(length * size);
      }
      turned = from.template take<W>(size * QUERIES), delta = from.template take<W>(QUERIES);
      narrow = from.template take<T>(size * QUERIES);
    }
  };

  // qkv [B·T, 3C] → context [B·T, C]; log_sum [B·H, T rounded up to 16].
  void forward(const at::Tensor &qkv, const at::Tensor &context, const at::Tensor &log_sum) const {
    in_parallel(shape.batch * shape.heads, [&](int64_t task) {
      const int64_t first = task / shape.heads * length, head = task % shape.heads;
      const T *query = data<T>(qkv) + first * stride + head * size;
      const T *key = query + shape.hidden_size(), *value = key + shape.hidden_size();
      const ForwardScratch taken(Scratch::of_thread(), length, size);
      T *right = taken.right, *left = taken.left, *packed = taken.packed, *narrow = taken.narrow;
      W *scores = taken.scores, *out = taken.out;
      set_to_zero(right, size * QUERIES), set_to_zero(left, size * depth), set_to_zero(packed, depth * QUERIES);
      kernels.transpose(length, size, value, stride, left, depth);
      for (int64_t at = 0; at < length; at += QUERIES) {
        const int64_t count = std::min(QUERIES, length - at), queries = rounded(count);
        if (count < QUERIES && at > 0) {
          std::fill(right, right + size * QUERIES, T{});
        }
        kernels.pack_columns(count, size, query + at * stride, stride, right, queries);
        multiply(length, queries, size, stride, queries, queries, false, key, right, scores);
        kernels.softmax_forward(tile(task, at, queries), scores, drop(task), packed,
                                data<W>(log_sum) + task * rounded(length) + at);
        multiply(size, queries, depth, depth, queries, queries, false, left, packed, out);
        kernels.transpose(size, count, narrowed(size, queries, out, narrow), queries,
                          data<T>(context) + (first + at) * shape.hidden_size() + head * size, shape.hidden_size());
      }
    });
  }

  // The gradient of qkv from that of the context.
  void backward(const at::Tensor &qkv, const at::Tensor &context, const at::Tensor &log_sum, const T *d_context,
                T *d_qkv) const {
    in_parallel(shape.batch * shape.heads, [&](int64_t task) {
      const int64_t first = task / shape.heads * length, head = task % shape.heads, hidden_size = shape.hidden_size();
      const T *query = data<T>(qkv) + first * stride + head * size, *key = query + hidden_size, *value = key + hidden_size;
      T *d_query = d_qkv + first * stride + head * size, *d_key = d_query + hidden_size, *d_value = d_key + hidden_size;
      const T *out = data<T>(context) + first * hidden_size + head * size;
      const T *d_out = d_context + first * hidden_size + head * size;
      const BackwardScratch taken(Scratch::of_thread(), length, size);
      T *blocks = taken.blocks, *keys_left = taken.keys_left, *gradient_right = taken.gradient_right;
      T *dropped = taken.dropped, *gradient = taken.gradient, *narrow = taken.narrow;
      W *scores = taken.scores, *d_scores = taken.d_scores, *turned = taken.turned, *delta = taken.delta;
      set_to_zero(blocks, 4 * size * QUERIES), set_to_zero(keys_left, size * depth);
      set_to_zero(gradient_right, depth * QUERIES), set_to_zero(delta, QUERIES);
      T *query_right = blocks, *d_right = query_right + size * QUERIES;
      T *query_rows = d_right + size * QUERIES, *d_rows = query_rows + size * QUERIES;
      constexpr bool in_place = std::is_same_v<T, W>;
      W *key_sum = taken.key_sum, *value_sum = taken.value_sum;
      if constexpr (in_place) {
        key_sum = d_key, value_sum = d_value;
      }
      const int64_t to_next = in_place ? stride : size;
      kernels.transpose(length, size, key, stride, keys_left, depth);
      for (int64_t at = 0; at < length; at += QUERIES) {
        const int64_t count = std::min(QUERIES, length - at), queries = rounded(count);
        const bool again = at > 0;
        if (count < QUERIES && again) {
          std::fill(blocks, blocks + 4 * size * QUERIES, T{});
          std::fill(delta, delta + QUERIES, W{});
        }
        kernels.pack_columns(count, size, query + at * stride, stride, query_right, queries);
        kernels.pack_columns(count, size, d_out + at * hidden_size, hidden_size, d_right, queries);
        kernels.pack_rows(count, size, query + at * stride, stride, query_rows, size);
        kernels.pack_rows(count, size, d_out + at * hidden_size, hidden_size, d_rows, size);
        kernels.row_dots(count, size, d_out + at * hidden_size, hidden_size, out + at * hidden_size, hidden_size, delta);
        multiply(length, queries, size, stride, queries, queries, false, key, query_right, scores);
        multiply(length, queries, size, stride, queries, queries, false, value, d_right, d_scores);
        kernels.softmax_backward(tile(task, at, queries), scores, d_scores, drop(task),
                                 data<W>(log_sum) + task * rounded(length) + at, delta, dropped,
                                 gradient, gradient_right);
        multiply(length, size, queries, queries, size, to_next, again, dropped, d_rows, value_sum);
        multiply(length, size, queries, queries, size, to_next, again, gradient, query_rows, key_sum);
        multiply(size, queries, depth, depth, queries, queries, false, keys_left, gradient_right,
                 turned);
        kernels.transpose(size, count, narrowed(size, queries, turned, narrow), queries, d_query + at * stride, stride);
      }
      if (!in_place) {
        kernels.narrow(length, size, key_sum, size, d_key, stride);
        kernels.narrow(length, size, value_sum, size, d_value, stride);
      }
    });
  }

  static int64_t rounded(int64_t count) { return (count + 15) / 16 * 16; }

private:
  Scores tile(int64_t task, int64_t first_query, int64_t queries) const {
    const auto of_sequence = [&](const at::Tensor &all) -> const int32_t * {
      return all.defined() ? data<int32_t>(all) + task / shape.heads * length : nullptr;
    };
    return {length, queries, first_query, task % shape.heads, of_sequence(mask.visible), of_sequence(mask.documents),
            1.0 / std::sqrt(static_cast<double>(size))};
  }

  Dropout drop(int64_t task) const {
    Dropout of_sequence = dropout;
    if (dropout.threshold != 0) {
      of_sequence.keys += task / shape.heads;
    }
    return of_sequence;
  }

  const Kernels<T> &kernels = Scalar<T>::kernels();
  AttentionShape shape;
  const AttentionMask &mask;
  Dropout dropout;
  int64_t length, depth, size, stride;
};

} // namespace untie
