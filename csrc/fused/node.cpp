// The fused layer as a node of autograd, and the C interface to it.
#include "../shim.h"
#include "layer.h"
#include "node.h"

#include <ATen/record_function.h>

struct UntieLayer {
  std::shared_ptr<untie::Layer> layer;
};

namespace untie {
namespace {

using torch::autograd::Node;
using torch::autograd::variable_list;

struct LayerBackward : Node {
  std::shared_ptr<Layer> layer;
  Pass pass;
  Kept kept; // with `recompute` only x
  bool recompute = false;

  variable_list apply(variable_list &&gradients) override {
    if (!kept.x.defined()) {
      throw std::runtime_error("the backward of a fused layer ran twice");
    }
    if (gradients[0].defined() && recompute) {
      // Dropout is a function of keys and places, so this is the forward of before, bit for bit.
      layer->forward(at::Tensor(kept.x), pass, &kept);
    }
    return {gradients[0].defined() ? layer->backward(gradients[0], pass, kept) : at::Tensor()};
  }
  void release_variables() override { kept = Kept(); }
  std::string name() const override { return "FusedLayerBackward"; }
};

} // namespace
} // namespace untie

char *untie_set_kernel_level(const char *name) {
  return untie_guard([&] {
    if (!untie::set_level(name)) {
      throw std::runtime_error("this CPU has no kernels of level `" + std::string(name) + "`");
    }
  });
}

char *untie_kernel_level(const char **name) {
  return untie_guard([&] { *name = untie::level().name; });
}

char *untie_layer_new(at::Tensor *const *parts, int32_t kind, int64_t heads, bool pre_norm, double epsilon,
                      UntieLayer **layer) {
  return untie_guard([&] {
    std::array<at::Tensor, untie::PARTS> tensors;
    for (int part = 0; part < untie::PARTS; ++part) {
      tensors[part] = *parts[part];
    }
    const auto made = untie::Layer::make(static_cast<at::ScalarType>(kind), {heads, pre_norm, epsilon}, std::move(tensors));
    *layer = new UntieLayer{made};
  });
}

void untie_layer_free(UntieLayer *layer) noexcept { delete layer; }

char *untie_layer_forward(const UntieLayer *layer, const at::Tensor *x, const UntiePass *pass, at::Tensor **out) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::layer", std::vector<c10::IValue>());
    const untie::Pass all{{untie::or_none(pass->visible), untie::or_none(pass->documents)},
                          untie::or_none(pass->keys),
                          pass->site,
                          pass->attention_dropout,
                          pass->hidden_dropout};
    const auto node = untie::node_for<untie::LayerBackward>(*x);
    at::Tensor y;
    {
      at::NoGradGuard no_grad;
      y = layer->layer->forward(x->detach(), all, node == nullptr || pass->recompute ? nullptr : &node->kept);
    }
    if (node != nullptr) {
      node->recompute = pass->recompute;
      node->kept.x = x->detach();
      node->layer = layer->layer;
      node->pass = all;
      torch::autograd::set_history(y, node);
    }
    *out = new at::Tensor(std::move(y));
  });
}
