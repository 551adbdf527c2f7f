// AdamW of all tensors of a model in one launch, whose numbers stay on the device: it applies the factors of clipping and of the mean over
// layers, writes the copies in 16 bits that the products read, and leaves gradients of zero.
#include "../shim.h"
#include "weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>

#include <cstring>
#include <optional>

// The table of pieces on the device is made again when an address has changed.
struct UntieDeviceAdamW {
  std::vector<untie::device::AdamWPiece> pieces;
  at::Tensor on_device, learning_rate;
};

char *untie_device_adamw_new(UntieDeviceAdamW **made) {
  return untie_guard([&] { *made = new UntieDeviceAdamW; });
}

void untie_device_adamw_free(UntieDeviceAdamW *adamw) noexcept { delete adamw; }

char *untie_device_adamw_update(UntieDeviceAdamW *adamw, size_t count, const UntieAdamW *tensors, bool keeps_gradients,
                                double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                                const at::Tensor *factors, const at::Tensor *skipped, const at::Tensor *num_updates) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::device_adamw", std::vector<c10::IValue>());
    using namespace untie::device;
    const at::NoGradGuard no_grad;
    if (count == 0) {
      return;
    }
    const c10::OptionalDeviceGuard of_tensor(tensors[0].parameter->device());
    const auto floats = [](const at::Tensor *tensor) { return static_cast<float *>(tensor->data_ptr()); };
    std::vector<AdamWPiece> pieces;
    std::vector<std::shared_ptr<NarrowWeight>> copies;
    std::optional<at::ScalarType> kind;
    for (size_t i = 0; i < count; ++i) {
      const auto &of = tensors[i];
      // An update that is skipped leaves a copy as it is: only one that is up to date may be taken for fresh afterwards.
      const auto copy = NarrowWeight::fresh(*of.parameter);
      if (copy != nullptr && kind.value_or(copy->kind()) != copy->kind()) {
        throw std::runtime_error("expected the copies of all weights in one precision");
      }
      kind = copy == nullptr ? kind : copy->kind();
      const int64_t all = of.parameter->numel();
      for (int64_t first = 0; first < all; first += PIECE) {
        pieces.push_back({floats(of.parameter) + first, floats(of.gradient) + first, floats(of.exp_avg) + first,
                          floats(of.exp_avg_sq) + first, copy == nullptr ? nullptr : copy->elements() + first,
                          static_cast<uint32_t>(std::min(PIECE, all - first)), static_cast<uint32_t>(i),
                          of.weight_decay != 0.0 ? 1u : 0u, keeps_gradients ? 1u : 0u});
      }
      copies.push_back(copy);
    }
    const size_t bytes = pieces.size() * sizeof(AdamWPiece);
    const bool is_known = pieces.size() == adamw->pieces.size() && std::memcmp(pieces.data(), adamw->pieces.data(), bytes) == 0;
    if (!is_known) {
      adamw->pieces.clear(); // not known until all of it is on the device
      const auto host = at::from_blob(pieces.data(), {static_cast<int64_t>(bytes)}, at::kByte);
      adamw->on_device = at::empty({static_cast<int64_t>(bytes)}, tensors[0].parameter->options().dtype(at::kByte));
      adamw->on_device.copy_(host);
      adamw->learning_rate = at::empty({}, tensors[0].parameter->options().requires_grad(false));
      adamw->pieces = std::move(pieces);
    }
    adamw->learning_rate.fill_(learning_rate);
    untie::device::adamw(kind.value_or(at::kBFloat16), adamw->on_device, static_cast<int64_t>(adamw->pieces.size()), *factors, *skipped, *num_updates,
                         adamw->learning_rate, {beta1, beta2, epsilon, weight_decay});
    for (size_t i = 0; i < count; ++i) {
      tensors[i].parameter->unsafeGetTensorImpl()->bump_version();
      if (copies[i] != nullptr) {
        copies[i]->refreshed();
      }
    }
  });
}
