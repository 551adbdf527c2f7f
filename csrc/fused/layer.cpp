#include "layer.h"

#include <map>
#include <mutex>

namespace untie {
namespace {

// Rows of a tile: enough for the products' speed, few enough for all cores to have some and the cache to hold them.
constexpr int64_t ROWS = 64;

// The packed copies of a weight are shared by all layers that read it.
template <typename T> std::shared_ptr<PackedWeight<T>> packed(const at::Tensor &weight) {
  static std::mutex mutex;
  static std::map<const void *, std::weak_ptr<PackedWeight<T>>> all;
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<PackedWeight<T>> &known = all[weight.unsafeGetTensorImpl()];
  std::shared_ptr<PackedWeight<T>> found = known.lock();
  if (found == nullptr) {
    known = found = std::make_shared<PackedWeight<T>>(weight);
  }
  return found;
}

// Sums over rows that each task makes for itself, added up in the order of the tasks: the same on any number of threads.
template <typename T> class Sums {
public:
  Sums(int64_t tasks, const std::array<at::Tensor, PARTS> &parts, std::initializer_list<Part> wanted) {
    int64_t size = 0;
    for (const Part part : wanted) {
      offsets[part] = size;
      sizes[part] = parts[part].numel();
      size += sizes[part];
    }
    all = at::zeros({tasks, size}, Scalar<T>::wide);
  }
  Wide<T> *of(int64_t task, Part part) const { return data<Wide<T>>(all) + task * all.size(1) + offsets[part]; }
  at::Tensor total(Part part) const { return all.narrow(1, offsets[part], sizes[part]).sum(0); }

private:
  std::array<int64_t, PARTS> offsets{}, sizes{};
  at::Tensor all;
};

template <typename T> class LayerOf final : public Layer {
  using W = Wide<T>;

public:
  LayerOf(LayerConfig of, std::array<at::Tensor, PARTS> tensors) : config(of), parts(std::move(tensors)) {
    for (int part = 0; part < PARTS; ++part) {
      leaves[part] = parts[part].is_view() ? parts[part]._base() : parts[part];
    }
    qkv = packed<T>(leaves[QKV]), out = packed<T>(leaves[OUT]);
    inner = packed<T>(leaves[INNER]), outer = packed<T>(leaves[OUTER]);
    width = leaves[OUT].size(0), breadth = leaves[INNER].size(0);
  }

  at::Tensor forward(const at::Tensor &x, const Pass &pass, Kept *kept) override {
    const int64_t rows = x.size(0) * x.size(1), length = x.size(1);
    const bool keep = kept != nullptr;
    Kept now;
    now.x = x.contiguous();
    const int64_t of_post = config.pre_norm ? 0 : width, of_pre = width - of_post;
    const auto pieces = buffers<T>(rows, {3 * width, width, width, width, keep ? breadth : 0, of_post, of_pre});
    now.qkv = pieces[0], now.context = pieces[1], now.sum1 = pieces[2], now.middle = pieces[3], now.inner = pieces[4];
    // The last sum of Pre-LN is the output, which lives longer.
    now.sum2 = config.pre_norm ? buffer<T>({rows, width}) : pieces[5];
    now.normed = config.pre_norm ? pieces[6] : now.x;
    now.log_sum = wide_buffer<T>({x.size(0) * config.heads, Attention<T>::rounded(length)});
    now.statistics = wide_buffer<T>({4, rows});
    const auto y = config.pre_norm ? now.sum2 : buffer<T>({rows, width});
    const Packed<T> &to_qkv = qkv->forward(), &to_out = out->forward(), &to_inner = inner->forward(),
                    &to_outer = outer->forward();
    each_block(rows, [&](int64_t, int64_t first, int64_t count) {
      const auto tile = wide_buffer<T>({count, Packed<T>::BLOCK});
      if (config.pre_norm) {
        norm(NORM1, first, count, now.x, now.normed, now.statistics);
      }
      each_tile(count, at(now.normed, first), width, to_qkv, data<W>(tile), [&](int64_t column, int64_t n, W *wide) {
        kernels.add_bias(count, n, wide, value(QKV_BIAS) + column, data<T>(now.qkv) + first * 3 * width + column, 3 * width);
      });
    });
    attention(x, pass).forward(now.qkv, now.context, now.log_sum);
    const Dropout drop1 = dropout_of(pass.keys, pass.site + 1, pass.hidden_dropout, length);
    const Dropout drop2 = dropout_of(pass.keys, pass.site + 2, pass.hidden_dropout, length);
    each_block(rows, [&](int64_t, int64_t first, int64_t count) {
      const auto wide = wide_buffer<T>({count, width}), tile = wide_buffer<T>({count, Packed<T>::BLOCK});
      const auto after = buffer<T>({count, breadth});
      whole(count, at(now.context, first), width, to_out, data<W>(wide));
      kernels.residual_forward(first, count, width, data<W>(wide), value(OUT_BIAS), at(now.x, first), drop1,
                               at(now.sum1, first));
      norm(config.pre_norm ? NORM2 : NORM1, first, count, now.sum1, now.middle, now.statistics);
      each_tile(count, at(now.middle, first), width, to_inner, data<W>(tile), [&](int64_t column, int64_t n, W *made) {
        kernels.gelu_forward(count, n, made, value(INNER_BIAS) + column,
                             keep ? data<T>(now.inner) + first * breadth + column : nullptr, breadth,
                             data<T>(after) + column, breadth);
      });
      whole(count, data<T>(after), breadth, to_outer, data<W>(wide));
      kernels.residual_forward(first, count, width, data<W>(wide), value(OUTER_BIAS),
                               at(config.pre_norm ? now.sum1 : now.middle, first), drop2, at(now.sum2, first));
      if (!config.pre_norm) {
        norm(NORM2, first, count, now.sum2, y, now.statistics);
      }
    });
    if (keep) {
      *kept = now;
    }
    return y.view(x.sizes());
  }

  at::Tensor backward(const at::Tensor &gradient, const Pass &pass, const Kept &kept) override {
    const at::Tensor d_out = gradient.contiguous();
    const int64_t rows = d_out.size(0) * d_out.size(1), length = d_out.size(1);
    const Sums<T> sums((rows + ROWS - 1) / ROWS, leaves,
                       {QKV_BIAS, OUT_BIAS, NORM1, NORM1_BIAS, INNER_BIAS, OUTER_BIAS, NORM2, NORM2_BIAS});
    const Dropout drop1 = dropout_of(pass.keys, pass.site + 1, pass.hidden_dropout, length);
    const Dropout drop2 = dropout_of(pass.keys, pass.site + 2, pass.hidden_dropout, length);
    const auto pieces = buffers<T>(rows, {width, breadth, breadth, width, width, width, 3 * width});
    const at::Tensor &d_outer = pieces[0], &d_inner = pieces[1], &after = pieces[2], &d_sum1 = pieces[3], &d_attended = pieces[4],
                     &d_context = pieces[5], &d_qkv = pieces[6];
    const Packed<T> &from_outer = outer->backward(), &from_inner = inner->backward(), &from_out = out->backward(),
                    &from_qkv = qkv->backward();
    each_block(rows, [&](int64_t task, int64_t first, int64_t count) {
      const auto wide = wide_buffer<T>({count, width}), tile = wide_buffer<T>({count, Packed<T>::BLOCK});
      const auto d_sum2 = buffer<T>({count, width}), d_middle = buffer<T>({count, width});
      const T *d = at(d_out, first);
      if (!config.pre_norm) {
        norm_backward(NORM2, first, count, d, kept.sum2, kept.statistics, nullptr, data<T>(d_sum2), sums, task);
        d = data<T>(d_sum2);
      }
      kernels.dropout(first, count, width, d, drop2, at(d_outer, first), sums.of(task, OUTER_BIAS));
      each_tile(count, at(d_outer, first), width, from_outer, data<W>(tile), [&](int64_t column, int64_t n, W *made) {
        const int64_t place = first * breadth + column;
        kernels.gelu_backward(count, n, made, data<T>(kept.inner) + place, breadth, data<T>(d_inner) + place,
                              data<T>(after) + place, sums.of(task, INNER_BIAS) + column);
      });
      whole(count, data<T>(d_inner) + first * breadth, breadth, from_inner, data<W>(wide));
      if (config.pre_norm) {
        kernels.narrow(count, width, data<W>(wide), width, data<T>(d_middle), width);
        norm_backward(NORM2, first, count, data<T>(d_middle), kept.sum1, kept.statistics, d, at(d_sum1, first), sums, task);
      } else {
        kernels.add(count * width, data<W>(wide), d, data<T>(d_middle));
        norm_backward(NORM1, first, count, data<T>(d_middle), kept.sum1, kept.statistics, nullptr, at(d_sum1, first), sums,
                      task);
      }
      kernels.dropout(first, count, width, at(d_sum1, first), drop1, at(d_attended, first), sums.of(task, OUT_BIAS));
      whole(count, at(d_attended, first), width, from_out, data<W>(wide));
      kernels.narrow(count, width, data<W>(wide), width, at(d_context, first), width);
    });
    add_gradient(OUTER, rows, d_outer, after);
    add_gradient(INNER, rows, d_inner, kept.middle);
    add_gradient(OUT, rows, d_attended, kept.context);
    const auto d_x = buffer<T>({rows, width});
    attention(d_out, pass).backward(kept.qkv, kept.context, kept.log_sum, d_context, d_qkv);
    each_block(rows, [&](int64_t task, int64_t first, int64_t count) {
      const auto wide = wide_buffer<T>({count, width});
      const T *d = data<T>(d_qkv) + first * 3 * width;
      kernels.column_sums(count, 3 * width, d, sums.of(task, QKV_BIAS));
      whole(count, d, 3 * width, from_qkv, data<W>(wide));
      if (config.pre_norm) {
        const auto d_normed = buffer<T>({count, width});
        kernels.narrow(count, width, data<W>(wide), width, data<T>(d_normed), width);
        norm_backward(NORM1, first, count, data<T>(d_normed), kept.x, kept.statistics, at(d_sum1, first), at(d_x, first),
                      sums, task);
      } else {
        kernels.add(count * width, data<W>(wide), at(d_sum1, first), at(d_x, first));
      }
    });
    add_gradient(QKV, rows, d_qkv, kept.normed);
    for (const Part part : {QKV_BIAS, OUT_BIAS, NORM1, NORM1_BIAS, INNER_BIAS, OUTER_BIAS, NORM2, NORM2_BIAS}) {
      const auto total = sums.total(part);
      gradient_of(leaves[part]).add_(total);
      if (is_probed(part)) {
        gradient_of(parts[part]).add_(total);
      }
    }
    return d_x.view(d_out.sizes());
  }

private:
  template <typename Body> static void each_block(int64_t rows, Body body) {
    in_parallel((rows + ROWS - 1) / ROWS,
                [&](int64_t task) { body(task, task * ROWS, std::min(ROWS, rows - task * ROWS)); });
  }
  T *at(const at::Tensor &rows, int64_t row) const { return data<T>(rows) + row * width; }
  const W *value(Part part) const { return data<W>(leaves[part]); }

  Attention<T> attention(const at::Tensor &like, const Pass &pass) const {
    return {{like.size(0), like.size(1), config.heads, width / config.heads},
            pass.sight,
            dropout_of(pass.keys, pass.site, pass.attention_dropout, like.size(1))};
  }

  // mean and 1/deviation of the rows of the first or second LayerNorm.
  static W *statistics_of(Part part, const at::Tensor &statistics, int64_t row, bool inverse) {
    return data<W>(statistics) + ((part == NORM1 ? 0 : 2) + (inverse ? 1 : 0)) * statistics.size(1) + row;
  }
  void norm(Part part, int64_t first, int64_t count, const at::Tensor &x, const at::Tensor &to,
            const at::Tensor &statistics) const {
    const Norm<W> norm{value(part), value(static_cast<Part>(part + 1)), config.epsilon};
    kernels.norm_forward(count, width, at(x, first), norm, at(to, first), statistics_of(part, statistics, first, false),
                         statistics_of(part, statistics, first, true));
  }
  void norm_backward(Part part, int64_t first, int64_t count, const T *d, const at::Tensor &x,
                     const at::Tensor &statistics, const T *add, T *dx, const Sums<T> &sums, int64_t task) const {
    kernels.norm_backward(count, width, d, at(x, first), statistics_of(part, statistics, first, false),
                          statistics_of(part, statistics, first, true), value(part), add, dx, sums.of(task, part),
                          sums.of(task, static_cast<Part>(part + 1)));
  }

  bool is_probed(int part) const { return parts[part].unsafeGetTensorImpl() != leaves[part].unsafeGetTensorImpl(); }
  static at::Tensor gradient_of(const at::Tensor &tensor) {
    at::Tensor &gradient = tensor.mutable_grad();
    if (!gradient.defined()) {
      gradient = at::zeros_like(tensor.detach());
    }
    return gradient;
  }
  void add_gradient(Part part, int64_t rows, const at::Tensor &dy, const at::Tensor &x) const {
    add_weight_gradient<T>(rows, dy, x, gradient_of(leaves[part]),
                           is_probed(part) ? gradient_of(parts[part]) : at::Tensor());
  }

  const Kernels<T> &kernels = Scalar<T>::kernels();
  LayerConfig config;
  // What was given, and the leaves behind: a probed layer reads aliases, whose gradients are its own.
  std::array<at::Tensor, PARTS> parts, leaves;
  std::shared_ptr<PackedWeight<T>> qkv, out, inner, outer;
  int64_t width, breadth;
};

} // namespace

std::shared_ptr<Layer> Layer::make(at::ScalarType kind, LayerConfig config, std::array<at::Tensor, PARTS> parts) {
  switch (kind) {
  case at::kBFloat16:
    return std::make_shared<LayerOf<bf16>>(config, std::move(parts));
  case at::kFloat:
    return std::make_shared<LayerOf<float>>(config, std::move(parts));
  case at::kDouble:
    return std::make_shared<LayerOf<double>>(config, std::move(parts));
  default:
    throw std::runtime_error("a fused layer computes in bfloat16, float or double");
  }
}

} // namespace untie
