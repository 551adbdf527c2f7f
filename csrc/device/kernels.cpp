// How many blocks a kernel gets, and where its results go.
#include "kernels.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace untie {
namespace device {
namespace {

// Threads of a kernel whose warps have a row each, of one that walks down columns, and of the others.
constexpr uint32_t ROW_THREADS = 128, COLUMN_THREADS = 256, LOSS_THREADS = 512;
constexpr int64_t WARP = 32;
// Elements of one 16-byte access.
constexpr int64_t PIECE_OF_ROW = 8;

uint32_t up(int64_t count, int64_t of) { return static_cast<uint32_t>((count + of - 1) / of); }

std::string suffix(at::ScalarType kind) {
  switch (kind) {
  case at::kBFloat16:
    return "_bf16";
  case at::kHalf:
    return "_fp16";
  default:
    throw std::runtime_error("CUDA kernels compute in bfloat16 or half");
  }
}

bool is_fast(int64_t width) { return width == 256 || width == 512 || width == 768 || width == 1024; }

std::string of_width(const char *operation, const at::Tensor &like) {
  const int64_t width = like.size(1);
  return std::string(operation) + "_" + (is_fast(width) ? std::to_string(width) : "any") + suffix(like.scalar_type());
}

template <typename T> T *data(const at::Tensor &tensor) {
  return tensor.defined() ? static_cast<T *>(tensor.data_ptr()) : nullptr;
}
// 16-bit elements.
void *elements(const at::Tensor &tensor) { return data<void>(tensor); }

uint32_t rows_of(const at::Tensor &matrix) {
  if (matrix.size(0) > UINT32_MAX || matrix.size(1) % PIECE_OF_ROW != 0 || !matrix.is_contiguous()) {
    throw std::runtime_error("CUDA kernels work on contiguous rows of a multiple of 8 elements");
  }
  return static_cast<uint32_t>(matrix.size(0));
}
uint32_t width_of(const at::Tensor &matrix) { return static_cast<uint32_t>(matrix.size(1)); }

at::Tensor floats(const at::Tensor &like, at::IntArrayRef sizes) {
  return at::empty(sizes, like.options().dtype(at::kFloat));
}

// Enough warps to hide the memory's latency.
Grid grid_of_rows(uint32_t rows, uint32_t blocks_of_multiprocessor) {
  const uint32_t most = multiprocessors() * blocks_of_multiprocessor;
  return {std::max<uint32_t>(1, std::min(up(rows, ROW_THREADS / WARP), most))};
}
constexpr uint32_t BLOCKS_FORWARD = 16, BLOCKS_BACKWARD = 4;

Grid grid_of_columns(uint32_t rows, int64_t width) {
  const uint32_t across = up(width / PIECE_OF_ROW, WARP), down = up(rows, COLUMN_THREADS / WARP);
  return {across, std::max<uint32_t>(1, std::min(down, 8 * multiprocessors() / across))};
}

// Adds the sums of `blocks` blocks, [blocks, parts, width], to the gradients of each part.
void add_up(const at::Tensor &partial, uint32_t blocks, uint32_t width, std::initializer_list<const Gradients *> parts) {
  size_t most = 0;
  for (const Gradients *part : parts) {
    most = std::max(most, part->size());
  }
  for (size_t i = 0; i < most; ++i) {
    float *to[3] = {};
    size_t at = 0;
    for (const Gradients *part : parts) {
      to[at++] = i < part->size() ? data<float>((*part)[i]) : nullptr;
    }
    const auto count = static_cast<uint32_t>(parts.size());
    launch("add_up", {up(int64_t{count} * width, WARP)}, COLUMN_THREADS, static_cast<const float *>(data<float>(partial)), blocks, width,
           count, to[0], to[1], to[2]);
  }
}

struct Strides {
  int64_t batch, head, token;
};

} // namespace

Dropout dropout_of(const at::Tensor &keys, uint32_t site, double probability, int64_t length) {
  const auto rows = static_cast<uint32_t>(length);
  if (!keys.defined()) {
    return {nullptr, rows, site, 0, 1.0f};
  }
  const auto threshold = static_cast<uint32_t>(std::min(std::lround(probability * 65536), 65535L));
  return {data<int64_t>(keys), rows, site, threshold, static_cast<float>(65536.0 / (65536.0 - threshold))};
}

Normed norm_forward(const at::Tensor &branch, const at::Tensor &residual, const Norm &norm, Dropout dropout,
                    const Rows &statistics) {
  const uint32_t rows = rows_of(residual), width = width_of(residual);
  Normed made;
  made.sum = branch.defined() ? at::empty_like(residual) : residual;
  if (norm.weight.defined()) {
    made.out = at::empty_like(residual);
  }
  launch(of_width("norm_forward", residual), grid_of_rows(rows, BLOCKS_FORWARD), ROW_THREADS, elements(branch), elements(residual),
         data<float>(norm.weight), data<float>(norm.bias), static_cast<float>(norm.epsilon), dropout, rows, width,
         branch.defined() ? elements(made.sum) : nullptr, elements(made.out), data<float>(statistics.means), data<float>(statistics.inverses));
  return made;
}

NormGradient norm_backward(const at::Tensor &d_out, const at::Tensor &sum, const Norm &norm, const at::Tensor &add,
                           const Rows &statistics, Dropout dropout, bool has_branch, const std::array<Gradients, 3> &of) {
  const uint32_t rows = rows_of(d_out), width = width_of(d_out);
  const bool drops = has_branch && dropout.threshold != 0, norms = norm.weight.defined(), fast = is_fast(width);
  NormGradient made;
  made.d_sum = norms || add.defined() ? at::empty_like(d_out) : d_out;
  made.d_branch = drops ? at::empty_like(d_out) : made.d_sum;
  if (!has_branch) {
    dropout.threshold = 0;
  }
  const Grid grid = grid_of_rows(rows, BLOCKS_BACKWARD);
  at::Tensor partial = fast ? floats(d_out, {grid.x, 3, width}) : at::Tensor();
  if (fast || norms || drops) {
    launch(of_width("norm_backward", d_out), grid, ROW_THREADS, elements(d_out), elements(sum), data<float>(statistics.means),
           data<float>(statistics.inverses), data<float>(norm.weight), elements(add), dropout, rows, width,
           made.d_sum.is_same(d_out) ? nullptr : elements(made.d_sum), drops ? elements(made.d_branch) : nullptr,
           data<float>(partial));
  }
  uint32_t blocks = grid.x;
  if (!fast) {
    const Grid columns = grid_of_columns(rows, width);
    blocks = columns.y;
    partial = floats(d_out, {blocks, 3, width});
    launch("norm_sums_any" + suffix(d_out.scalar_type()), columns, COLUMN_THREADS, elements(d_out), elements(sum),
           data<float>(statistics.means), data<float>(statistics.inverses), has_branch ? elements(made.d_branch) : nullptr, rows,
           width, data<float>(partial));
  }
  add_up(partial, blocks, width, {&of[0], &of[1], &of[2]});
  return made;
}

at::Tensor gelu_forward(const at::Tensor &before) {
  rows_of(before);
  at::Tensor after = at::empty_like(before);
  const auto pieces = static_cast<uint64_t>(before.numel() / PIECE_OF_ROW);
  const uint32_t blocks = std::min<uint32_t>(up(static_cast<int64_t>(pieces), COLUMN_THREADS), multiprocessors() * 16);
  launch("gelu_forward" + suffix(before.scalar_type()), {std::max<uint32_t>(1, blocks)}, COLUMN_THREADS, elements(before), pieces,
         elements(after));
  return after;
}

at::Tensor gelu_backward(const at::Tensor &d_after, const at::Tensor &before, const Gradients &bias) {
  const uint32_t rows = rows_of(before), width = width_of(before);
  const Grid grid = grid_of_columns(rows, width);
  at::Tensor d_before = at::empty_like(before);
  const at::Tensor partial = floats(before, {grid.y, width});
  launch("gelu_backward" + suffix(before.scalar_type()), grid, COLUMN_THREADS, elements(d_after), elements(before), rows, width,
         elements(d_before), data<float>(partial));
  add_up(partial, grid.y, width, {&bias});
  return d_before;
}

void column_sums(const at::Tensor &x, const Gradients &sums) {
  const uint32_t rows = rows_of(x), width = width_of(x);
  const Grid grid = grid_of_columns(rows, width);
  const at::Tensor partial = floats(x, {grid.y, width});
  launch("column_sums" + suffix(x.scalar_type()), grid, COLUMN_THREADS, elements(x), rows, width, data<float>(partial));
  add_up(partial, grid.y, width, {&sums});
}

at::Tensor pack_qkv(const std::array<at::Tensor, 3> &of, const Gradients &bias) {
  const int64_t batch = of[0].size(0), heads = of[0].size(1), length = of[0].size(2), features = of[0].size(3);
  at::Tensor packed = at::empty({batch * length, 3 * heads * features}, of[0].options());
  const uint32_t rows = rows_of(packed), width = width_of(packed);
  std::array<at::Tensor, 3> parts = of;
  std::array<Strides, 3> strides{};
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto is_aligned = [&] {
      return parts[i].stride(3) == 1 && reinterpret_cast<uintptr_t>(parts[i].data_ptr()) % 16 == 0 &&
             (parts[i].stride(0) | parts[i].stride(1) | parts[i].stride(2)) % PIECE_OF_ROW == 0;
    };
    if (!is_aligned()) {
      parts[i] = parts[i].contiguous();
    }
    strides[i] = {parts[i].stride(0), parts[i].stride(1), parts[i].stride(2)};
  }
  const Grid grid = grid_of_columns(rows, width);
  const at::Tensor partial = floats(packed, {grid.y, width});
  launch("pack_qkv" + suffix(packed.scalar_type()), grid, COLUMN_THREADS, elements(parts[0]), elements(parts[1]), elements(parts[2]),
         strides[0], strides[1], strides[2], rows, static_cast<uint32_t>(length), static_cast<uint32_t>(heads),
         static_cast<uint32_t>(features), elements(packed), data<float>(partial));
  add_up(partial, grid.y, width, {&bias});
  return packed;
}

