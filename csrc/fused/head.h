// The masked-language-model head with its loss as one operation of autograd, on the CPU (head.cpp) and on a GPU
// (../device/head.cpp): dense, GELU, LayerNorm, the decoder
// tied to the word embeddings, softmax and cross-entropy (Devlin et al. 2018).
//
// On the CPU logits exist for 128 entries of the vocabulary at a time: the forward keeps the largest and the sum of exponentials, the
// backward makes the logits again, one product more of the decoder's three. Gradients of weights are added to the leaves'
// own in place.
#pragma once

#include "../shim.h"
#include "gradients.h"
#include "weights.h"

#include <array>

namespace untie {

enum HeadPart { DENSE, DENSE_BIAS, NORM, NORM_BIAS, EMBEDDINGS, LOGIT_BIAS, HEAD_PARTS };

// Which rows of the hidden states are targets: of [slots] each, those whose weight is not 0.
struct Targets {
  at::Tensor positions, labels, weights; // int64, int64, float32
  double total;                          // what the sum of losses is divided by
};

// What the forward keeps of the n targets.
struct HeadSavedTensors {
  std::vector<int64_t> rows; // of the hidden states
  std::vector<int32_t> labels;
  at::Tensor gathered, inner, after, normed, statistics, log_sum, factors;
  // On a GPU: where the targets are, what the sum of losses is divided by, and the gradients of that sum.
  at::Tensor positions, d_normed, d_embeddings, d_bias;
  double total = 1;

  std::vector<at::Tensor> all() const {
    return {gathered, inner, after, normed, statistics, log_sum, factors, d_normed, d_embeddings, d_bias};
  }
};

// fp64 scalars: Σ weight·loss / total, and Σ weight over the targets whose label has the largest logit.
struct HeadResult {
  at::Tensor loss, num_correct;
};

class Head {
public:
  virtual ~Head() = default;
  // hidden [B, T, C].
  virtual HeadResult forward(const at::Tensor &hidden, const Targets &targets, HeadSavedTensors *saved) = 0;
  // The gradient of hidden, of shape `sizes`; `gradient` is that of the loss, a scalar.
  virtual at::Tensor backward(const at::Tensor &gradient, at::IntArrayRef sizes, const HeadSavedTensors &saved) = 0;
  // Of its packed copies.
  virtual int64_t packed_bytes() const = 0;
  static std::shared_ptr<Head> make(at::ScalarType kind, double epsilon, std::array<at::Tensor, HEAD_PARTS> parts);
};

namespace device {
// The same on a GPU, in bfloat16 or half.
std::shared_ptr<Head> make_head(at::ScalarType kind, double epsilon, const std::array<at::Tensor, HEAD_PARTS> &parts);
} // namespace device

// What a head and its forward and backward of `targets` among `rows` hidden states hold.
UntieBytes head_bytes(at::ScalarType kind, int64_t rows, int64_t targets, int64_t hidden_size, int64_t vocabulary);

} // namespace untie
