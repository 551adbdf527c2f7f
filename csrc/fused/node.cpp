// The fused layer as a node of autograd, and the C interface to it.
#include "../shim.h"
#include "layer.h"
#include "node.h"
#include "../randomness.h"

#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>

#include <set>

struct UntieLayer {
  std::shared_ptr<untie::Layer> layer;
};

namespace untie {
namespace {

using torch::autograd::variable_list;

struct LayerBackward : SavingNode {
  std::shared_ptr<Layer> layer;
  LayerContext context;
  SavedTensors saved; // with `recompute` only x
  bool recompute = false;
  std::unique_ptr<Randomness> randomness; // with `recompute`: of libtorch's attention

  variable_list apply(variable_list &&gradients) override {
    if (!saved.x.defined()) {
      throw std::runtime_error("the backward of a fused layer ran twice");
    }
    if (gradients[0].defined() && recompute) {
      // Dropout is a function of keys and places, or of the generators' states, so this is the forward of before, bit for bit.
      const at::Tensor x = saved.x;
      const Randomness now(x.device());
      randomness->restore();
      layer->forward(x, context, &saved);
      now.restore();
    }
    return {gradients[0].defined() ? layer->backward(gradients[0], context, saved) : at::Tensor()};
  }
  void release_variables() override { saved = SavedTensors(); }
  std::vector<at::Tensor> saved_tensors() const override { return saved.all(); }
  int64_t packed_bytes() const override { return layer->packed_bytes(); }
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

char *untie_layer_new(at::Tensor *const *parts, int32_t kind, bool on_device, int64_t heads, bool pre_norm, double epsilon,
                      UntieLayer **layer) {
  return untie_guard([&] {
    std::array<at::Tensor, untie::PARTS> tensors;
    for (int part = 0; part < untie::PARTS; ++part) {
      tensors[part] = *parts[part];
    }
    const auto element = static_cast<at::ScalarType>(kind);
    const untie::LayerConfig config{heads, pre_norm, epsilon};
    *layer = new UntieLayer{on_device ? untie::device::make_layer(element, config, tensors)
                                      : untie::Layer::make(element, config, std::move(tensors))};
  });
}

void untie_layer_free(UntieLayer *layer) noexcept { delete layer; }

char *untie_layer_forward(const UntieLayer *layer, const at::Tensor *x, const UntieLayerContext *context, at::Tensor **out) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::layer", std::vector<c10::IValue>());
    const untie::LayerContext all{{untie::or_none(context->visible), untie::or_none(context->documents)},
                                  untie::or_none(context->bias),
                                  untie::or_none(context->keys),
                                  context->site,
                                  context->attention_dropout,
                                  context->hidden_dropout};
    const c10::OptionalDeviceGuard of_tensor(x->device());
    const auto node = untie::node_for<untie::LayerBackward>(*x);
    if (node != nullptr && context->recompute) {
      node->randomness = std::make_unique<untie::Randomness>(x->device());
    }
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

char *untie_layer_bytes(int32_t kind, int64_t batch, int64_t length, int64_t hidden_size, int64_t intermediate_size,
                        int64_t heads, bool pre_norm, UntieBytes *bytes) {
  return untie_guard([&] {
    *bytes = untie::layer_bytes(static_cast<at::ScalarType>(kind),
                                {batch, length, hidden_size, intermediate_size, heads, pre_norm});
  });
}

char *untie_held_bytes(const at::Tensor *out, UntieBytes *bytes) {
  return untie_guard([&] {
    const auto node = dynamic_cast<untie::SavingNode *>(out->grad_fn().get());
    if (node == nullptr) {
      throw std::runtime_error("no fused operation is behind this tensor");
    }
    *bytes = {};
    std::set<const void *> seen;
    for (const auto &tensor : node->saved_tensors()) {
      if (tensor.defined() && seen.insert(tensor.storage().unsafeGetStorageImpl()).second) {
        bytes->saved += static_cast<int64_t>(tensor.storage().nbytes());
      }
    }
    bytes->packed = node->packed_bytes();
    bytes->workspace = untie::workspace_size();
    bytes->per_thread = untie::Scratch::of_thread().bytes();
  });
}
