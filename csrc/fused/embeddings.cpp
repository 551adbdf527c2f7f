// Word, position and segment embeddings, summed, LayerNorm where there is one, and dropout, on the CPU as one operation of
// autograd. The sums are made again in the backward; gradients are added to the leaves' own in place.
#include "../shim.h"
#include "gradients.h"
#include "../device/embeddings.h"

#include <ATen/record_function.h>

namespace untie {
namespace {

constexpr int64_t TILE_ROWS = 64;
// Features of a task when gradients are added up: rows of one token come in the order of the batch on any number of threads.
constexpr int64_t FEATURES = 64;

struct Tables {
  at::Tensor word, position, type; // [V, C], [P, C], [S, C]
  at::Tensor weight, bias;         // [C] each; undefined: no LayerNorm
  double epsilon;
};

struct Ids {
  at::Tensor word, position, type; // int64 [B, T]; the last two may be undefined: 0..T, and all 0
  int64_t length;

  static int64_t at(const at::Tensor &ids, int64_t row) { return data<int64_t>(ids)[row]; }
  int64_t word_of(int64_t row) const { return at(word, row); }
  int64_t position_of(int64_t row) const { return position.defined() ? at(position, row) : row % length; }
  int64_t type_of(int64_t row) const { return type.defined() ? at(type, row) : 0; }
};

// What the forward and the backward allocate, beside the embeddings themselves.
template <typename W> struct EmbeddingsMemory {
  std::array<int64_t, 2> statistics() const { return {2, rows}; }
  std::array<int64_t, 2> d_sum() const { return {rows, hidden_size}; }
  int64_t num_tasks() const { return (rows + TILE_ROWS - 1) / TILE_ROWS; }
  std::vector<int64_t> norm_sums() const { return {norm ? hidden_size : 0, norm ? hidden_size : 0}; }

  // A layer's tasks take more than those here.
  UntieBytes bytes() const {
    const auto bytes_of = [](std::array<int64_t, 2> matrix) { return matrix[0] * matrix[1] * static_cast<int64_t>(sizeof(W)); };
    UntieBytes found{};
    found.saved = bytes_of(statistics()), found.largest = bytes_of(d_sum());
    found.passing = found.largest + PartialSums<W>::bytes(num_tasks(), norm_sums());
    return found;
  }

  int64_t rows, hidden_size;
  bool norm;
};

struct Drop {
  at::Tensor keys;
  uint32_t site;
  double probability;
};

void expect_below(const char *name, const at::Tensor &ids, const at::Tensor &table) {
  const int64_t size = table.size(0), *id = data<int64_t>(ids);
  for (int64_t i = 0; i < ids.numel(); ++i) {
    if (id[i] < 0 || id[i] >= size) {
      throw std::runtime_error("index out of range: expected a " + std::string(name) + " id below " + std::to_string(size) +
                               ", got " + std::to_string(id[i]));
    }
  }
}

// In W, the precision of the tables.
template <typename W> class Embeddings {
public:
  Embeddings(const Tables &of, const Ids &read) : tables(of), ids(read), hidden_size(of.word.size(1)) {}

  // The sums of rows first..first + count.
  void sums(int64_t first, int64_t count, W *to) const {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = first + i;
      W *sum = to + i * hidden_size;
      kernels.add(hidden_size, row_of(tables.word, ids.word_of(row)), row_of(tables.position, ids.position_of(row)), sum);
      kernels.add(hidden_size, sum, row_of(tables.type, ids.type_of(row)), sum);
    }
  }

