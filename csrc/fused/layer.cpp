#include "layer_memory.h"

namespace untie {
namespace {

template <typename T> class LayerOf final : public Layer {
  using W = Wide<T>;

public:
  LayerOf(LayerConfig of, std::array<at::Tensor, PARTS> tensors) : config(of), parts(std::move(tensors)) {
    for (int part = 0; part < PARTS; ++part) {
      leaves[part] = parts[part].is_view() ? parts[part]._base() : parts[part];
    }
    qkv = PackedWeight<T>::of(leaves[QKV]), out = PackedWeight<T>::of(leaves[OUT]);
    inner = PackedWeight<T>::of(leaves[INNER]), outer = PackedWeight<T>::of(leaves[OUTER]);
    hidden_size = leaves[OUT].size(0), intermediate_size = leaves[INNER].size(0);
  }

  at::Tensor forward(const at::Tensor &x, const LayerContext &layer_context, SavedTensors *saved) override {
    const int64_t rows = x.size(0) * x.size(1), length = x.size(1);
    const LayerMemory<T> memory = memory_for(x);
    const bool keep = saved != nullptr;
    SavedTensors now;
    now.x = x.contiguous();
    const auto pieces = buffers<T>(rows, memory.forward_columns(keep));
    now.qkv = pieces[0], now.context = pieces[1], now.sum1 = pieces[2], now.middle = pieces[3], now.inner = pieces[4];
    now.sum2 = pieces[5], now.normed = config.pre_norm ? pieces[6] : now.x;
    now.log_sum = wide_buffer<T>(memory.log_sum_shape()), now.statistics = wide_buffer<T>(memory.statistics_shape());
    const auto y = buffer<T>({rows, hidden_size});
    const Packed<T> &to_qkv = qkv->forward(), &to_out = out->forward(), &to_inner = inner->forward(),
                    &to_outer = outer->forward();
    each_block(memory, rows, [&](int64_t, int64_t first, int64_t count) {
      const typename LayerMemory<T>::QkvForward taken(Scratch::of_thread(), memory, count, keep);
      W *tile = taken.tile;
      T *normed = saved_or(taken.normed, now.normed, first);
      if (config.pre_norm) {
        norm(NORM1, first, count, at(now.x, first), normed, now.statistics);
      }
      each_tile(count, normed, hidden_size, to_qkv, tile, [&](int64_t column, int64_t n, W *wide) {
        kernels.add_bias(count, n, wide, value(QKV_BIAS) + column, data<T>(now.qkv) + first * 3 * hidden_size + column,
                         3 * hidden_size);
      });
    });
    attention(x, layer_context).forward(now.qkv, now.context, now.log_sum);
    const Dropout drop1 = dropout_of(layer_context.keys, layer_context.site + 1, layer_context.hidden_dropout, length);
    const Dropout drop2 = dropout_of(layer_context.keys, layer_context.site + 2, layer_context.hidden_dropout, length);
    each_block(memory, rows, [&](int64_t, int64_t first, int64_t count) {
      const typename LayerMemory<T>::Forward taken(Scratch::of_thread(), memory, count, keep);
      W *wide = taken.wide, *tile = taken.tile;
      T *after = taken.after, *sum1 = saved_or(taken.sum1, now.sum1, first);
      T *middle = saved_or(taken.middle, now.middle, first);
      whole(count, at(now.context, first), hidden_size, to_out, wide);
      kernels.residual_forward(first, count, hidden_size, wide, value(OUT_BIAS), at(now.x, first), drop1, sum1);
      norm(config.pre_norm ? NORM2 : NORM1, first, count, sum1, middle, now.statistics);
      each_tile(count, middle, hidden_size, to_inner, tile, [&](int64_t column, int64_t n, W *made) {
        kernels.gelu_forward(count, n, made, value(INNER_BIAS) + column,
                             keep ? data<T>(now.inner) + first * intermediate_size + column : nullptr, intermediate_size,
                             after + column, apart<T>(intermediate_size));
      });
      whole(count, after, apart<T>(intermediate_size), to_outer, wide);
      if (config.pre_norm) {
        kernels.residual_forward(first, count, hidden_size, wide, value(OUTER_BIAS), sum1, drop2, at(y, first));
        return;
      }
      T *sum2 = saved_or(taken.sum2, now.sum2, first);
      kernels.residual_forward(first, count, hidden_size, wide, value(OUTER_BIAS), middle, drop2, sum2);
      norm(NORM2, first, count, sum2, at(y, first), now.statistics);
    });
    if (keep) {
      *saved = now;
    }
    return y.view(x.sizes());
  }

  at::Tensor backward(const at::Tensor &gradient, const LayerContext &layer_context, const SavedTensors &saved) override {
    const at::Tensor d_out = gradient.contiguous();
    const int64_t rows = d_out.size(0) * d_out.size(1), length = d_out.size(1);
    const LayerMemory<T> memory = memory_for(d_out);
    const PartialSums<T> sums(memory.num_blocks(), memory.sums());
    const Dropout drop1 = dropout_of(layer_context.keys, layer_context.site + 1, layer_context.hidden_dropout, length);
    const Dropout drop2 = dropout_of(layer_context.keys, layer_context.site + 2, layer_context.hidden_dropout, length);
    // One piece of memory, the same for all layers; the operands of the last product take the place of those before.
    using Gradient = WeightGradient<T>;
    const int64_t of_inner = memory.inner_operands(), of_out = memory.out_operands();
    T *d_sum1 = reinterpret_cast<T *>(workspace(memory.workspace_elements() * sizeof(T)));
    T *d_qkv = d_sum1 + rows * hidden_size, *operands = d_qkv + rows * 3 * hidden_size;
    {
      const Gradient d_outer_weight(Gradient::PLAIN, rows, hidden_size, intermediate_size, operands),
          d_inner_weight(Gradient::TRANSPOSED, rows, hidden_size, intermediate_size, operands + of_inner),
          d_out_weight(Gradient::PLAIN, rows, hidden_size, hidden_size, operands + 2 * of_inner);
      T *d_context = operands + 2 * of_inner + of_out;
      const Packed<T> &from_outer = outer->backward(), &from_inner = inner->backward(), &from_out = out->backward();
      each_block(memory, rows, [&](int64_t task, int64_t first, int64_t count) {
        const typename LayerMemory<T>::Backward taken(Scratch::of_thread(), memory, count);
        W *wide = taken.wide, *tile = taken.tile;
        T *d_sum2 = taken.d_sum2, *d_middle = taken.d_middle, *d_branch = taken.d_branch, *d_inner = taken.d_inner;
        const T *d = at(d_out, first);
        if (!config.pre_norm) {
          norm_backward(NORM2, first, count, d, saved.sum2, saved.statistics, nullptr, d_sum2, sums, task);
          d = d_sum2;
        }
        kernels.dropout(first, count, hidden_size, d, drop2, d_branch, sums.of(task, OUTER_BIAS));
        d_outer_weight.set_left(first, count, d_branch);
        d_inner_weight.set_left(first, count, at(saved.middle, first));
        const T *before = data<T>(saved.inner) + first * intermediate_size;
        prefetch(count, Packed<T>::TILE, before, intermediate_size);
        each_tile(count, d_branch, hidden_size, from_outer, tile, [&](int64_t column, int64_t n, W *made) {
          prefetch(count, std::min(Packed<T>::TILE, intermediate_size - column - n), before + column + n, intermediate_size);
          kernels.gelu_backward(count, n, made, before + column, intermediate_size, d_inner + column, apart<T>(intermediate_size),
                                d_inner_weight.right_at(first, column), d_outer_weight.right_at(first, column),
                                d_outer_weight.right_row(column), d_outer_weight.right_column(),
                                sums.of(task, INNER_BIAS) + column);
        });
        if (config.pre_norm) {
          whole_narrow(count, d_inner, apart<T>(intermediate_size), from_inner, wide, d_middle);
          norm_backward(NORM2, first, count, d_middle, saved.sum1, saved.statistics, d, d_sum1 + first * hidden_size, sums, task);
        } else {
          whole(count, d_inner, apart<T>(intermediate_size), from_inner, wide);
          kernels.add(count * hidden_size, wide, d, d_middle);
          norm_backward(NORM1, first, count, d_middle, saved.sum1, saved.statistics, nullptr, d_sum1 + first * hidden_size, sums,
                        task);
        }
        kernels.dropout(first, count, hidden_size, d_sum1 + first * hidden_size, drop1, d_branch, sums.of(task, OUT_BIAS));
        d_out_weight.set_left(first, count, d_branch);
        d_out_weight.set_right(first, count, at(saved.context, first));
        whole_narrow(count, d_branch, hidden_size, from_out, wide, d_context + first * hidden_size);
      });
      add_gradients({{OUTER, &d_outer_weight}, {INNER, &d_inner_weight}, {OUT, &d_out_weight}});
      attention(d_out, layer_context).backward(saved.qkv, saved.context, saved.log_sum, d_context, d_qkv);
    }
    const Gradient d_qkv_weight(Gradient::TRANSPOSED, rows, hidden_size, 3 * hidden_size, operands);
    const Packed<T> &from_qkv = qkv->backward();
    const auto d_x = buffer<T>({rows, hidden_size});
    each_block(memory, rows, [&](int64_t task, int64_t first, int64_t count) {
      const typename LayerMemory<T>::QkvBackward taken(Scratch::of_thread(), memory, count);
      W *wide = taken.wide;
      const T *d = d_qkv + first * 3 * hidden_size;
      kernels.column_sums(count, 3 * hidden_size, d, sums.of(task, QKV_BIAS));
      d_qkv_weight.set_right(first, count, d);
      d_qkv_weight.set_left(first, count, at(saved.normed, first));
      if (config.pre_norm) {
        whole_narrow(count, d, 3 * hidden_size, from_qkv, wide, taken.d_normed);
        norm_backward(NORM1, first, count, taken.d_normed, saved.x, saved.statistics, d_sum1 + first * hidden_size, at(d_x, first),
                      sums, task);
      } else {
        whole(count, d, 3 * hidden_size, from_qkv, wide);
        kernels.add(count * hidden_size, wide, d_sum1 + first * hidden_size, at(d_x, first));
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

  int64_t packed_bytes() const override { return qkv->bytes() + out->bytes() + inner->bytes() + outer->bytes(); }

private:
  // Of a forward of `x`, or of the backward of a gradient like it.
  LayerMemory<T> memory_for(const at::Tensor &x) const {
    return LayerMemory<T>({x.size(0), x.size(1), hidden_size, intermediate_size, config.heads, config.pre_norm});
  }

  template <typename Body> static void each_block(const LayerMemory<T> &memory, int64_t rows, Body body) {
    const int64_t most = memory.rows_of_block();
    in_parallel(memory.num_blocks(), [&](int64_t task) { body(task, task * most, std::min(most, rows - task * most)); });
  }
  T *at(const at::Tensor &rows, int64_t row) const { return data<T>(rows) + row * hidden_size; }
  T *saved_or(T *taken, const at::Tensor &rows, int64_t first) const { return taken == nullptr ? at(rows, first) : taken; }
  const W *value(Part part) const { return data<W>(leaves[part]); }

  Attention<T> attention(const at::Tensor &like, const LayerContext &layer_context) const {
    return {{like.size(0), like.size(1), config.heads, hidden_size / config.heads},
            layer_context.mask,
            dropout_of(layer_context.keys, layer_context.site, layer_context.attention_dropout, like.size(1))};
  }

  // mean and 1/deviation of the rows of the first or second LayerNorm.
  static W *statistics_of(Part part, const at::Tensor &statistics, int64_t row, bool inverse) {
    return data<W>(statistics) + ((part == NORM1 ? 0 : 2) + (inverse ? 1 : 0)) * statistics.size(1) + row;
  }
  void norm(Part part, int64_t first, int64_t count, const T *x, T *to, const at::Tensor &statistics) const {
    const Norm<W> norm{value(part), value(static_cast<Part>(part + 1)), config.epsilon};
    kernels.norm_forward(count, hidden_size, x, norm, to, statistics_of(part, statistics, first, false),
                         statistics_of(part, statistics, first, true));
  }
  void norm_backward(Part part, int64_t first, int64_t count, const T *d, const at::Tensor &x,
                     const at::Tensor &statistics, const T *add, T *dx, const PartialSums<T> &sums, int64_t task) const {
    kernels.norm_backward(count, hidden_size, d, at(x, first), statistics_of(part, statistics, first, false),
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
  int64_t hidden_size, intermediate_size;
};

} // namespace

UntieBytes layer_bytes(at::ScalarType kind, LayerShape shape) {
  return of_kind(kind, [&](auto element) { return LayerMemory<decltype(element)>(shape).bytes(); });
}

std::shared_ptr<Layer> Layer::make(at::ScalarType kind, LayerConfig config, std::array<at::Tensor, PARTS> parts) {
  return of_kind(kind, [&](auto element) -> std::shared_ptr<Layer> {
    return std::make_shared<LayerOf<decltype(element)>>(config, std::move(parts));
  });
}

} // namespace untie
