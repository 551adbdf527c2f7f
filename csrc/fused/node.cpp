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
  LayerContext context;
  SavedTensors saved; // with `recompute` only x
  bool recompute = false;

  variable_list apply(variable_list &&gradients) override {
    if (!saved.x.defined()) {
      throw std::runtime_error("the backward of a fused layer ran twice");
    }
    if (gradients[0].defined() && recompute) {
      // Dropout is a function of keys and places, so this is the forward of before, bit for bit.
      layer->forward(at::Tensor(saved.x), context, &saved);
    }
    return {gradients[0].defined() ? layer->backward(gradients[0], context, saved) : at::Tensor()};
  }
  void release_variables() override { saved = SavedTensors(); }
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

char *untie_layer_forward(const UntieLayer *layer, const at::Tensor *x, const UntieLayerContext *context, at::Tensor **out) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::layer", std::vector<c10::IValue>());
    const untie::LayerContext all{{untie::or_none(context->visible), untie::or_none(context->documents)},
                                  untie::or_none(context->keys),
                                  context->site,
                                  context->attention_dropout,
                                  context->hidden_dropout};
    const auto node = untie::node_for<untie::LayerBackward>(*x);
    at::Tensor y;
    {
      at::NoGradGuard no_grad;
      y = layer->layer->forward(x->detach(), all, node == nullptr || context->recompute ? nullptr : &node->saved);
    }
    if (node != nullptr) {
      node->recompute = context->recompute;
      node->saved.x = x->detach();
      node->layer = layer->layer;
      node->context = all;
      torch::autograd::set_history(y, node);
    }
    *out = new at::Tensor(std::move(y));
  });
}