  // [rows, C] in T; the statistics are LayerNorm's, [2, rows].
  template <typename T> void forward(int64_t rows, Dropout dropout, T *to, W *statistics) const {
    in_parallel((rows + TILE_ROWS - 1) / TILE_ROWS, [&](int64_t task) {
      const int64_t first = task * TILE_ROWS, count = std::min(TILE_ROWS, rows - first);
      W *x = scratch<W>(count * hidden_size), *normed = scratch<W>(count * hidden_size);
      sums(first, count, x);
      if (tables.weight.defined()) {
        const Norm<W> norm{data<W>(tables.weight), data<W>(tables.bias), tables.epsilon};
        kernels.norm_forward(count, hidden_size, x, norm, normed, statistics + first, statistics + rows + first);
        std::swap(x, normed);
      }
      if (dropout.threshold != 0) {
        kernels.dropout(first, count, hidden_size, x, dropout, normed, nullptr);
        std::swap(x, normed);
      }
      Scalar<T>::kernels().narrow(count, hidden_size, x, hidden_size, to + first * hidden_size, hidden_size);
    });
  }

  template <typename T> void backward(int64_t rows, Dropout dropout, const T *d_out, const W *statistics) const {
    const bool norms = tables.weight.defined();
    const EmbeddingsMemory<W> memory{rows, hidden_size, norms};
    const PartialSums<W> norm_sums(memory.num_tasks(), memory.norm_sums());
    const auto d_sum = buffer<W>(memory.d_sum());
    in_parallel(memory.num_tasks(), [&](int64_t task) {
      const int64_t first = task * TILE_ROWS, count = std::min(TILE_ROWS, rows - first);
      W *d = scratch<W>(count * hidden_size), *x = scratch<W>(count * hidden_size), *result = data<W>(d_sum) + first * hidden_size;
      Scalar<T>::kernels().widen(count * hidden_size, d_out + first * hidden_size, d);
      if (!norms) {
        kernels.dropout(first, count, hidden_size, d, dropout, result, nullptr);
        return;
      }
      W *dropped = scratch<W>(count * hidden_size);
      kernels.dropout(first, count, hidden_size, d, dropout, dropped, nullptr);
      sums(first, count, x);
      kernels.norm_backward(count, hidden_size, dropped, x, statistics + first, statistics + rows + first, data<W>(tables.weight),
                            nullptr, result, norm_sums.of(task, 0), norm_sums.of(task, 1));
    });
    if (norms) {
      gradient_of(tables.weight).add_(norm_sums.total(0));
      gradient_of(tables.bias).add_(norm_sums.total(1));
    }
    scatter(rows, data<W>(d_sum));
  }

private:
  const W *row_of(const at::Tensor &table, int64_t id) const { return data<W>(table) + id * hidden_size; }

  void scatter(int64_t rows, const W *d_sum) const {
    const auto word = gradient_of(tables.word), position = gradient_of(tables.position), type = gradient_of(tables.type);
    in_parallel((hidden_size + FEATURES - 1) / FEATURES, [&](int64_t task) {
      const int64_t column = task * FEATURES, count = std::min(FEATURES, hidden_size - column);
      const auto add = [&](const at::Tensor &table, int64_t id, const W *d) {
        W *sum = data<W>(table) + id * hidden_size + column;
        kernels.add(count, d, sum, sum);
      };
      // The few segments have thousands of rows each: those are added up in fp64.
      double *of_types = zeroed_scratch<double>(type.size(0) * FEATURES);
      for (int64_t row = 0; row < rows; ++row) {
        const W *d = d_sum + row * hidden_size + column;
        add(word, ids.word_of(row), d);
        add(position, ids.position_of(row), d);
        double *sum = of_types + ids.type_of(row) * FEATURES;
        for (int64_t j = 0; j < count; ++j) {
          sum[j] += d[j];
        }
      }
      for (int64_t id = 0; id < type.size(0); ++id) {
        W *sum = data<W>(type) + id * hidden_size + column;
        std::transform(sum, sum + count, of_types + id * FEATURES, sum,
                       [](W before, double added) { return static_cast<W>(before + added); });
      }
    });
  }

  const Kernels<W> &kernels = Scalar<W>::kernels();
  const Tables &tables;
  const Ids &ids;
  int64_t hidden_size;
};

struct EmbeddingsBackward : SavingNode {
  Tables tables;
  Ids ids;
  Drop drop;
  at::Tensor statistics;

