// A function of tensors whose backward runs it again instead of keeping what it computed (activation checkpointing, Chen et
// al. 2016). The function is Rust's and pure: what it reads beside its inputs does not change, and random numbers come from
// libtorch's generators, which are set back to where they stood.
#include "randomness.h"
#include "shim.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

#include <array>
#include <memory>

namespace {

using torch::autograd::Node;
using untie::Randomness;
using torch::autograd::variable_list;

struct Function {
  UntieFunction call;
  std::shared_ptr<void> context;

  at::Tensor operator()(const variable_list &inputs) const {
    std::vector<const at::Tensor *> pointers;
    for (const at::Tensor &input : inputs) {
      pointers.push_back(&input);
    }
    at::Tensor *out = nullptr;
    std::array<char, 4096> message{};
    if (!call(context.get(), pointers.size(), pointers.data(), &out, message.data(), message.size())) {
      throw std::runtime_error(message.data());
    }
    return std::move(*std::unique_ptr<at::Tensor>(out));
  }
};

struct RecomputeBackward : Node {
  Function function;
  variable_list inputs;
  std::unique_ptr<Randomness> randomness;

  variable_list apply(variable_list &&gradients) override {
    if (inputs.empty()) {
      throw std::runtime_error("the backward of a recomputed function ran twice");
    }
    variable_list found(inputs.size()), leaves, wanted;
    if (!gradients[0].defined()) {
      return found;
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      leaves.push_back(inputs[i].detach().set_requires_grad(task_should_compute_output(i)));
      if (leaves.back().requires_grad()) {
        wanted.push_back(leaves.back());
      }
    }
    const Randomness now(gradients[0].device());
    randomness->restore();
    at::Tensor out;
    {
      const at::AutoGradMode with_graph(true);
      out = function(leaves);
    }
    now.restore();
    const variable_list made = torch::autograd::grad({out}, wanted, {gradients[0]});
    for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
      if (leaves[i].requires_grad()) {
        found[i] = made[next++];
      }
    }
    return found;
  }
  void release_variables() override {
    inputs.clear();
    function.context.reset();
  }
  std::string name() const override { return "RecomputeBackward"; }
};

} // namespace

char *untie_recompute(UntieFunction call, void *context, void (*release)(void *), size_t count,
                      const at::Tensor *const *inputs, at::Tensor **out) {
  return untie_guard([&] {
    const Function function{call, std::shared_ptr<void>(context, release)};
    variable_list given, detached;
    for (size_t i = 0; i < count; ++i) {
      given.push_back(*inputs[i]);
      detached.push_back(inputs[i]->detach());
    }
    auto randomness = std::make_unique<Randomness>(given.at(0).device());
    at::Tensor y;
    {
      const at::NoGradGuard no_grad;
      y = function(detached);
    }
    if (torch::autograd::compute_requires_grad(given)) {
      const std::shared_ptr<RecomputeBackward> node(new RecomputeBackward(), torch::autograd::deleteNode);
      node->set_next_edges(torch::autograd::collect_next_edges(given));
      node->function = function, node->inputs = std::move(detached), node->randomness = std::move(randomness);
      torch::autograd::set_history(y, node);
    }
    *out = new at::Tensor(std::move(y));
  });
}
