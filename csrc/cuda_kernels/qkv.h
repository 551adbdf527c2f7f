// The gradients of queries, keys and values, each in a layout of its own, as the rows of one gradient [rows, 3·heads·features], with
// the sums of its columns for the bias.
#pragma once
#include "sums.h"

// Elements from one batch entry, head or token to the next; the features of a head are neighbours.
struct Strides {
  i64 batch, head, token;
};

template <typename T>
DEVICE void pack_qkv(const u16 *d_query, const u16 *d_key, const u16 *d_value, const Strides &of_query, const Strides &of_key,
                     const Strides &of_value, u32 rows, u32 length, u32 heads, u32 features, Eight *d_qkv, float *partial) {
  const u32 hidden = heads * features, width = 3 * hidden, column = first_column();
  float total[8] = {};
  if (column < width) {
    const u32 which = column / hidden, head = column % hidden / features;
    const Strides strides = which == 0 ? of_query : which == 1 ? of_key : of_value;
    const u16 *from = (which == 0 ? d_query : which == 1 ? d_key : d_value) + head * strides.head + column % features;
    for (u32 row = first_row(); row < rows; row += row_step()) {
      const u32 batch = row / length, token = row - batch * length;
      const Eight d = load(reinterpret_cast<const Eight *>(from + batch * strides.batch + token * strides.token));
      store(d_qkv + ((u64)row * width + column) / 8, d);
      float values[8];
      widen<T>(d, values);
      UNROLL
      for (int j = 0; j < 8; ++j) {
        total[j] += values[j];
      }
    }
  }
  write_sums(total, width, partial + (u64)blockIdx.y * width);
}