  torch::autograd::variable_list apply(torch::autograd::variable_list &&gradients) override {
    if (!gradients[0].defined()) {
      return {};
    }
    at::NoGradGuard no_grad;
    const auto d_out = gradients[0].contiguous();
    of_kind(d_out.scalar_type(), [&](auto kind) {
      using T = decltype(kind);
      const Dropout dropout = dropout_of(drop.keys, drop.site, drop.probability, ids.length);
      Embeddings<Wide<T>>(tables, ids).backward(ids.word.numel(), dropout, data<T>(d_out), data<Wide<T>>(statistics));
    });
    return {};
  }
  std::vector<at::Tensor> saved_tensors() const override { return {statistics}; }
  int64_t packed_bytes() const override { return 0; }
  std::string name() const override { return "FusedEmbeddingsBackward"; }
};

} // namespace
} // namespace untie

char *untie_embeddings(const UntieEmbeddings *of, int32_t kind, bool on_device, at::Tensor **out) {
  return untie_guard([&] {
    RECORD_FUNCTION("untie::embeddings", std::vector<c10::IValue>());
    using namespace untie;
    const auto integers = [](const at::Tensor *ids) { return ids == nullptr ? at::Tensor() : ids->contiguous(); };
    if (on_device) {
      *out = new at::Tensor(device::embeddings(
          static_cast<at::ScalarType>(kind),
          {*of->word, *of->position, *of->type, {or_none(of->weight), or_none(of->bias), of->epsilon}},
          {integers(of->word_ids), integers(of->position_ids), integers(of->type_ids)}, or_none(of->keys), of->site, of->dropout));
      return;
    }
    const Tables tables{*of->word, *of->position, *of->type, or_none(of->weight), or_none(of->bias), of->epsilon};
    const Ids ids{integers(of->word_ids), integers(of->position_ids), integers(of->type_ids), of->word_ids->size(1)};
    const Drop drop{or_none(of->keys), of->site, of->dropout};
    expect_below("token", ids.word, tables.word);
    if (ids.position.defined()) {
      expect_below("position", ids.position, tables.position);
    } else if (ids.length > tables.position.size(0)) {
      throw std::runtime_error("expected at most " + std::to_string(tables.position.size(0)) + " tokens a sequence, got " +
                               std::to_string(ids.length));
    }
    if (ids.type.defined()) {
      expect_below("segment", ids.type, tables.type);
    }
    const auto node = node_for<EmbeddingsBackward>(tables.word);
    const int64_t rows = ids.word.numel(), hidden_size = tables.word.size(1);
    at::Tensor y, statistics;
    of_kind(static_cast<at::ScalarType>(kind), [&](auto element) {
      using T = decltype(element);
      at::NoGradGuard no_grad;
      const EmbeddingsMemory<Wide<T>> memory{rows, hidden_size, tables.weight.defined()};
      y = buffer<T>({ids.word.size(0), ids.length, hidden_size}), statistics = wide_buffer<T>(memory.statistics());
      Embeddings<Wide<T>>(tables, ids).forward(rows, dropout_of(drop.keys, drop.site, drop.probability, ids.length),
                                               data<T>(y), data<Wide<T>>(statistics));
    });
    if (node != nullptr) {
      // Gradients go to the leaves' own: autograd has nothing to pass on.
      node->set_next_edges({});
      node->tables = tables, node->ids = ids, node->drop = drop, node->statistics = statistics;
      torch::autograd::set_history(y, node);
    }
    *out = new at::Tensor(std::move(y));
  });
}

char *untie_embeddings_bytes(int32_t kind, int64_t rows, int64_t hidden_size, bool norm, UntieBytes *bytes) {
  return untie_guard([&] {
    *bytes = untie::of_kind(static_cast<at::ScalarType>(kind), [&](auto element) {
      return untie::EmbeddingsMemory<untie::Wide<decltype(element)>>{rows, hidden_size, norm}.bytes();
    });
  });
}
