// The fused layer and the counter-based dropout as nodes of autograd, and the C interface to them.
#include "../shim.h"
#include "layer.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

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

template <typename T> at::Tensor drop(const at::Tensor &x, const at::Tensor &keys, uint32_t site, double probability) {
  const int64_t length = x.size(1), width = x.size(2);
  const Dropout dropout = dropout_of(keys, site, probability, length);
  const auto from = x.contiguous(), to = at::empty_like(from);
  in_parallel(x.size(0), [&](int64_t sequence) {
    const int64_t place = sequence * length * width;
    Scalar<T>::kernels().dropout(sequence * length, length, width, data<T>(from) + place, dropout, data<T>(to) + place,
                                 nullptr);
  });
  return to;
}

at::Tensor drop(const at::Tensor &x, const at::Tensor &keys, uint32_t site, double probability) {
  switch (x.scalar_type()) {
  case at::kBFloat16:
    return drop<bf16>(x, keys, site, probability);
  case at::kFloat:
    return drop<float>(x, keys, site, probability);
  case at::kDouble:
    return drop<double>(x, keys, site, probability);
  default:
    throw std::runtime_error("dropout works on bfloat16, float or double");
  }
}

struct DropoutBackward : Node {
  at::Tensor keys;
  uint32_t site;
  double probability;

  variable_list apply(variable_list &&gradients) override {
    return {gradients[0].defined() ? drop(gradients[0], keys, site, probability) : at::Tensor()};
  }
  std::string name() const override { return "CounterDropoutBackward"; }
};

template <typename Of> std::shared_ptr<Of> node_for(const at::Tensor &x) {
  if (!torch::autograd::compute_requires_grad(x)) {
    return nullptr;
  }
  std::shared_ptr<Of> node(new Of(), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  return node;
}

} // namespace
} // namespace untie

char *untie_set_kernel_level(const char *name) {
  return untie_guard([&] {
    if (!untie::set_level(name)) {
      throw std::runtime_error("this CPU has no kernels of level `" + std::string(name) + "`");
    }
  });
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

bool untie_has_avx512() { return untie::has_avx512(); }

void untie_layer_free(UntieLayer *layer) { delete layer; }

char *untie_layer_forward(const UntieLayer *layer, const at::Tensor *x, const UntiePass *pass, at::Tensor **out) {
  return untie_guard([&] {
    const auto or_none = [](const at::Tensor *tensor) { return tensor == nullptr ? at::Tensor() : *tensor; };
    const untie::Pass all{{or_none(pass->visible), or_none(pass->documents)},
                          or_none(pass->keys),
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

char *untie_dropout(const at::Tensor *x, const at::Tensor *keys, uint32_t site, double probability, at::Tensor **out) {
  return untie_guard([&] {
    const auto node = untie::node_for<untie::DropoutBackward>(*x);
    at::Tensor y;
    {
      at::NoGradGuard no_grad;
      y = untie::drop(x->detach(), *keys, site, probability);
    }
    if (node != nullptr) {
      node->keys = *keys, node->site = site, node->probability = probability;
      torch::autograd::set_history(y, node);
    }
    *out = new at::Tensor(std::move(y));
  });
}
