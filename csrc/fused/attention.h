// Exact self-attention, softmax(q·kᵀ/√D)·v (Vaswani et al. 2017, eq. 1), with dropout, without the T x T matrices in memory:
// a thread does one head of one sequence, a block of queries at a time with all keys, in its cache. The backward computes
// the probabilities again from the sums that the forward keeps.
#pragma once

#include "products.h"

namespace untie {

// B sequences of T tokens, H heads of D features.
struct AttentionShape {
  int64_t batch, length, heads, features;
  int64_t width() const { return heads * features; }
};

// What limits who sees whom, int32 [B, T] each; undefined: nothing.
struct Sight {
  at::Tensor visible, documents;
};

template <typename T> class Attention {
public:
  using W = Wide<T>;
  // As many queries at a time as keep two tiles of scores in a core's second-level cache.
  static constexpr int64_t QUERIES = 128;

  Attention(AttentionShape of, const Sight &seen, Dropout drop)
      : shape(of), sight(seen), dropout(drop), length(of.length), depth(even(of.length)), size(of.features),
        stride(3 * of.width()) {}

  // qkv [B·T, 3C] → context [B·T, C]; log_sum [B·H, T rounded up to 16].
  void forward(const at::Tensor &qkv, const at::Tensor &context, const at::Tensor &log_sum) const {
    in_parallel(shape.batch * shape.heads, [&](int64_t task) {
      const int64_t first = task / shape.heads * length, head = task % shape.heads;
      const T *query = data<T>(qkv) + first * stride + head * size;
      const T *key = query + shape.width(), *value = key + shape.width();
      const auto right = zeros<T>({size, QUERIES}), left = zeros<T>({size, depth}), packed = zeros<T>({depth, QUERIES});
      const auto scores = wide_buffer<T>({length, QUERIES}), out = wide_buffer<T>({size, QUERIES});
      const auto narrow = buffer<T>({size, QUERIES});
      kernels.transpose(length, size, value, stride, data<T>(left), depth);
      for (int64_t at = 0; at < length; at += QUERIES) {
        const int64_t count = std::min(QUERIES, length - at), queries = rounded(count);
        if (count < QUERIES && at > 0) {
          right.zero_();
        }
        kernels.pack_columns(count, size, query + at * stride, stride, data<T>(right), queries);
        multiply(length, queries, size, stride, queries, queries, false, key, data<T>(right), data<W>(scores));
        kernels.softmax_forward(tile(task, at, queries), data<W>(scores), drop(task), data<T>(packed),
                                data<W>(log_sum) + task * rounded(length) + at);
        multiply(size, queries, depth, depth, queries, queries, false, data<T>(left), data<T>(packed), data<W>(out));
        kernels.narrow(size, queries, data<W>(out), queries, data<T>(narrow), queries);
        kernels.transpose(size, count, data<T>(narrow), queries,
                          data<T>(context) + (first + at) * shape.width() + head * size, shape.width());
      }
    });
  }

  // The gradient of qkv from that of the context.
  void backward(const at::Tensor &qkv, const at::Tensor &context, const at::Tensor &log_sum, const at::Tensor &d_context,
                const at::Tensor &d_qkv) const {
    in_parallel(shape.batch * shape.heads, [&](int64_t task) {
      const int64_t first = task / shape.heads * length, head = task % shape.heads, width = shape.width();
      const T *query = data<T>(qkv) + first * stride + head * size, *key = query + width, *value = key + width;
      T *d_query = data<T>(d_qkv) + first * stride + head * size, *d_key = d_query + width, *d_value = d_key + width;
      const T *out = data<T>(context) + first * width + head * size;
      const T *d_out = data<T>(d_context) + first * width + head * size;
      const auto query_right = zeros<T>({size, QUERIES}), d_right = zeros<T>({size, QUERIES});
      const auto query_rows = zeros<T>({QUERIES, size}), d_rows = zeros<T>({QUERIES, size});
      const auto keys_left = zeros<T>({size, depth}), gradient_right = zeros<T>({depth, QUERIES});
      const auto dropped = buffer<T>({length, QUERIES}), gradient = buffer<T>({length, QUERIES});
      const auto scores = wide_buffer<T>({length, QUERIES}), d_scores = wide_buffer<T>({length, QUERIES});
      const auto sums = wide_buffer<T>({2, length, size}), turned = wide_buffer<T>({size, QUERIES});
      const auto narrow = buffer<T>({size, QUERIES}), delta = at::zeros({QUERIES}, Scalar<T>::wide);
      W *key_sum = data<W>(sums), *value_sum = key_sum + length * size;
      kernels.transpose(length, size, key, stride, data<T>(keys_left), depth);
      for (int64_t at = 0; at < length; at += QUERIES) {
        const int64_t count = std::min(QUERIES, length - at), queries = rounded(count);
        const bool again = at > 0;
        if (count < QUERIES && again) {
          for (const auto &part : {query_right, d_right, query_rows, d_rows}) {
            part.zero_();
          }
          delta.zero_();
        }
        kernels.pack_columns(count, size, query + at * stride, stride, data<T>(query_right), queries);
        kernels.pack_columns(count, size, d_out + at * width, width, data<T>(d_right), queries);
        kernels.pack_rows(count, size, query + at * stride, stride, data<T>(query_rows), size);
        kernels.pack_rows(count, size, d_out + at * width, width, data<T>(d_rows), size);
        kernels.row_dots(count, size, d_out + at * width, width, out + at * width, width, data<W>(delta));
        multiply(length, queries, size, stride, queries, queries, false, key, data<T>(query_right), data<W>(scores));
        multiply(length, queries, size, stride, queries, queries, false, value, data<T>(d_right), data<W>(d_scores));
        kernels.softmax_backward(tile(task, at, queries), data<W>(scores), data<W>(d_scores), drop(task),
                                 data<W>(log_sum) + task * rounded(length) + at, data<W>(delta), data<T>(dropped),
                                 data<T>(gradient), data<T>(gradient_right));
        multiply(length, size, queries, queries, size, size, again, data<T>(dropped), data<T>(d_rows), value_sum);
        multiply(length, size, queries, queries, size, size, again, data<T>(gradient), data<T>(query_rows), key_sum);
        multiply(size, queries, depth, depth, queries, queries, false, data<T>(keys_left), data<T>(gradient_right),
                 data<W>(turned));
        kernels.narrow(size, queries, data<W>(turned), queries, data<T>(narrow), queries);
        kernels.transpose(size, count, data<T>(narrow), queries, d_query + at * stride, stride);
      }
      kernels.narrow(length, size, key_sum, size, d_key, stride);
      kernels.narrow(length, size, value_sum, size, d_value, stride);
    });
  }

  static int64_t rounded(int64_t count) { return (count + 15) / 16 * 16; }

private:
  template <typename E> static at::Tensor zeros(at::IntArrayRef sizes) { return at::zeros(sizes, Scalar<E>::kind); }

  Scores tile(int64_t task, int64_t first_query, int64_t queries) const {
    const auto of_sequence = [&](const at::Tensor &all) -> const int32_t * {
      return all.defined() ? data<int32_t>(all) + task / shape.heads * length : nullptr;
    };
    return {length, queries, first_query, task % shape.heads, of_sequence(sight.visible), of_sequence(sight.documents),
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
  const Sight &sight;
  Dropout dropout;
  int64_t length, depth, size, stride;
};

} // namespace untie
