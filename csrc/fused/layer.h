// One encoder layer as one operation of autograd: on the CPU (layer.cpp), and on a GPU (../device/layer.cpp).
//
// Post-LN (Devlin et al. 2018): m = LN(x + A(x)), y = LN(m + F(m)). Pre-LN (Megatron-LM): m = x + A(LN(x)), y = m + F(LN(m)).
// A is attention with its projections, F the feed-forward; dropout on both before the sums.
//
// On the CPU everything between two products happens on a tile that is still in cache. The forward keeps, in the precision of x,
// the inputs of the products and of the LayerNorms: 12 values an element of x (GELU's output is made again in the backward; on a GPU
// it is kept, 16 values). Gradients of weights are added to the leaves' own in place.
#pragma once

#include "../shim.h"
#include "attention.h"
#include "gradients.h"
#include "weights.h"

#include <array>

namespace untie {

// The tensors of a layer, in the order of `layer_specs` (src/model/weights.rs).
enum Part { QKV, QKV_BIAS, OUT, OUT_BIAS, NORM1, NORM1_BIAS, INNER, INNER_BIAS, OUTER, OUTER_BIAS, NORM2, NORM2_BIAS, PARTS };

struct LayerConfig {
  int64_t heads;
  bool pre_norm;
  double epsilon;
};

// Sizes of a layer and of its input.
struct LayerShape {
  int64_t batch, length, hidden_size, intermediate_size, heads;
  bool pre_norm;
};

// What one forward of a layer depends on beside x.
struct LayerContext {
  AttentionMask mask; // on the CPU
  at::Tensor bias;    // on a GPU: of the scores, [B, 1, 1 or T, T]
  at::Tensor keys;    // int64 [B]: the sequences' dropout keys
  uint32_t site;   // attention probabilities; + 1: attention's output; + 2: feed-forward's
  double attention_dropout, hidden_dropout;
};

// What the forward keeps for the backward. `after` is GELU's output; `heads` are query, key and value; `attended` has the graph of
// libtorch's attention behind it: all three on a GPU only.
struct SavedTensors {
  at::Tensor x, normed, qkv, context, log_sum, sum1, middle, inner, sum2, statistics, after, attended;
  std::vector<at::Tensor> heads;

  std::vector<at::Tensor> all() const {
    std::vector<at::Tensor> tensors{x, normed, qkv, context, log_sum, sum1, middle, inner, sum2, statistics, after, attended};
    tensors.insert(tensors.end(), heads.begin(), heads.end());
    return tensors;
  }
};

// A layer's weights, whatever the precision.
class Layer {
public:
  virtual ~Layer() = default;
  virtual at::Tensor forward(const at::Tensor &x, const LayerContext &layer_context, SavedTensors *saved) = 0;
  virtual at::Tensor backward(const at::Tensor &d_out, const LayerContext &layer_context, const SavedTensors &saved) = 0;
  // Of its packed copies.
  virtual int64_t packed_bytes() const = 0;
  static std::shared_ptr<Layer> make(at::ScalarType kind, LayerConfig config, std::array<at::Tensor, PARTS> parts);
};

namespace device {
// The same on a GPU, in bfloat16 or half.
std::shared_ptr<Layer> make_layer(at::ScalarType kind, LayerConfig config, const std::array<at::Tensor, PARTS> &parts);
} // namespace device

// What a layer and its forward and backward of a batch hold.
UntieBytes layer_bytes(at::ScalarType kind, LayerShape shape);

} // namespace untie
