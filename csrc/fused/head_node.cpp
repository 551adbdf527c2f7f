// The fused head as a node of autograd, and the C interface to it.
#include "../shim.h"
#include "head.h"
#include "node.h"

#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>

struct UntieHead {
  std::shared_ptr<untie::Head> head;
};

namespace untie {
namespace {

struct HeadBackward : SavingNode {
  std::shared_ptr<Head> head;
  std::vector<int64_t> sizes;
  HeadSavedTensors saved;

  torch::autograd::variable_list apply(torch::autograd::variable_list &&gradients) override {
    if (!saved.gathered.defined()) {
      throw std::runtime_error("the backward of a fused head ran twice");
    }
    at::NoGradGuard no_grad;
    return {gradients[0].defined() ? head->backward(gradients[0], sizes, saved) : at::Tensor()};
  }
  void release_variables() override { saved = HeadSavedTensors(); }
  std::vector<at::Tensor> saved_tensors() const override { return saved.all(); }
  int64_t packed_bytes() const override { return head->packed_bytes(); }
  std::string name() const override { return "FusedHeadBackward"; }
};

} // namespace
} // namespace untie

char *untie_head_new(at::Tensor *const *parts, int32_t kind, bool on_device, double epsilon, UntieHead **head) {
  return untie_guard([&] {
    std::array<at::Tensor, untie::HEAD_PARTS> tensors;
    for (int part = 0; part < untie::HEAD_PARTS; ++part) {
      tensors[part] = *parts[part];
    }
    const auto element = static_cast<at::ScalarType>(kind);
    *head = new UntieHead{on_device ? untie::device::make_head(element, epsilon, tensors)
                                    : untie::Head::make(element, epsilon, std::move(tensors))};
  });
}

void untie_head_free(UntieHead *head) noexcept { delete head; }

char *untie_head_loss(const UntieHead *head, const at::Tensor *hidden, const at::Tensor *positions, const at::Tensor *labels,
                      const at::Tensor *weights, double total, at::Tensor **loss, at::Tensor **num_correct) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::head_loss", std::vector<c10::IValue>());
    const c10::OptionalDeviceGuard of_tensor(hidden->device());
    const auto node = untie::node_for<untie::HeadBackward>(*hidden);
    untie::HeadResult found;
    {
      at::NoGradGuard no_grad;
      found = head->head->forward(hidden->detach(), {*positions, *labels, *weights, total},
                                  node == nullptr ? nullptr : &node->saved);
    }
    if (node != nullptr) {
      node->head = head->head;
      node->sizes = hidden->sizes().vec();
      torch::autograd::set_history(found.loss, node);
    }
    *loss = new at::Tensor(std::move(found.loss));
    *num_correct = new at::Tensor(std::move(found.num_correct));
  });
}

char *untie_head_bytes(int32_t kind, int64_t rows, int64_t targets, int64_t hidden_size, int64_t vocabulary,
                       UntieBytes *bytes) {
  return untie_guard(
      [&] { *bytes = untie::head_bytes(static_cast<at::ScalarType>(kind), rows, targets, hidden_size, vocabulary); });
}