CrossEntropy cross_entropy(at::Tensor &logits, const at::Tensor &bias, const at::Tensor &labels, const at::Tensor &weights) {
  const uint32_t rows = rows_of(logits);
  const CrossEntropy made{floats(logits, {rows}), floats(logits, {rows})};
  if (rows > 0) {
    launch("cross_entropy" + suffix(logits.scalar_type()), {rows}, LOSS_THREADS, elements(logits), data<float>(bias),
           data<int64_t>(labels), data<float>(weights), width_of(logits), data<float>(made.losses), data<float>(made.correct));
  }
  return made;
}

at::Tensor embeddings_forward(at::ScalarType kind, const EmbeddingTables &tables, const EmbeddingIds &ids, Dropout dropout,
                              const Rows &statistics) {
  at::Tensor out = at::empty({ids.word.numel(), tables.word.size(1)}, tables.word.options().dtype(kind));
  const uint32_t rows = rows_of(out), width = width_of(out);
  launch("embeddings_forward" + suffix(kind), grid_of_rows(rows, BLOCKS_FORWARD), ROW_THREADS, data<float>(tables.word),
         data<float>(tables.position), data<float>(tables.type), data<int64_t>(ids.word), data<int64_t>(ids.position),
         data<int64_t>(ids.type), data<float>(tables.norm.weight), data<float>(tables.norm.bias),
         static_cast<float>(tables.norm.epsilon), dropout, rows, static_cast<uint32_t>(ids.length()), width, elements(out),
         data<float>(statistics.means), data<float>(statistics.inverses));
  return out;
}

