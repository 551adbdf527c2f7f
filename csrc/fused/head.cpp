#include "head.h"

#include <ATen/ops/scalar_tensor.h>

namespace untie {
namespace {

// Entries of the vocabulary and targets of a tile of logits: two such tiles fit a core's second-level cache.
constexpr int64_t ENTRIES = 128, COLUMNS = 512;
constexpr int64_t ROWS = 32;
// The gradient of the hidden states is summed apart for as many parts of the vocabulary as this many bytes allow.
constexpr int64_t SUMS_BYTES = 64 << 20, MOST_SUMS = 16;

// What the forward and the backward of a head allocate, with `count` targets.
template <typename T> struct HeadMemory {
  using W = Wide<T>;

  // `columns`: those of the forward, also where another level of kernels has come into use since.
  HeadMemory(int64_t targets, int64_t columns_of, int64_t hidden, int64_t vocabulary)
      : count(targets), columns(columns_of), hidden_size(hidden), tiles((vocabulary + ENTRIES - 1) / ENTRIES) {}
  // Columns of logits for `count` targets: what brgemm is fastest with, or panels of our kernel.
  static int64_t columns_for(int64_t count) { return is_own_product<T>() ? in_panels(count) : (count + 63) / 64 * 64; }

  // Elements of the targets' normed states as a right operand, whichever way round.
  int64_t operand() const { return hidden_size * columns; }
  // Parts of the vocabulary whose gradients of the hidden states are summed apart.
  int64_t parts() const {
    const int64_t affordable = SUMS_BYTES / static_cast<int64_t>(sizeof(W)) / std::max<int64_t>(operand(), 1);
    return std::min(tiles, std::clamp<int64_t>(affordable, 2, MOST_SUMS));
  }
  int64_t num_tasks() const { return (count + ROWS - 1) / ROWS; }
  std::vector<int64_t> sums() const { return {hidden_size, hidden_size, hidden_size}; }
  int64_t operands() const { return WeightGradient<T>::size(count, hidden_size, hidden_size); }

  // What a task of the decoder's backward takes.
  struct DecoderBackward {
    W *scores, *d_entries;
    T *gradient, *packed, *entries, *entries_left;

    template <typename From> DecoderBackward(From &from, int64_t hidden) {
      scores = from.template take<W>(ENTRIES * COLUMNS), d_entries = from.template take<W>(ENTRIES * hidden);
      gradient = from.template take<T>(ENTRIES * COLUMNS), packed = from.template take<T>(ENTRIES * COLUMNS);
      entries = from.template take<T>(ENTRIES * hidden), entries_left = from.template take<T>(ENTRIES * hidden);
    }
  };

  UntieBytes bytes(int64_t rows) const {
    constexpr int64_t narrow = sizeof(T), wide = sizeof(W);
    const int64_t states = count * hidden_size;
    UntieBytes found{};
    found.saved = 4 * states * narrow + (2 * count + 2 * columns) * wide;
    found.packed = PackedWeight<T>::bytes(hidden_size, hidden_size);
    found.largest = parts() * operand() * wide;
    const int64_t forward = operand() * narrow + tiles * columns * (3 * wide + static_cast<int64_t>(sizeof(int32_t)));
    // The gradient of all hidden states, and beside it first what the decoder's backward has, its sums and their total and result
    // among that, and then what that of the dense layer has.
    const int64_t d_hidden = rows * hidden_size * narrow, result = (std::is_same_v<T, W> ? 0 : operand()) + states;
    const int64_t decoder = columns * wide + (2 * operand() + result) * narrow + found.largest + operand() * wide;
    const int64_t dense = (states + operands()) * narrow + states * wide + PartialSums<T>::bytes(num_tasks(), sums());
    found.passing = std::max(forward, d_hidden + std::max(decoder, dense));
    ScratchLayout taken;
    DecoderBackward(taken, hidden_size);
    found.per_thread = taken.bytes();
    return found;
  }

  int64_t count, columns, hidden_size, tiles;
};

template <typename T> class HeadOf final : public Head {
  using W = Wide<T>;

public:
  HeadOf(double of, std::array<at::Tensor, HEAD_PARTS> tensors)
      : epsilon(of), parts(std::move(tensors)), dense(PackedWeight<T>::of(parts[DENSE])), hidden_size(parts[DENSE].size(0)),
        vocabulary(parts[EMBEDDINGS].size(0)) {}

  HeadResult forward(const at::Tensor &hidden, const Targets &targets, HeadSavedTensors *saved) override {
    HeadSavedTensors now;
    std::vector<double> weights;
    select(hidden.size(0) * hidden.size(1), targets, now, weights);
    const int64_t count = static_cast<int64_t>(weights.size());
    const HeadMemory<T> memory = memory_for(count, HeadMemory<T>::columns_for(count));
    const int64_t columns = memory.columns, tiles = memory.tiles;
    now.labels.resize(columns, -1);
    transform(hidden.contiguous(), now);
    const auto right = right_operand(now.normed, memory);
    const auto sums = at::zeros({3, tiles, columns}, Scalar<T>::wide), best = at::zeros({tiles, columns}, at::kInt);
    const auto sum_at = [&](int64_t which, int64_t tile, int64_t column) {
      return data<W>(sums) + (which * tiles + tile) * columns + column;
    };
    in_parallel(tiles, [&](int64_t tile) {
      const int64_t first = tile * ENTRIES, rows = std::min(ENTRIES, vocabulary - first);
      T *entries = scratch<T>(rows * hidden_size);
      narrow_entries(first, rows, entries);
      W *scores = scratch<W>(rows * COLUMNS);
      each_column_block(columns, [&](int64_t column, int64_t block_columns) {
        multiply(rows, block_columns, hidden_size, hidden_size, columns, block_columns, false, entries, right_at(right, column),
                 scores);
        kernels.logits_forward({rows, block_columns, first, now.labels.data() + column}, scores, value(LOGIT_BIAS) + first,
                               {sum_at(0, tile, column), sum_at(1, tile, column), sum_at(2, tile, column),
                                data<int32_t>(best) + tile * columns + column});
      });
    });
    now.log_sum = at::zeros({columns}, Scalar<T>::wide), now.factors = at::zeros({columns}, Scalar<T>::wide);
    double loss = 0, correct = 0;
    for (int64_t column = 0; column < count; ++column) {
      int64_t winner = 0;
      for (int64_t tile = 1; tile < tiles; ++tile) {
        winner = *sum_at(0, tile, column) > *sum_at(0, winner, column) ? tile : winner;
      }
      const double top = *sum_at(0, winner, column);
      double total = 0;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        total += *sum_at(1, tile, column) * std::exp(*sum_at(0, tile, column) - top);
      }
      const int32_t label = now.labels[column];
      const double log_sum = top + std::log(total);
      loss += weights[column] * (log_sum - *sum_at(2, label / ENTRIES, column));
      correct += data<int32_t>(best)[winner * columns + column] == label ? weights[column] : 0.0;
      data<W>(now.log_sum)[column] = static_cast<W>(log_sum);
      data<W>(now.factors)[column] = static_cast<W>(weights[column] / targets.total);
    }
    if (saved != nullptr) {
      *saved = std::move(now);
    }
    const auto scalar = [](double value) { return at::scalar_tensor(value, at::kDouble); };
    return {scalar(loss / targets.total), scalar(correct)};
  }

