// AdamW and gradient norms on the CPU over all tensors of a model at once. The update of a weight also brings its packed
// copies up to date, while its rows are in cache.
#include "../shim.h"
#include "weights.h"

#include <ATen/record_function.h>

namespace untie {
namespace {

// Elements of a task; sums are added up in the order of the tasks, so they are the same on any number of threads.
constexpr int64_t CHUNK = 1 << 14;

struct Task {
  size_t tensor;
  int64_t first, count; // elements
};

template <typename Size> std::vector<Task> tasks_of(size_t count, at::Tensor *const *tensors, Size size) {
  std::vector<Task> tasks;
  for (size_t i = 0; i < count; ++i) {
    const int64_t all = tensors[i]->numel(), chunk = size(i);
    for (int64_t first = 0; first < all; first += chunk) {
      tasks.push_back({i, first, std::min(chunk, all - first)});
    }
  }
  return tasks;
}

void expect_cpu(size_t count, at::Tensor *const *tensors) {
  for (size_t i = 0; i < count; ++i) {
    if (!tensors[i]->device().is_cpu() || !tensors[i]->is_contiguous()) {
      throw std::runtime_error("the fused optimizer works on contiguous tensors on the CPU");
    }
  }
}

// Calls `run` with a value of the element type of `tensor`, a weight's.
template <typename Run> void of_weight(const at::Tensor &tensor, Run run) {
  switch (tensor.scalar_type()) {
  case at::kFloat:
    return run(float());
  case at::kDouble:
    return run(double());
  default:
    throw std::runtime_error("the fused optimizer works on float or double");
  }
}

} // namespace
} // namespace untie

char *untie_adamw(size_t count, const UntieAdamW *tensors, double learning_rate, double beta1, double beta2, double epsilon,
                  uint64_t step) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::adamw", std::vector<c10::IValue>());
    using namespace untie;
    std::vector<at::Tensor *> weights;
    std::vector<std::vector<std::shared_ptr<PackedCopy>>> copies;
    for (size_t i = 0; i < count; ++i) {
      weights.push_back(tensors[i].parameter);
      copies.push_back(copies_of(*tensors[i].parameter));
    }
    expect_cpu(count, weights.data());
    const auto tasks = tasks_of(count, weights.data(), [&](size_t i) {
      return copies[i].empty() ? CHUNK : PackedCopy::ROWS * weights[i]->size(1);
    });
    const AdamW shared{learning_rate, beta1, beta2, epsilon, 1.0 - std::pow(beta1, step), 1.0 - std::pow(beta2, step),
                       /*weight_decay=*/0.0, /*gradient_scale=*/1.0};
    in_parallel(static_cast<int64_t>(tasks.size()), [&](int64_t number) {
      const auto [i, first, elements] = tasks[number];
      const UntieAdamW &of = tensors[i];
      AdamW with = shared;
      with.weight_decay = of.weight_decay, with.gradient_scale = of.gradient_scale;
      of_weight(*of.parameter, [&](auto kind) {
        using W = decltype(kind);
        Scalar<W>::kernels().adamw(elements, data<W>(*of.parameter) + first, data<W>(*of.gradient) + first,
                                   data<W>(*of.exp_avg) + first, data<W>(*of.exp_avg_sq) + first, with);
      });
      for (const auto &copy : copies[i]) {
        const int64_t width = of.parameter->size(1);
        copy->refresh(first / width, elements / width);
      }
    });
    for (size_t i = 0; i < count; ++i) {
      weights[i]->unsafeGetTensorImpl()->bump_version();
      for (const auto &copy : copies[i]) {
        copy->refreshed();
      }
    }
  });
}

char *untie_norms(size_t count, at::Tensor *const *tensors, double *norms) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::norms", std::vector<c10::IValue>());
    using namespace untie;
    expect_cpu(count, tensors);
    const auto tasks = tasks_of(count, tensors, [](size_t) { return CHUNK; });
    std::vector<double> squares(tasks.size());
    in_parallel(static_cast<int64_t>(tasks.size()), [&](int64_t number) {
      const auto [i, first, elements] = tasks[number];
      of_weight(*tensors[i], [&](auto kind) {
        using W = decltype(kind);
        squares[number] = Scalar<W>::kernels().squares(elements, data<W>(*tensors[i]) + first);
      });
    });
    std::fill(norms, norms + count, 0.0);
    for (size_t number = 0; number < tasks.size(); ++number) {
      norms[tasks[number].tensor] += squares[number];
    }
    for (size_t i = 0; i < count; ++i) {
      norms[i] = std::sqrt(norms[i]);
    }
  });
}
