#include "layer.h"

namespace untie {
namespace {

// Rows of a block of all `rows`: many, since each block reads all weights again, but enough blocks for all cores to have some.
int64_t rows_of_block(int64_t rows) { return rows < 1024 ? 64 : 128; }
int64_t num_blocks(int64_t rows) { return (rows + rows_of_block(rows) - 1) / rows_of_block(rows); }

template <typename T> class LayerOf final : public Layer {
  using W = Wide<T>;

public:
  LayerOf(LayerConfig of, std::array<at::Tensor, PARTS> tensors) : config(of), parts(std::move(tensors)) {
    for (int part = 0; part < PARTS; ++part) {
      leaves[part] = parts[part].is_view() ? parts[part]._base() : parts[part];
    }
    qkv = PackedWeight<T>::of(leaves[QKV]), out = PackedWeight<T>::of(leaves[OUT]);
    inner = PackedWeight<T>::of(leaves[INNER]), outer = PackedWeight<T>::of(leaves[OUTER]);
    width = leaves[OUT].size(0), breadth = leaves[INNER].size(0);
  }

  at::Tensor forward(const at::Tensor &x, const Pass &pass, Kept *kept) override {
    const int64_t rows = x.size(0) * x.size(1), length = x.size(1);
    const bool keep = kept != nullptr;
    Kept now;
    now.x = x.contiguous();
    const int64_t if_kept = keep ? width : 0, of_post = config.pre_norm ? 0 : if_kept, of_pre = if_kept - of_post;
    const auto pieces = buffers<T>(rows, {3 * width, width, if_kept, if_kept, keep ? breadth : 0, of_post, of_pre});
    now.qkv = pieces[0], now.context = pieces[1], now.sum1 = pieces[2], now.middle = pieces[3], now.inner = pieces[4];
    now.sum2 = pieces[5], now.normed = config.pre_norm ? pieces[6] : now.x;
    now.log_sum = wide_buffer<T>({x.size(0) * config.heads, Attention<T>::rounded(length)});
    now.statistics = wide_buffer<T>({4, rows});
    const auto y = buffer<T>({rows, width});
    const Packed<T> &to_qkv = qkv->forward(), &to_out = out->forward(), &to_inner = inner->forward(),
                    &to_outer = outer->forward();
    each_block(rows, [&](int64_t, int64_t first, int64_t count) {
      W *tile = scratch<W>(count * Packed<T>::TILE);
      T *normed = kept_or_scratch(now.normed, first, count, width);
      if (config.pre_norm) {
        norm(NORM1, first, count, at(now.x, first), normed, now.statistics);
      }
      each_tile(count, normed, width, to_qkv, tile, [&](int64_t column, int64_t n, W *wide) {
        kernels.add_bias(count, n, wide, value(QKV_BIAS) + column, data<T>(now.qkv) + first * 3 * width + column, 3 * width);
      });
    });
    attention(x, pass).forward(now.qkv, now.context, now.log_sum);
    const Dropout drop1 = dropout_of(pass.keys, pass.site + 1, pass.hidden_dropout, length);
    const Dropout drop2 = dropout_of(pass.keys, pass.site + 2, pass.hidden_dropout, length);
    each_block(rows, [&](int64_t, int64_t first, int64_t count) {
      W *wide = scratch<W>(count * width), *tile = scratch<W>(count * Packed<T>::TILE);
      T *after = scratch<T>(count * apart<T>(breadth));
      T *sum1 = kept_or_scratch(now.sum1, first, count, width), *middle = kept_or_scratch(now.middle, first, count, width);
      whole(count, at(now.context, first), width, to_out, wide);
      kernels.residual_forward(first, count, width, wide, value(OUT_BIAS), at(now.x, first), drop1, sum1);
      norm(config.pre_norm ? NORM2 : NORM1, first, count, sum1, middle, now.statistics);
      each_tile(count, middle, width, to_inner, tile, [&](int64_t column, int64_t n, W *made) {
        kernels.gelu_forward(count, n, made, value(INNER_BIAS) + column,
                             keep ? data<T>(now.inner) + first * breadth + column : nullptr, breadth, after + column,
                             apart<T>(breadth));
      });
      whole(count, after, apart<T>(breadth), to_outer, wide);
      if (config.pre_norm) {
        kernels.residual_forward(first, count, width, wide, value(OUTER_BIAS), sum1, drop2, at(y, first));
        return;
      }
      T *sum2 = kept_or_scratch(now.sum2, first, count, width);
      kernels.residual_forward(first, count, width, wide, value(OUTER_BIAS), middle, drop2, sum2);
      norm(NORM2, first, count, sum2, at(y, first), now.statistics);
    });
    if (keep) {
      *kept = now;
    }
    return y.view(x.sizes());
  }

  at::Tensor backward(const at::Tensor &gradient, const Pass &pass, const Kept &kept) override {
    const at::Tensor d_out = gradient.contiguous();
    const int64_t rows = d_out.size(0) * d_out.size(1), length = d_out.size(1);
    const Sums<T> sums(num_blocks(rows), sizes_of_sums());
    const Dropout drop1 = dropout_of(pass.keys, pass.site + 1, pass.hidden_dropout, length);
    const Dropout drop2 = dropout_of(pass.keys, pass.site + 2, pass.hidden_dropout, length);
    // One piece of memory, the same for all layers; the operands of the last product take the place of those before.
    using Gradient = WeightGradient<T>;
    const int64_t of_inner = Gradient::size(rows, width, breadth), of_out = Gradient::size(rows, width, width);
    const int64_t shared = std::max(2 * of_inner + of_out + rows * width, Gradient::size(rows, width, 3 * width));
    T *d_sum1 = reinterpret_cast<T *>(workspace((4 * rows * width + shared) * sizeof(T)));
    T *d_qkv = d_sum1 + rows * width, *operands = d_qkv + rows * 3 * width;
    {
      const Gradient d_outer_weight(Gradient::PLAIN, rows, width, breadth, operands),
          d_inner_weight(Gradient::TRANSPOSED, rows, width, breadth, operands + of_inner),
          d_out_weight(Gradient::PLAIN, rows, width, width, operands + 2 * of_inner);
      T *d_context = operands + 2 * of_inner + of_out;
      const Packed<T> &from_outer = outer->backward(), &from_inner = inner->backward(), &from_out = out->backward();
      each_block(rows, [&](int64_t task, int64_t first, int64_t count) {
        W *wide = scratch<W>(count * width), *tile = scratch<W>(count * Packed<T>::TILE);
        T *d_sum2 = scratch<T>(count * width), *d_middle = scratch<T>(count * width);
        T *d_branch = scratch<T>(count * width), *d_inner = scratch<T>(count * apart<T>(breadth));
        const T *d = at(d_out, first);
        if (!config.pre_norm) {
          norm_backward(NORM2, first, count, d, kept.sum2, kept.statistics, nullptr, d_sum2, sums, task);
          d = d_sum2;
        }
        kernels.dropout(first, count, width, d, drop2, d_branch, sums.of(task, OUTER_BIAS));
        d_outer_weight.set_left(first, count, d_branch);
        d_inner_weight.set_left(first, count, at(kept.middle, first));
        const T *before = data<T>(kept.inner) + first * breadth;
        prefetch(count, Packed<T>::TILE, before, breadth);
        each_tile(count, d_branch, width, from_outer, tile, [&](int64_t column, int64_t n, W *made) {
          prefetch(count, std::min(Packed<T>::TILE, breadth - column - n), before + column + n, breadth);
          kernels.gelu_backward(count, n, made, before + column, breadth, d_inner + column, apart<T>(breadth),
                                d_inner_weight.right_at(first, column), d_outer_weight.right_at(first, column),
                                d_outer_weight.right_row(column), d_outer_weight.right_column(), sums.of(task, INNER_BIAS) + column);
        });
        if (config.pre_norm) {
          whole_narrow(count, d_inner, apart<T>(breadth), from_inner, wide, d_middle);
          norm_backward(NORM2, first, count, d_middle, kept.sum1, kept.statistics, d, d_sum1 + first * width, sums, task);
        } else {
          whole(count, d_inner, apart<T>(breadth), from_inner, wide);
          kernels.add(count * width, wide, d, d_middle);
          norm_backward(NORM1, first, count, d_middle, kept.sum1, kept.statistics, nullptr, d_sum1 + first * width, sums, task);
        }
        kernels.dropout(first, count, width, d_sum1 + first * width, drop1, d_branch, sums.of(task, OUT_BIAS));
        d_out_weight.set_left(first, count, d_branch);
        d_out_weight.set_right(first, count, at(kept.context, first));
        whole_narrow(count, d_branch, width, from_out, wide, d_context + first * width);
      });
      add_gradients({{OUTER, &d_outer_weight}, {INNER, &d_inner_weight}, {OUT, &d_out_weight}});
      attention(d_out, pass).backward(kept.qkv, kept.context, kept.log_sum, d_context, d_qkv);
    }
    const Gradient d_qkv_weight(Gradient::TRANSPOSED, rows, width, 3 * width, operands);
    const Packed<T> &from_qkv = qkv->backward();
    const auto d_x = buffer<T>({rows, width});
    each_block(rows, [&](int64_t task, int64_t first, int64_t count) {
      W *wide = scratch<W>(count * width);
      const T *d = d_qkv + first * 3 * width;
      kernels.column_sums(count, 3 * width, d, sums.of(task, QKV_BIAS));
      d_qkv_weight.set_right(first, count, d);
      d_qkv_weight.set_left(first, count, at(kept.normed, first));
      if (config.pre_norm) {
        T *d_normed = scratch<T>(count * width);
        whole_narrow(count, d, 3 * width, from_qkv, wide, d_normed);
        norm_backward(NORM1, first, count, d_normed, kept.x, kept.statistics, d_sum1 + first * width, at(d_x, first), sums, task);
      } else {
        whole(count, d, 3 * width, from_qkv, wide);
        kernels.add(count * width, wide, d_sum1 + first * width, at(d_x, first));
      }
    });
    add_gradients({{QKV, &d_qkv_weight}});
    for (const Part part : SUMMED) {
      const auto total = sums.total(part);
      gradient_of(leaves[part]).add_(total);
      if (is_probed(part)) {
        gradient_of(parts[part]).add_(total);
      }
    }
    return d_x.view(d_out.sizes());
  }

private:
  // The parts whose gradients are sums over rows.
  static constexpr Part SUMMED[] = {QKV_BIAS, OUT_BIAS, NORM1, NORM1_BIAS, INNER_BIAS, OUTER_BIAS, NORM2, NORM2_BIAS};
  std::vector<int64_t> sizes_of_sums() const {
    std::vector<int64_t> sizes(PARTS, 0);
    for (const Part part : SUMMED) {
      sizes[part] = leaves[part].numel();
    }
    return sizes;
  }

  template <typename Body> static void each_block(int64_t rows, Body body) {
    const int64_t most = rows_of_block(rows);
    in_parallel(num_blocks(rows), [&](int64_t task) { body(task, task * most, std::min(most, rows - task * most)); });
  }
  T *at(const at::Tensor &rows, int64_t row) const { return data<T>(rows) + row * width; }
  static T *kept_or_scratch(const at::Tensor &rows, int64_t first, int64_t count, int64_t columns) {
    return rows.numel() > 0 ? data<T>(rows) + first * columns : scratch<T>(count * columns);
  }
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
  void norm(Part part, int64_t first, int64_t count, const T *x, T *to, const at::Tensor &statistics) const {
    const Norm<W> norm{value(part), value(static_cast<Part>(part + 1)), config.epsilon};
    kernels.norm_forward(count, width, x, norm, to, statistics_of(part, statistics, first, false),
                         statistics_of(part, statistics, first, true));
  }
  void norm_backward(Part part, int64_t first, int64_t count, const T *d, const at::Tensor &x,
                     const at::Tensor &statistics, const T *add, T *dx, const Sums<T> &sums, int64_t task) const {
    kernels.norm_backward(count, width, d, at(x, first), statistics_of(part, statistics, first, false),
                          statistics_of(part, statistics, first, true), value(part), add, dx, sums.of(task, part),
                          sums.of(task, static_cast<Part>(part + 1)));
  }

  bool is_probed(int part) const { return parts[part].unsafeGetTensorImpl() != leaves[part].unsafeGetTensorImpl(); }
  // All products as one set of tasks.
  void add_gradients(std::initializer_list<std::pair<Part, const WeightGradient<T> *>> of) const {
    struct Target {
      const WeightGradient<T> *gradient;
      at::Tensor sum, copy;
    };
    std::vector<Target> targets;
    int64_t tasks = 0;
    for (const auto &[part, gradient] : of) {
      targets.push_back({gradient, gradient_of(leaves[part]), is_probed(part) ? gradient_of(parts[part]) : at::Tensor()});
      tasks += gradient->num_tasks();
    }
    in_parallel(tasks, [&](int64_t task) {
      auto target = targets.begin();
      for (; task >= target->gradient->num_tasks(); ++target) {
        task -= target->gradient->num_tasks();
      }
      target->gradient->add(task, target->sum, target->copy);
    });
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
  return of_kind(kind, [&](auto element) -> std::shared_ptr<Layer> {
    return std::make_shared<LayerOf<decltype(element)>>(config, std::move(parts));
  });
}

} // namespace untie
