// What the nodes of autograd have in common.
#pragma once

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

namespace untie {

// A node that keeps tensors for its backward.
struct SavingNode : torch::autograd::Node {
  virtual std::vector<at::Tensor> saved_tensors() const = 0;
  // Of packed copies of weights that it reads.
  virtual int64_t packed_bytes() const = 0;
};

// A node behind `inputs`; null where nothing needs a gradient.
template <typename Of, typename... Inputs> std::shared_ptr<Of> node_for(const Inputs &...inputs) {
  if (!torch::autograd::compute_requires_grad(inputs...)) {
    return nullptr;
  }
  std::shared_ptr<Of> node(new Of(), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(inputs...));
  return node;
}

inline at::Tensor or_none(const at::Tensor *tensor) { return tensor == nullptr ? at::Tensor() : *tensor; }

} // namespace untie