at::Tensor embeddings_backward(const at::Tensor &d_out, const EmbeddingTables &tables, const EmbeddingIds &ids, Dropout dropout,
                               const Rows &statistics, const std::array<Gradients, 2> &of) {
  const uint32_t rows = rows_of(d_out), width = width_of(d_out), length = static_cast<uint32_t>(ids.length());
  at::Tensor d_sum = floats(d_out, {rows, width});
  launch("embeddings_backward" + suffix(d_out.scalar_type()), grid_of_rows(rows, BLOCKS_BACKWARD), ROW_THREADS, elements(d_out),
         data<float>(tables.word), data<float>(tables.position), data<float>(tables.type), data<int64_t>(ids.word),
         data<int64_t>(ids.position), data<int64_t>(ids.type), data<float>(tables.norm.weight), data<float>(statistics.means),
         data<float>(statistics.inverses), dropout, rows, length, width, data<float>(d_sum));
  if (tables.norm.weight.defined()) {
    const Grid grid = grid_of_columns(rows, width);
    const at::Tensor partial = floats(d_out, {grid.y, 2, width});
    launch("embeddings_sums" + suffix(d_out.scalar_type()), grid, COLUMN_THREADS, elements(d_out), data<float>(tables.word),
           data<float>(tables.position), data<float>(tables.type), data<int64_t>(ids.word), data<int64_t>(ids.position),
           data<int64_t>(ids.type), data<float>(statistics.means), data<float>(statistics.inverses), dropout, rows, length, width,
           data<float>(partial));
    add_up(partial, grid.y, width, {&of[0], &of[1]});
  }
  return d_sum;
}

void adamw(at::ScalarType kind, const at::Tensor &pieces, int64_t count, const at::Tensor &factors, const at::Tensor &skipped,
           const at::Tensor &num_updates, const at::Tensor &learning_rate, AdamW with) {
  launch("adamw" + suffix(kind), {static_cast<uint32_t>(count)}, COLUMN_THREADS, data<void>(pieces), data<double>(factors),
         data<float>(skipped), data<float>(num_updates), data<float>(learning_rate), with.beta1, with.beta2, with.epsilon,
         with.weight_decay);
}

} // namespace device
} // namespace untie
