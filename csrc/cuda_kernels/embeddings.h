// Word, position and segment embeddings, summed, LayerNorm and dropout; in fp32 until the result is rounded. The sums are made again
// wherever they are needed. A warp has a row.
#pragma once
#include "dropout.h"
#include "sums.h"

struct Tables {
  const float *word, *position, *type;
  const i64 *word_ids, *position_ids, *type_ids; // the last two may be null: row % length, and 0
  u32 length, width;
};

// The three rows of the tables that are added.
struct EmbeddingRow {
  const float *word, *position, *type;
};

DEVICE EmbeddingRow embedding_row(const Tables &tables, u32 row) {
  const i64 position = tables.position_ids != nullptr ? tables.position_ids[row] : row % tables.length;
  const i64 type = tables.type_ids != nullptr ? tables.type_ids[row] : 0;
  return {tables.word + tables.word_ids[row] * tables.width, tables.position + position * tables.width,
          tables.type + type * tables.width};
}

DEVICE void embedding_sum(const EmbeddingRow &row, u32 column, float x[8]) {
  float position[8], type[8];
  load8(row.word + column, x);
  load8(row.position + column, position);
  load8(row.type + column, type);
  UNROLL
  for (int j = 0; j < 8; ++j) {
    x[j] = x[j] + position[j] + type[j];
  }
}

// Weight null: no LayerNorm.
template <typename T>
DEVICE void embeddings_forward(const Tables &tables, const float *weight, const float *bias, float epsilon, const Dropout &dropout,
                               u32 rows, Eight *out, float *means, float *inverses) {
  const u32 lane = threadIdx.x % 32, warps = blockDim.x / 32 * gridDim.x, width = tables.width;
  for (u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < rows; row += warps) {
    const EmbeddingRow from = embedding_row(tables, row);
    float x[8], mean = 0.0f, inverse = 0.0f;
    if (weight != nullptr) {
      float total = 0.0f, squares = 0.0f;
      for (u32 column = 8 * lane; column < width; column += 256) {
        embedding_sum(from, column, x);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          total += x[j];
        }
      }
      mean = sum_of_warp(total) / (float)width;
      for (u32 column = 8 * lane; column < width; column += 256) {
        embedding_sum(from, column, x);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          squares += (x[j] - mean) * (x[j] - mean);
        }
      }
      inverse = 1.0f / sqrtf(sum_of_warp(squares) / (float)width + epsilon);
      if (lane == 0) {
        means[row] = mean;
        inverses[row] = inverse;
      }
    }
    const MaskRow mask = mask_row(dropout, row, width);
    for (u32 first = 0; first < width; first += 256) {
      const u32 column = first + 8 * lane;
      float factor[8];
      factors(dropout, mask, first, factor);
      if (column >= width) {
        continue;
      }
      embedding_sum(from, column, x);
      if (weight != nullptr) {
        float w[8], b[8];
        load8(weight + column, w);
        load8(bias + column, b);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          x[j] = (x[j] - mean) * inverse * w[j] + b[j];
        }
      }
      UNROLL
      for (int j = 0; j < 8; ++j) {
        x[j] *= factor[j];
      }
      store(out + ((u64)row * width + column) / 8, pack<T>(x));
    }
  }
}

// d_sum, fp32: the gradient of the sums of the three rows.
template <typename T>
DEVICE void embeddings_backward(const Eight *d_out, const Tables &tables, const float *weight, const float *means, const float *inverses,
                                const Dropout &dropout, u32 rows, float *d_sum) {
  const u32 lane = threadIdx.x % 32, warps = blockDim.x / 32 * gridDim.x, width = tables.width;
  for (u32 row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; row < rows; row += warps) {
    const EmbeddingRow from = embedding_row(tables, row);
    const MaskRow mask = mask_row(dropout, row, width);
    const u64 at = (u64)row * width;
    float plain = 0.0f, products = 0.0f, mean = 0.0f, inverse = 0.0f;
    if (weight != nullptr) {
      mean = means[row];
      inverse = inverses[row];
    }
    // g = factor·d_out·weight of this lane's columns, kept in d_sum; then LayerNorm's backward of it.
    for (u32 first = 0; first < width; first += 256) {
      const u32 column = first + 8 * lane;
      float factor[8], g[8];
      factors(dropout, mask, first, factor);
      if (column >= width) {
        continue;
      }
      widen<T>(load(d_out + (at + column) / 8), g);
      UNROLL
      for (int j = 0; j < 8; ++j) {
        g[j] *= factor[j];
      }
      if (weight != nullptr) {
        float w[8], x[8];
        load8(weight + column, w);
        embedding_sum(from, column, x);
        UNROLL
        for (int j = 0; j < 8; ++j) {
          g[j] *= w[j];
          plain += g[j];
          products += g[j] * ((x[j] - mean) * inverse);
        }
      }
      store8(d_sum + at + column, g);
    }
    if (weight == nullptr) {
      continue;
    }
    const float mean_plain = sum_of_warp(plain) / (float)width, mean_product = sum_of_warp(products) / (float)width;
    for (u32 column = 8 * lane; column < width; column += 256) {
      float g[8], x[8];
      load8(d_sum + at + column, g);
      embedding_sum(from, column, x);
      UNROLL
      for (int j = 0; j < 8; ++j) {
        g[j] = (g[j] - mean_plain - (x[j] - mean) * inverse * mean_product) * inverse;
      }
      store8(d_sum + at + column, g);
    }
  }
}

// partial [gridDim.y, 2, width]: the block's sums of d·x̂ and d, where d = factor·d_out.
template <typename T>
DEVICE void embeddings_sums(const Eight *d_out, const Tables &tables, const float *means, const float *inverses, const Dropout &dropout,
                            u32 rows, float *partial) {
  const u32 width = tables.width, column = first_column();
  float of_weight[8] = {}, of_bias[8] = {};
  for (u32 row = first_row(); row < rows; row += row_step()) {
    float factor[8];
    factors(dropout, mask_row(dropout, row, width), 256 * blockIdx.x, factor);
    if (column >= width) {
      continue;
    }
    const float mean = means[row], inverse = inverses[row];
    float d[8], x[8];
    widen<T>(load(d_out + ((u64)row * width + column) / 8), d);
    embedding_sum(embedding_row(tables, row), column, x);
    UNROLL
    for (int j = 0; j < 8; ++j) {
      d[j] *= factor[j];
      of_weight[j] += d[j] * ((x[j] - mean) * inverse);
      of_bias[j] += d[j];
    }
  }
  float *to = partial + (u64)blockIdx.y * 2 * width;
  write_sums(of_weight, width, to);
  write_sums(of_bias, width, to + width);
}