  at::Tensor backward(const at::Tensor &of_loss, at::IntArrayRef sizes, const HeadSavedTensors &saved) override {
    const auto gradient = of_loss.item<double>();
    const auto d_hidden = at::zeros(sizes, Scalar<T>::kind);
    const int64_t count = static_cast<int64_t>(saved.rows.size());
    if (count == 0) {
      for (const auto &part : parts) {
        gradient_of(part);
      }
      return d_hidden;
    }
    const HeadMemory<T> memory = memory_for(count, static_cast<int64_t>(saved.labels.size()));
    const auto d_normed = decoder_backward(saved, saved.factors.mul(gradient), memory);
    const int64_t tasks = memory.num_tasks();
    const PartialSums<T> sums(tasks, memory.sums());
    const auto operands = buffer<T>({memory.operands()});
    const WeightGradient<T> weight(WeightGradient<T>::TRANSPOSED, count, hidden_size, hidden_size, data<T>(operands));
    const auto d_gathered = wide_buffer<T>({count, hidden_size});
    const Packed<T> &from_dense = dense->backward();
    in_parallel(tasks, [&](int64_t task) {
      const int64_t first = task * ROWS, rows = std::min(ROWS, count - first);
      T *d_after = scratch<T>(rows * hidden_size), *d_inner = scratch<T>(rows * hidden_size);
      W *wide = scratch<W>(rows * hidden_size);
      kernels.norm_backward(rows, hidden_size, at(d_normed, first), at(saved.after, first), data<W>(saved.statistics) + first,
                            data<W>(saved.statistics) + count + first, value(NORM), nullptr, d_after, sums.of(task, 0),
                            sums.of(task, 1));
      kernels.widen(rows * hidden_size, d_after, wide);
      kernels.gelu_backward(rows, hidden_size, wide, at(saved.inner, first), hidden_size, d_inner, hidden_size, nullptr, nullptr, 0,
                            0, sums.of(task, 2));
      weight.set_right(first, rows, d_inner);
      weight.set_left(first, rows, at(saved.gathered, first));
      whole(rows, d_inner, hidden_size, from_dense, data<W>(d_gathered) + first * hidden_size);
    });
    const auto d_dense = gradient_of(parts[DENSE]);
    in_parallel(weight.num_tasks(), [&](int64_t task) { weight.add(task, d_dense, at::Tensor()); });
    for (const auto &[part, sum] : {std::pair(NORM, 0), std::pair(NORM_BIAS, 1), std::pair(DENSE_BIAS, 2)}) {
      gradient_of(parts[part]).add_(sums.total(sum));
    }
    for (int64_t i = 0; i < count; ++i) {
      T *row = data<T>(d_hidden) + saved.rows[i] * hidden_size;
      kernels.add(hidden_size, data<W>(d_gathered) + i * hidden_size, row, row);
    }
    return d_hidden;
  }

