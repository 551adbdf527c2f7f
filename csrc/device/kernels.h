// The kernels of ../cuda_kernels over tensors. Matrices are [rows, width], contiguous, in bfloat16 or half; weights, sums and
// statistics in float. The width is a multiple of 8. Nothing here waits for the device.
#pragma once

#include "launch.h"

#include <ATen/core/Tensor.h>

#include <array>
#include <vector>

namespace untie {
namespace device {

// Dropout of one site: the mask is that of ../kernels/dropout.h, bit for bit. The kernels take it by value.
struct Dropout {
  const int64_t *keys;     // one a sequence; unused when threshold is 0
  uint32_t rows_of_a_key;  // tokens of a sequence
  uint32_t site;           // which dropout of the model
  uint32_t threshold;      // probability times 65536; 0: no dropout
  float scale;             // 1 / (1 - threshold / 65536)
};
static_assert(sizeof(Dropout) == 24, "../cuda_kernels/dropout.h has the same");

// Dropout with `probability` in [0, 1) for sequences of `length` rows with these keys, int64 [B]; no keys: none.
Dropout dropout_of(const at::Tensor &keys, uint32_t site, double probability, int64_t length);

// The gradients to which a sum over rows is added; none: it is not wanted.
using Gradients = std::vector<at::Tensor>;

// A LayerNorm, y = (x - mean)/deviation·weight + bias; undefined tensors: no LayerNorm.
struct Norm {
  at::Tensor weight, bias;
  double epsilon;
};

// The mean and 1/deviation of each row of a LayerNorm's input, float [rows].
struct Rows {
  at::Tensor means, inverses;
};

// s = residual + dropout(branch) as stored, and LayerNorm(s).
struct Normed {
  at::Tensor sum, out;
};
// No `branch`: s is `residual`. No LayerNorm: only `sum` is made. Writes `statistics`.
Normed norm_forward(const at::Tensor &branch, const at::Tensor &residual, const Norm &norm, Dropout dropout,
                    const Rows &statistics);

// Gradients of s and of the branch (the same tensor where nothing is dropped).
struct NormGradient {
  at::Tensor d_sum, d_branch;
};
// From the gradient of LayerNorm's output, or of s where there is no LayerNorm. `add` is added to the gradient of s. `of` has where the
// sums for weight, bias and the branch's bias go.
NormGradient norm_backward(const at::Tensor &d_out, const at::Tensor &sum, const Norm &norm, const at::Tensor &add,
                           const Rows &statistics, Dropout dropout, bool has_branch, const std::array<Gradients, 3> &of);

// GELU (Hendrycks & Gimpel 2016, the exact one), and its backward with the sum over rows.
at::Tensor gelu_forward(const at::Tensor &before);
at::Tensor gelu_backward(const at::Tensor &d_after, const at::Tensor &before, const Gradients &bias);

// The gradient of [B·T, 3·H·D] from those of query, key and value [B, H, T, D], whatever their strides, with its sum over rows.
at::Tensor pack_qkv(const std::array<at::Tensor, 3> &of, const Gradients &bias);

// Adds the sums over rows.
void column_sums(const at::Tensor &x, const Gradients &sums);

// Of logits + bias [V]: weight·(−log p(label)) [rows] and weight where the label has the highest logit [rows], in float; `logits`
// becomes the gradient of the sum of the first.
struct CrossEntropy {
  at::Tensor losses, correct;
};
CrossEntropy cross_entropy(at::Tensor &logits, const at::Tensor &bias, const at::Tensor &labels, const at::Tensor &weights);

// Rows of tables, summed: word + position + type, with LayerNorm where there is one, and dropout.
struct EmbeddingTables {
  at::Tensor word, position, type; // float [.., C]
  Norm norm;
};
struct EmbeddingIds {
  at::Tensor word, position, type; // int64 [B, T]; undefined: 0..T, all 0
  int64_t length() const { return word.size(1); }
};
// [B·T, C] in `kind`; writes the `statistics` of its LayerNorm.
at::Tensor embeddings_forward(at::ScalarType kind, const EmbeddingTables &tables, const EmbeddingIds &ids, Dropout dropout,
                              const Rows &statistics);
// The gradient of the sums of rows, float [B·T, C]; those of LayerNorm's weight and bias are added to `of`.
at::Tensor embeddings_backward(const at::Tensor &d_out, const EmbeddingTables &tables, const EmbeddingIds &ids, Dropout dropout,
                               const Rows &statistics, const std::array<Gradients, 2> &of);

// A piece of one weight for an AdamW update, as the kernel reads it.
struct AdamWPiece {
  float *weight, *gradient, *exp_avg, *exp_avg_sq;
  uint16_t *copy;  // the weight in the precision of activations; null: none
  uint32_t count;  // elements
  uint32_t index;  // of the weight's factor
  uint32_t decays; // 1: weight decay applies
  uint32_t keeps;  // 1: the gradient stays as it is; 0: it becomes 0
};
static_assert(sizeof(AdamWPiece) == 56, "../cuda_kernels/adamw.h has the same");
// Elements of a piece, at most.
constexpr int64_t PIECE = 1 << 14;

struct AdamW {
  double beta1, beta2, epsilon, weight_decay;
};
// `pieces` [n] are on the device; `factors` float64, the rest float32 scalars there.
void adamw(at::ScalarType kind, const at::Tensor &pieces, int64_t count, const at::Tensor &factors, const at::Tensor &skipped,
           const at::Tensor &num_updates, const at::Tensor &learning_rate, AdamW with);

} // namespace device
} // namespace untie
