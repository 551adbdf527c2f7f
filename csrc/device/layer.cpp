// One encoder layer on a GPU: products by cuBLAS, attention by libtorch, everything between them in kernels of our own.
#include "../fused/layer.h"
#include "attention.h"
#include "weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/autograd.h>

namespace untie {
namespace device {
namespace {

class DeviceLayer final : public Layer {
public:
  DeviceLayer(at::ScalarType kind, LayerConfig of, const std::array<at::Tensor, PARTS> &tensors) : config(of) {
    for (int part = 0; part < PARTS; ++part) {
      weights[part] = Weight(tensors[part], kind);
    }
  }

  at::Tensor forward(const at::Tensor &x, const LayerContext &context, SavedTensors *saved) override {
    const int64_t length = x.size(1);
    SavedTensors now;
    now.x = x.contiguous().view({-1, x.size(2)});
    now.statistics = at::empty({4, now.x.size(0)}, x.options().dtype(at::kFloat));
    const Rows first = rows_of(0, now), second = rows_of(1, now);
    now.normed = config.pre_norm ? norm_forward({}, now.x, norm(NORM1), none(), first).out : now.x;
    now.context = attend(affine(QKV, now.normed), context, x.size(0), saved == nullptr ? nullptr : &now);
    const Normed branch = norm_forward(affine(OUT, now.context), now.x, norm(config.pre_norm ? NORM2 : NORM1),
                                       dropout(context, 1, length), config.pre_norm ? second : first);
    now.sum1 = branch.sum, now.middle = branch.out;
    now.inner = affine(INNER, now.middle);
    now.after = gelu_forward(now.inner);
    const Normed last = norm_forward(affine(OUTER, now.after), config.pre_norm ? now.sum1 : now.middle,
                                     config.pre_norm ? Norm{} : norm(NORM2), dropout(context, 2, length), second);
    now.sum2 = config.pre_norm ? at::Tensor() : last.sum;
    if (saved != nullptr) {
      *saved = now;
    }
    return (config.pre_norm ? last.sum : last.out).view(x.sizes());
  }

  at::Tensor backward(const at::Tensor &gradient, const LayerContext &context, const SavedTensors &saved) override {
    const at::NoGradGuard no_grad;
    const int64_t length = gradient.size(1);
    const at::Tensor d_out = gradient.contiguous().view({-1, gradient.size(2)});
    const Rows first = rows_of(0, saved), second = rows_of(1, saved);
    const NormGradient d2 =
        config.pre_norm
            ? norm_backward(d_out, {}, Norm{}, {}, second, dropout(context, 2, length), true, {{{}, {}, of(OUTER_BIAS)}})
            : norm_backward(d_out, saved.sum2, norm(NORM2), {}, second, dropout(context, 2, length), true,
                            {of(NORM2), of(NORM2_BIAS), of(OUTER_BIAS)});
    add_product(of(OUTER), d2.d_branch, saved.after);
    const at::Tensor d_inner = gelu_backward(at::mm(d2.d_branch, weights[OUTER].narrow()), saved.inner, of(INNER_BIAS));
    add_product(of(INNER), d_inner, saved.middle);
    NormGradient d1;
    if (config.pre_norm) {
      d1 = norm_backward(at::mm(d_inner, weights[INNER].narrow()), saved.sum1, norm(NORM2), d_out, second,
                         dropout(context, 1, length), true, {of(NORM2), of(NORM2_BIAS), of(OUT_BIAS)});
    } else {
      // d_branch, which may be the same tensor, has been read.
      at::Tensor d_middle = d2.d_sum;
      d_middle.addmm_(d_inner, weights[INNER].narrow());
      d1 = norm_backward(d_middle, saved.sum1, norm(NORM1), {}, first, dropout(context, 1, length), true,
                         {of(NORM1), of(NORM1_BIAS), of(OUT_BIAS)});
    }
    add_product(of(OUT), d1.d_branch, saved.context);
    const at::Tensor d_qkv = attend_backward(at::mm(d1.d_branch, weights[OUT].narrow()), saved);
    add_product(of(QKV), d_qkv, saved.normed);
    if (config.pre_norm) {
      return norm_backward(at::mm(d_qkv, weights[QKV].narrow()), saved.x, norm(NORM1), d1.d_sum, first, none(), false,
                           {of(NORM1), of(NORM1_BIAS), {}})
          .d_sum.view(gradient.sizes());
    }
    at::Tensor d_x = d1.d_sum;
    return d_x.addmm_(d_qkv, weights[QKV].narrow()).view(gradient.sizes());
  }

  int64_t packed_bytes() const override {
    return std::accumulate(weights.begin(), weights.end(), int64_t{0},
                           [](int64_t sum, const Weight &weight) { return sum + weight.bytes(); });
  }

private:
  // The weight's bias is the next part.
  at::Tensor affine(Part part, const at::Tensor &x) {
    return at::addmm(weights[part + 1].narrow(), x, weights[part].narrow().t());
  }
  Norm norm(Part part) const { return {weights[part].wide(), weights[part + 1].wide(), config.epsilon}; }
  Gradients of(Part part) const { return weights[part].gradients(); }
  // Means and inverse deviations of the rows of one of the two LayerNorms.
  static Rows rows_of(int64_t which, const SavedTensors &saved) {
    return {saved.statistics[2 * which], saved.statistics[2 * which + 1]};
  }
  static Dropout none() { return dropout_of({}, 0, 0.0, 1); }
  static Dropout dropout(const LayerContext &context, uint32_t site, int64_t length) {
    return dropout_of(context.keys, context.site + site, context.hidden_dropout, length);
  }

  // qkv [B·T, 3C] to [B·T, C]. With `saved` there is a graph behind what is kept in it.
  at::Tensor attend(const at::Tensor &qkv, const LayerContext &context, int64_t batch, SavedTensors *saved) const {
    const int64_t rows = qkv.size(0), width = qkv.size(1) / 3;
    const double probability = context.keys.defined() ? context.attention_dropout : 0.0;
    std::vector<at::Tensor> heads = qkv.view({batch, rows / batch, 3, config.heads, width / config.heads}).unbind(2);
    for (at::Tensor &part : heads) {
      part = part.transpose(1, 2).detach().set_requires_grad(saved != nullptr); // [B, H, T, D]
    }
    const at::AutoGradMode with_graph(saved != nullptr);
    const at::Tensor attended = attention(heads[0], heads[1], heads[2], context.bias, probability);
    if (saved != nullptr) {
      saved->attended = attended, saved->heads = heads;
    }
    return attended.detach().transpose(1, 2).reshape({rows, width});
  }

  at::Tensor attend_backward(const at::Tensor &d_context, const SavedTensors &saved) const {
    const auto sizes = saved.attended.sizes(); // [B, H, T, D]
    const at::Tensor d = d_context.view({sizes[0], sizes[2], sizes[1], sizes[3]}).transpose(1, 2);
    const auto made = torch::autograd::grad({saved.attended}, saved.heads, {d});
    return pack_qkv({made[0], made[1], made[2]}, of(QKV_BIAS));
  }

  LayerConfig config;
  std::array<Weight, PARTS> weights;
};

} // namespace

std::shared_ptr<Layer> make_layer(at::ScalarType kind, LayerConfig config, const std::array<at::Tensor, PARTS> &parts) {
  return std::make_shared<DeviceLayer>(kind, config, parts);
}

} // namespace device
} // namespace untie
