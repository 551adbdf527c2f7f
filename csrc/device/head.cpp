// The masked-language-model head with its loss on a GPU. Loss and gradient of the logits are made in one pass, a chunk of targets
// at a time, so that the logits of all never exist at once. The forward already has every gradient of the sum of losses; the backward
// multiplies them by what autograd passes in, which a loss scaler may have scaled.
#include "../fused/head.h"
#include "weights.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace untie {
namespace device {
namespace {

// Targets whose logits exist at once: 250 MB in 16 bits for 30,592 entries.
constexpr int64_t CHUNK = 4096;

// What the gradient of the logits is multiplied by. A probability of 1/30,592 is among half's smallest numbers, which have fewer bits;
// a loss scaler multiplies too late, in the backward. A power of two: other numbers keep their bits.
double scale_of(at::ScalarType kind) { return kind == at::kHalf ? 1024.0 : 1.0; }

class DeviceHead final : public Head {
public:
  DeviceHead(at::ScalarType kind, double of, const std::array<at::Tensor, HEAD_PARTS> &tensors) : epsilon(of) {
    for (int part = 0; part < HEAD_PARTS; ++part) {
      weights[part] = Weight(tensors[part], kind);
    }
  }

  HeadResult forward(const at::Tensor &hidden, const Targets &targets, HeadSavedTensors *saved) override {
    HeadSavedTensors now;
    now.positions = targets.positions, now.total = targets.total;
    now.gathered = hidden.flatten(0, 1).index_select(0, targets.positions);
    now.inner = at::addmm(weights[DENSE_BIAS].narrow(), now.gathered, weights[DENSE].narrow().t());
    now.after = gelu_forward(now.inner);
    now.statistics = at::empty({2, now.after.size(0)}, hidden.options().dtype(at::kFloat));
    now.normed = norm_forward({}, now.after, norm(), none(), {now.statistics[0], now.statistics[1]}).out;
    const at::Tensor &embeddings = weights[EMBEDDINGS].narrow(), &bias = weights[LOGIT_BIAS].wide();
    if (saved != nullptr) {
      now.d_normed = at::empty_like(now.normed);
      now.d_embeddings = at::zeros_like(weights[EMBEDDINGS].wide().detach());
      now.d_bias = at::zeros_like(bias.detach());
    }
    const int64_t count = now.normed.size(0);
    const double scale = scale_of(hidden.scalar_type());
    const at::Tensor scaled_weights = scale == 1.0 ? targets.weights : targets.weights.mul(scale);
    const auto sums = at::zeros({2}, hidden.options().dtype(at::kDouble));
    for (int64_t first = 0; first < count; first += CHUNK) {
      const int64_t rows = std::min(CHUNK, count - first);
      const at::Tensor normed = now.normed.narrow(0, first, rows);
      at::Tensor logits = at::mm(normed, embeddings.t());
      const auto [losses, correct] =
          cross_entropy(logits, bias, targets.labels.narrow(0, first, rows), scaled_weights.narrow(0, first, rows));
      sums[0].add_(losses.sum(at::kDouble)), sums[1].add_(correct.sum(at::kDouble));
      if (saved != nullptr) {
        // `logits` is the gradient of the sum now, times `scale`.
        at::Tensor d_normed = now.d_normed.narrow(0, first, rows);
        at::mm_out(d_normed, logits, embeddings);
        add_product({now.d_embeddings}, logits, normed);
        column_sums(logits, {now.d_bias});
      }
    }
    if (saved != nullptr) {
      *saved = std::move(now);
    }
    sums.div_(scale);
    return {sums[0].div(targets.total), sums[1]};
  }

  at::Tensor backward(const at::Tensor &gradient, at::IntArrayRef sizes, const HeadSavedTensors &saved) override {
    const at::Tensor factor = gradient.div(saved.total).div(scale_of(saved.normed.scalar_type())).to(at::kFloat);
    for (const auto &[part, sum] : {std::pair(EMBEDDINGS, saved.d_embeddings), std::pair(LOGIT_BIAS, saved.d_bias)}) {
      for (at::Tensor to : weights[part].gradients()) {
        to.addcmul_(sum, factor);
      }
    }
    // In float: `factor` rounded to 16 bits would be the same error in every gradient.
    const at::Tensor d_normed = saved.d_normed.to(at::kFloat).mul(factor).to(saved.normed.scalar_type());
    const at::Tensor d_after =
        norm_backward(d_normed, saved.after, norm(), {}, {saved.statistics[0], saved.statistics[1]}, none(), false,
                      {weights[NORM].gradients(), weights[NORM_BIAS].gradients(), {}})
            .d_sum;
    const at::Tensor d_inner = gelu_backward(d_after, saved.inner, weights[DENSE_BIAS].gradients());
    add_product(weights[DENSE].gradients(), d_inner, saved.gathered);
    const auto d_hidden = at::zeros(sizes, saved.normed.options());
    // The positions of targets differ; unused slots add zeros.
    d_hidden.flatten(0, 1).index_add_(0, saved.positions, at::mm(d_inner, weights[DENSE].narrow()));
    return d_hidden;
  }

  int64_t packed_bytes() const override {
    return std::accumulate(weights.begin(), weights.end(), int64_t{0},
                           [](int64_t sum, const Weight &weight) { return sum + weight.bytes(); });
  }

private:
  Norm norm() const { return {weights[NORM].wide(), weights[NORM_BIAS].wide(), epsilon}; }
  static Dropout none() { return dropout_of({}, 0, 0.0, 1); }

  double epsilon;
  std::array<Weight, HEAD_PARTS> weights;
};

} // namespace

std::shared_ptr<Head> make_head(at::ScalarType kind, double epsilon, const std::array<at::Tensor, HEAD_PARTS> &parts) {
  return std::make_shared<DeviceHead>(kind, epsilon, parts);
}

} // namespace device
} // namespace untie