  int64_t packed_bytes() const override { return dense->bytes(); }

private:
  HeadMemory<T> memory_for(int64_t count, int64_t columns) const {
    return HeadMemory<T>(count, columns, hidden_size, vocabulary);
  }
  T *at(const at::Tensor &rows, int64_t row) const { return data<T>(rows) + row * hidden_size; }
  const W *value(HeadPart part) const { return data<W>(parts[part]); }
  template <typename Use> static void each_column_block(int64_t columns, Use use) {
    for (int64_t column = 0; column < columns; column += COLUMNS) {
      use(column, std::min(COLUMNS, columns - column));
    }
  }

  void select(int64_t num_rows, const Targets &targets, HeadSavedTensors &now, std::vector<double> &weights) const {
    const int64_t slots = targets.positions.numel();
    const auto positions = targets.positions.contiguous(), labels = targets.labels.contiguous();
    const auto of = targets.weights.contiguous();
    for (int64_t slot = 0; slot < slots; ++slot) {
      const int64_t row = data<int64_t>(positions)[slot], label = data<int64_t>(labels)[slot];
      if (row < 0 || row >= num_rows || label < 0 || label >= vocabulary) {
        throw std::runtime_error("expected a target in " + std::to_string(num_rows) + " tokens and a label below " +
                                 std::to_string(vocabulary) + ", got " + std::to_string(row) + " and " + std::to_string(label));
      }
      if (const float weight = data<float>(of)[slot]; weight != 0) {
        now.rows.push_back(row);
        now.labels.push_back(static_cast<int32_t>(label));
        weights.push_back(weight);
      }
    }
  }

  // The targets' hidden states through dense, GELU and LayerNorm.
  void transform(const at::Tensor &hidden, HeadSavedTensors &now) const {
    const int64_t count = static_cast<int64_t>(now.rows.size());
    now.gathered = buffer<T>({count, hidden_size}), now.inner = buffer<T>({count, hidden_size});
    now.after = buffer<T>({count, hidden_size}), now.normed = buffer<T>({count, hidden_size});
    now.statistics = wide_buffer<T>({2, count});
    const Packed<T> &to_inner = dense->forward();
    const Norm<W> norm{value(NORM), value(NORM_BIAS), epsilon};
    in_parallel((count + ROWS - 1) / ROWS, [&](int64_t task) {
      const int64_t first = task * ROWS, rows = std::min(ROWS, count - first);
      for (int64_t i = first; i < first + rows; ++i) {
        std::memcpy(at(now.gathered, i), at(hidden, now.rows[i]), static_cast<size_t>(hidden_size) * sizeof(T));
      }
      W *tile = scratch<W>(rows * Packed<T>::TILE);
      each_tile(rows, at(now.gathered, first), hidden_size, to_inner, tile, [&](int64_t column, int64_t n, W *made) {
        kernels.gelu_forward(rows, n, made, value(DENSE_BIAS) + column, at(now.inner, first) + column, hidden_size,
                             at(now.after, first) + column, hidden_size);
      });
      kernels.norm_forward(rows, hidden_size, at(now.after, first), norm, at(now.normed, first), data<W>(now.statistics) + first,
                           data<W>(now.statistics) + count + first);
    });
  }

