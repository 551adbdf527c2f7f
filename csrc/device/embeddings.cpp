// The sum of embeddings with LayerNorm and dropout on a GPU.
#include "embeddings.h"
#include "weights.h"

#include <ATen/ops/_assert_async.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>

namespace untie {
namespace device {
namespace {

void expect_below(const char *name, const at::Tensor &ids, const at::Tensor &table) {
  const std::string message =
      "index out of range: expected a " + std::string(name) + " id below " + std::to_string(table.size(0));
  // Looked at by the device, when it comes to it.
  at::_assert_async(ids.ge(0).logical_and(ids.lt(table.size(0))).all(), message);
}

struct DeviceEmbeddingsBackward : SavingNode {
  EmbeddingTables tables;
  EmbeddingIds ids;
  Dropout dropout;
  at::Tensor keys; // what `dropout` points into
  at::Tensor statistics;

  torch::autograd::variable_list apply(torch::autograd::variable_list &&gradients) override {
    if (!gradients[0].defined()) {
      return {};
    }
    const at::NoGradGuard no_grad;
    const auto d_out = gradients[0].contiguous().flatten(0, 1);
    std::array<Gradients, 2> of_norm;
    if (tables.norm.weight.defined()) {
      of_norm = {{{gradient_of(tables.norm.weight)}, {gradient_of(tables.norm.bias)}}};
    }
    scatter(embeddings_backward(d_out, tables, ids, dropout, {statistics[0], statistics[1]}, of_norm));
    return {};
  }
  std::vector<at::Tensor> saved_tensors() const override { return {statistics}; }
  int64_t packed_bytes() const override { return 0; }
  std::string name() const override { return "DeviceEmbeddingsBackward"; }

private:
  void scatter(const at::Tensor &d_sum) const {
    gradient_of(tables.word).index_add_(0, ids.word.flatten(), d_sum);
    at::Tensor position = gradient_of(tables.position), type = gradient_of(tables.type);
    if (ids.position.defined()) {
      position.index_add_(0, ids.position.flatten(), d_sum);
    } else {
      position.narrow(0, 0, ids.length()).add_(d_sum.view({-1, ids.length(), d_sum.size(1)}).sum(0));
    }
    if (!ids.type.defined()) {
      type[0].add_(d_sum.sum(0));
      return;
    }
    // A product with [segments, rows] of 0 and 1: rows that are added one by one to so few would wait for each other.
    const auto numbers = at::arange(type.size(0), ids.type.options()).unsqueeze(1);
    type.addmm_(numbers.eq(ids.type.flatten()).to(at::kFloat), d_sum);
  }
};

} // namespace

at::Tensor embeddings(at::ScalarType kind, const EmbeddingTables &tables, const EmbeddingIds &ids, const at::Tensor &keys,
                      uint32_t site, double probability) {
  const c10::OptionalDeviceGuard of_tensor(tables.word.device());
  expect_below("token", ids.word, tables.word);
  if (ids.position.defined()) {
    expect_below("position", ids.position, tables.position);
  } else if (ids.length() > tables.position.size(0)) {
    throw std::runtime_error("expected at most " + std::to_string(tables.position.size(0)) + " tokens a sequence, got " +
                             std::to_string(ids.length()));
  }
  if (ids.type.defined()) {
    expect_below("segment", ids.type, tables.type);
  }
  const auto node = node_for<DeviceEmbeddingsBackward>(tables.word);
  const Dropout dropout = dropout_of(keys, site, probability, ids.length());
  at::Tensor y, statistics;
  {
    const at::NoGradGuard no_grad;
    statistics = at::empty({2, ids.word.numel()}, tables.word.options().requires_grad(false));
    y = embeddings_forward(kind, tables, ids, dropout, {statistics[0], statistics[1]})
            .view({ids.word.size(0), ids.length(), tables.word.size(1)});
  }
  if (node != nullptr) {
    // Gradients go to the leaves' own: autograd has nothing to pass on.
    node->set_next_edges({});
    node->tables = tables, node->ids = ids, node->dropout = dropout, node->keys = keys, node->statistics = statistics;
    torch::autograd::set_history(y, node);
  }
  return y;
}

} // namespace device
} // namespace untie
