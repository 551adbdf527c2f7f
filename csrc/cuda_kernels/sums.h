// Sums over rows, in a fixed order and in two steps: each block writes its own sums, add_up adds them.
#pragma once
#include "lane.h"

// A block of 256 threads has 256 neighbouring columns, a lane eight of them; its warps have every eighth of the block's rows.
constexpr u32 WALKERS = 8;

// Where this lane's eight columns begin, and the first of this warp's rows; the others follow row_step() apart.
DEVICE u32 first_column() { return blockIdx.x * 256 + threadIdx.x % 32 * 8; }
DEVICE u32 first_row() { return blockIdx.y * WALKERS + threadIdx.x / 32; }
DEVICE u32 row_step() { return WALKERS * gridDim.y; }

// Adds the warps' sums of this block in order; all threads take part, those past the width too.
DEVICE void write_sums(const float mine[8], u32 width, float *to) {
  // Columns j of all lanes are together, 36 apart: no two lanes of a warp use one bank, neither here nor below.
  constexpr u32 STRIDE = 36;
  SHARED(float, shared, WALKERS * 8 * STRIDE);
  UNROLL
  for (u32 j = 0; j < 8; ++j) {
    shared[(threadIdx.x / 32 * 8 + j) * STRIDE + threadIdx.x % 32] = mine[j];
  }
  __syncthreads();
  const u32 column = blockIdx.x * 256 + threadIdx.x;
  if (column < width) {
    float total = 0.0f;
    UNROLL
    for (u32 walker = 0; walker < WALKERS; ++walker) {
      total += shared[(walker * 8 + threadIdx.x % 8) * STRIDE + threadIdx.x / 8];
    }
    to[column] = total;
  }
  __syncthreads();
}

// partial [gridDim.y, width]: Σ of the block's rows of x.
template <typename T> DEVICE void column_sums(const Eight *x, u32 rows, u32 width, float *partial) {
  float total[8] = {};
  if (first_column() < width) {
    for (u32 row = first_row(); row < rows; row += row_step()) {
      float values[8];
      widen<T>(load(x + ((u64)row * width + first_column()) / 8), values);
      UNROLL
      for (int j = 0; j < 8; ++j) {
        total[j] += values[j];
      }
    }
  }
  write_sums(total, width, partial + (u64)blockIdx.y * width);
}

// Adds Σ over the blocks of partial [blocks, parts, width] to up to three sums; null: left out. 32 columns and 8 walkers a block.
DEVICE void add_blocks(const float *partial, u32 blocks, u32 width, u32 parts, float *first, float *second, float *third) {
  SHARED(float, shared, WALKERS * 32);
  const u32 lane = threadIdx.x % 32, walker = threadIdx.x / 32, columns = parts * width, column = blockIdx.x * 32 + lane;
  float total = 0.0f;
  if (column < columns) {
    for (u32 block = walker; block < blocks; block += WALKERS) {
      total += partial[(u64)block * columns + column];
    }
  }
  shared[walker * 32 + lane] = total;
  __syncthreads();
  if (walker == 0 && column < columns) {
    total = 0.0f;
    UNROLL
    for (u32 from = 0; from < WALKERS; ++from) {
      total += shared[from * 32 + lane];
    }
    float *to = column < width ? first : column < 2 * width ? second : third;
    if (to != nullptr) {
      to[column % width] += total;
    }
  }
}