  // normedᵀ [C, columns] as a right operand.
  at::Tensor right_operand(const at::Tensor &normed, const HeadMemory<T> &memory) const {
    const auto right = at::zeros({memory.operand()}, Scalar<T>::kind);
    kernels.pack_columns(memory.count, hidden_size, data<T>(normed), hidden_size, data<T>(right), memory.columns);
    return right;
  }
  static const T *right_at(const at::Tensor &right, int64_t column) {
    return data<T>(right) + column * IN_A_COLUMN<T>;
  }

  // Rows of the word embeddings in the precision of the products.
  void narrow_entries(int64_t first, int64_t rows, T *to) const {
    kernels.narrow(rows, hidden_size, value(EMBEDDINGS) + first * hidden_size, hidden_size, to, hidden_size);
  }

  // The gradients of embeddings, bias and `normed`, given each target's part in the loss.
  at::Tensor decoder_backward(const HeadSavedTensors &saved, const at::Tensor &factors, const HeadMemory<T> &memory) const {
    const int64_t count = memory.count, columns = memory.columns, tiles = memory.tiles, groups = memory.parts();
    const auto right = right_operand(saved.normed, memory);
    const auto packed_rows = at::zeros({memory.operand()}, Scalar<T>::kind);
    kernels.pack_rows(count, hidden_size, data<T>(saved.normed), hidden_size, data<T>(packed_rows), hidden_size);
    const auto turned = at::zeros({groups, hidden_size, columns}, Scalar<T>::wide);
    const auto d_embeddings = gradient_of(parts[EMBEDDINGS]), d_bias = gradient_of(parts[LOGIT_BIAS]);
    in_parallel(groups, [&](int64_t group) {
      W *d_turned = data<W>(turned) + group * hidden_size * columns;
      const typename HeadMemory<T>::DecoderBackward taken(Scratch::of_thread(), hidden_size);
      W *scores = taken.scores, *d_entries = taken.d_entries;
      T *gradient = taken.gradient, *packed = taken.packed, *entries = taken.entries, *entries_left = taken.entries_left;
      for (int64_t tile = group; tile < tiles; tile += groups) {
        const int64_t first = tile * ENTRIES, rows = std::min(ENTRIES, vocabulary - first);
        narrow_entries(first, rows, entries);
        kernels.transpose(rows, hidden_size, entries, hidden_size, entries_left, rows);
        each_column_block(columns, [&](int64_t column, int64_t block_columns) {
          multiply(rows, block_columns, hidden_size, hidden_size, columns, block_columns, false, entries, right_at(right, column),
                   scores);
          kernels.logits_backward({rows, block_columns, first, saved.labels.data() + column}, scores, value(LOGIT_BIAS) + first,
                                  data<W>(saved.log_sum) + column, data<W>(factors) + column, gradient, packed,
                                  data<W>(d_bias) + first);
          multiply(rows, hidden_size, block_columns, block_columns, hidden_size, hidden_size, column > 0, gradient,
                   data<T>(packed_rows) + column * hidden_size, d_entries);
          multiply(hidden_size, block_columns, rows, rows, block_columns, columns, true, entries_left, packed, d_turned + column);
        });
        kernels.accumulate(rows, hidden_size, d_entries, data<W>(d_embeddings) + first * hidden_size, nullptr, hidden_size);
      }
    });
    const auto summed = turned.sum(0).t().to(Scalar<T>::kind); // [columns, C]
    return summed.narrow(0, 0, count).contiguous();
  }

  const Kernels<T> &kernels = Scalar<T>::kernels();
  double epsilon;
  std::array<at::Tensor, HEAD_PARTS> parts;
  std::shared_ptr<PackedWeight<T>> dense;
  int64_t hidden_size, vocabulary;
};

} // namespace

UntieBytes head_bytes(at::ScalarType kind, int64_t rows, int64_t targets, int64_t hidden_size, int64_t vocabulary) {
  return of_kind(kind, [&](auto element) {
    using Memory = HeadMemory<decltype(element)>;
    return Memory(targets, Memory::columns_for(targets), hidden_size, vocabulary).bytes(rows);
  });
}

std::shared_ptr<Head> Head::make(at::ScalarType kind, double epsilon, std::array<at::Tensor, HEAD_PARTS> parts) {
  return of_kind(kind, [&](auto element) -> std::shared_ptr<Head> {
    return std::make_shared<HeadOf<decltype(element)>>(epsilon, std::move(parts));
  });
}

} // namespace untie
