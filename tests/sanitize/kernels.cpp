// kernels: runs every kernel of csrc/kernels at every level that this CPU has, over odd sizes, for AddressSanitizer and
// UndefinedBehaviorSanitizer (`make sanitize`): each buffer is as long as its kernel may touch and not longer. What lies between
// the rows of a result must stay as it was, and the results of a level must be near those of DEFAULT. No libtorch.
// kernels write FILE, kernels read FILE: the first writes the results of DEFAULT, the second compares its own with them. So a
// program for another processor is compared with this one (`make check-aarch64`).
#include "../../csrc/kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace {

using namespace untie;

double to_double(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
double to_double(float x) { return x; }
double to_double(double x) { return x; }
double to_double(int32_t x) { return x; }

template <typename T> T of_double(double x) { return static_cast<T>(x); }
template <> bf16 of_double<bf16>(double x) {
  const float value = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return {static_cast<uint16_t>(bits >> 16)};
}

// On the heap, exactly as long as asked for: what lies behind is poisoned.
template <typename T> class Buffer {
public:
  explicit Buffer(int64_t count) : size(count), memory(new T[static_cast<size_t>(count)]) {
    // No two neighbours are alike, and bfloat16 holds each exactly.
    for (int64_t i = 0; i < size; ++i) {
      memory[i] = of_double<T>(static_cast<double>((i * 37 + size) % 101 - 50) / 64);
    }
  }
  T *get() const { return memory.get(); }
  operator T *() const { return get(); }
  Buffer &fill(double value) {
    std::fill(get(), get() + size, of_double<T>(value));
    return *this;
  }

  int64_t size;

private:
  std::unique_ptr<T[]> memory;
};

// The results of all kernels on one set of sizes.
class Results {
public:
  template <typename T> void add(const char *kernel, const Buffer<T> &buffer) {
    add_rows(kernel, buffer, 1, buffer.size, buffer.size);
  }
  // Rows of `width` that lie `stride` apart; in between is what Buffer wrote.
  template <typename T>
  void add_rows(const char *kernel, const Buffer<T> &buffer, int64_t rows, int64_t width, int64_t stride) {
    const Buffer<T> before(buffer.size);
    for (int64_t at = 0; at < buffer.size; ++at) {
      if (at / stride < rows && at % stride < width) {
        values.push_back({kernel, to_double(buffer[at])});
      } else if (std::memcmp(&buffer[at], &before[at], sizeof(T)) != 0) {
        std::printf("%s writes between its rows\n", kernel);
        std::exit(1);
      }
    }
  }

  struct Value {
    const char *kernel;
    double is;
  };
  std::vector<Value> values;
};

int64_t even(int64_t size) { return size + size % 2; }
int64_t rounded(int64_t size) { return (size + 15) / 16 * 16; }

template <typename T> class Run {
  using W = Wide<T>;
  static constexpr bool IN_PAIRS = sizeof(T) == 2;
  // Rows of a packed right operand.
  static int64_t packed(int64_t rows) { return IN_PAIRS ? even(rows) : rows; }

public:
  Run(const Kernels<T> &of, int64_t num_rows, int64_t num_columns, bool with_dropout)
      : kernels(of), rows(num_rows), width(num_columns), stride(num_columns + 3), keys(num_rows) {
    for (int64_t i = 0; i < rows; ++i) {
      keys[i] = 1000003 * i + 17;
    }
    // One row of a sequence.
    dropout = with_dropout ? Dropout{keys, 3, 6554, 65536.0 / (65536 - 6554), 1} : Dropout{nullptr, 3, 0, 1.0, 1};
  }

  Results all() {
    layouts();
    sums();
    gelu();
    norm();
    attention();
    loss();
    optimizer();
    return std::move(results);
  }

private:
  void layouts() {
    const Buffer<T> from(rows * stride);
    Buffer<T> rows_packed(packed(rows) * width);
    kernels.pack_rows(rows, width, from, stride, rows_packed, width);
    results.add("pack_rows", rows_packed);
    // bfloat16 takes an even number of columns here.
    const int64_t columns = packed(width);
    const Buffer<T> whole(rows * columns);
    Buffer<T> columns_packed(columns * rows);
    kernels.pack_columns(rows, columns, whole, columns, columns_packed, rows);
    results.add("pack_columns", columns_packed);
    const int64_t apart = packed(rows) + 4;
    Buffer<T> turned(width * apart);
    kernels.transpose(rows, width, from, stride, turned, apart);
    results.add_rows("transpose", turned, width, packed(rows), apart);
    const Buffer<W> wide(rows * stride);
    Buffer<T> narrowed(rows * (width + 5));
    kernels.narrow(rows, width, wide, stride, narrowed, width + 5);
    results.add_rows("narrow", narrowed, rows, width, width + 5);
    Buffer<W> widened(rows * width);
    kernels.widen(rows * width, from, widened);
    results.add("widen", widened);
  }

  void sums() {
    const Buffer<W> wide(rows * width), bias(width);
    const Buffer<T> other(rows * width);
    Buffer<T> biased(rows * stride), sum(rows * width);
    kernels.add_bias(rows, width, wide, bias, biased, stride);
    results.add_rows("add_bias", biased, rows, width, stride);
    kernels.add(rows * width, wide, other, sum);
    results.add("add", sum);
    for (const bool copied : {false, true}) {
      Buffer<W> total(rows * stride), copy(rows * stride), turned(width * (rows + 3)), turned_copy(width * (rows + 3));
      kernels.accumulate(rows, width, wide, total, copied ? copy.get() : nullptr, stride);
      results.add_rows("accumulate", total, rows, width, stride);
      results.add_rows("accumulate", copy, rows, width, stride);
      kernels.accumulate_transposed(rows, width, wide, turned, copied ? turned_copy.get() : nullptr, rows + 3);
      results.add_rows("accumulate_transposed", turned, width, rows, rows + 3);
      results.add_rows("accumulate_transposed", turned_copy, width, rows, rows + 3);
    }
    Buffer<W> columns(width), dots(rows);
    kernels.column_sums(rows, width, other, columns);
    results.add("column_sums", columns);
    const Buffer<T> one(rows * stride), two(rows * (width + 1));
    kernels.row_dots(rows, width, one, stride, two, width + 1, dots);
    results.add("row_dots", dots);
  }

  void gelu() {
    const Buffer<W> wide(rows * width), bias(width);
    for (const bool kept : {false, true}) {
      Buffer<T> before(rows * stride), after(rows * (width + 1));
      kernels.gelu_forward(rows, width, wide, bias, kept ? before.get() : nullptr, stride, after, width + 1);
      results.add_rows("gelu_forward", before, rows, width, stride);
      results.add_rows("gelu_forward", after, rows, width, width + 1);
      const Buffer<T> inner(rows * stride);
      Buffer<T> gradient(rows * (width + 2)), packed_gradient(packed(rows) * width), packed_after(packed(rows) * width);
      Buffer<W> bias_sum(width);
      kernels.gelu_backward(rows, width, wide, inner, stride, gradient, width + 2, kept ? packed_gradient.get() : nullptr,
                            kept ? packed_after.get() : nullptr, width, IN_A_COLUMN<T>, bias_sum);
      if constexpr (sizeof(T) != 2) {
        const int64_t panels = (width + PANEL - 1) / PANEL;
        Buffer<T> gradient_panels(panels * PANEL * rows), after_panels(panels * PANEL * rows);
        Buffer<W> again(width);
        kernels.gelu_backward(rows, width, wide, inner, stride, gradient, width + 2, gradient_panels, after_panels, PANEL, rows,
                              again);
        results.add("gelu_backward", gradient_panels);
        results.add("gelu_backward", after_panels);
      }
      results.add_rows("gelu_backward", gradient, rows, width, width + 2);
      results.add("gelu_backward", packed_gradient);
      results.add("gelu_backward", packed_after);
      results.add("gelu_backward", bias_sum);
    }
  }

  void norm() {
    const Buffer<W> wide(rows * width), weight(width), bias(width);
    const Buffer<T> x(rows * width), other(rows * width);
    Buffer<T> sum(rows * width), normed(rows * width), dx(rows * width), dropped(rows * width);
    Buffer<W> mean(rows), inverse(rows), weight_sum(width), bias_sum(width), dropped_sum(width);
    kernels.residual_forward(0, rows, width, wide, bias, x, dropout, sum);
    results.add("residual_forward", sum);
    kernels.norm_forward(rows, width, x, {weight, bias, 1e-2}, normed, mean, inverse);
    results.add("norm_forward", normed);
    results.add("norm_forward", mean);
    results.add("norm_forward", inverse);
    for (const bool added : {false, true}) {
      kernels.norm_backward(rows, width, other, x, mean, inverse, weight, added ? sum.get() : nullptr, dx, weight_sum, bias_sum);
      results.add("norm_backward", dx);
      kernels.dropout(0, rows, width, x, dropout, dropped, added ? dropped_sum.get() : nullptr);
      results.add("dropout", dropped);
    }
    results.add("norm_backward", weight_sum);
    results.add("norm_backward", bias_sum);
    results.add("dropout", dropped_sum);
  }

  // `rows` keys, and a block of their queries that begins in the middle where there are more than 16.
  void attention() {
    const int64_t first = rows > 16 ? rows / 32 * 16 : 0, queries = rounded(rows - first);
    Buffer<int32_t> visible(rows), documents(rows);
    for (int64_t key = 0; key < rows; ++key) {
      visible[key] = key % 5 != 3, documents[key] = static_cast<int32_t>(key / 7);
    }
    for (const bool limited : {false, true}) {
      const Scores tile{rows, queries, first, 1, limited ? visible.get() : nullptr, limited ? documents.get() : nullptr, 0.3};
      const Buffer<W> scores(rows * queries), d_scores(rows * queries), delta(queries);
      Buffer<W> worked(rows * queries), log_sum(queries);
      Buffer<T> probabilities(packed(rows) * queries), dropped(rows * queries), gradient(rows * queries);
      Buffer<T> packed_gradient(packed(rows) * queries);
      kernels.softmax_forward(tile, worked, dropout, probabilities, log_sum);
      results.add("softmax_forward", probabilities);
      // That of a query that sees nothing is 1e30.
      results.add("softmax_forward", log_sum);
      kernels.softmax_backward(tile, scores, d_scores, dropout, log_sum, delta, dropped, gradient, packed_gradient);
      results.add("softmax_backward", dropped);
      results.add("softmax_backward", gradient);
      results.add("softmax_backward", packed_gradient);
    }
  }

  void loss() {
    const int64_t columns = rounded(width);
    Buffer<int32_t> labels(columns);
    for (int64_t column = 0; column < columns; ++column) {
      labels[column] = static_cast<int32_t>(column % (rows + 3));
    }
    const Logits tile{rows, columns, 2, labels};
    const Buffer<W> scores(rows * columns), bias(rows), factor(columns);
    Buffer<W> logits(rows * columns), top(columns), total(columns), picked(columns), log_sum(columns), bias_sum(rows);
    Buffer<int32_t> best(columns);
    kernels.logits_forward(tile, logits, bias, {top, total, picked, best});
    results.add("logits_forward", logits);
    results.add("logits_forward", top);
    results.add("logits_forward", total);
    results.add("logits_forward", picked);
    results.add("logits_forward", best);
    log_sum.fill(4);
    Buffer<T> gradient(rows * columns), packed_gradient(packed(rows) * columns);
    kernels.logits_backward(tile, scores, bias, log_sum, factor, gradient, packed_gradient, bias_sum);
    results.add("logits_backward", gradient);
    results.add("logits_backward", packed_gradient);
    results.add("logits_backward", bias_sum);
  }

  void optimizer() {
    const int64_t count = rows * width;
    const Buffer<W> gradient(count);
    Buffer<W> weight(count), exp_avg(count), exp_avg_sq(count), squares(1);
    exp_avg_sq.fill(0.25);
    kernels.adamw(count, weight, gradient, exp_avg, exp_avg_sq, {1e-2, 0.9, 0.999, 1e-6, 0.1, 0.001, 0.01, 0.5});
    results.add("adamw", weight);
    results.add("adamw", exp_avg);
    results.add("adamw", exp_avg_sq);
    squares[0] = static_cast<W>(kernels.squares(count, gradient));
    results.add("squares", squares);
  }

  const Kernels<T> &kernels;
  int64_t rows, width, stride;
  Buffer<int64_t> keys;
  Dropout dropout{};
  Results results;
};

// bfloat16 is rounded after sums whose last bits differ: one step of it, 2⁻⁷ of the value at most.
template <typename T> double tolerance() { return sizeof(T) == 2 ? 1.0 / 128 : sizeof(T) == 4 ? 2e-4 : 1e-11; }

// Results of another program, or a file for them.
std::FILE *to = nullptr, *from = nullptr;

// What `values` are compared with: those of the file that is read, else themselves; where a file is written, it gets them.
std::vector<Results::Value> reference(std::vector<Results::Value> values) {
  for (Results::Value &value : values) {
    if ((to != nullptr && std::fwrite(&value.is, sizeof(double), 1, to) != 1) ||
        (from != nullptr && std::fread(&value.is, sizeof(double), 1, from) != 1)) {
      std::printf("the file of results is too short or cannot be written\n");
      std::exit(1);
    }
  }
  return values;
}

template <typename T> void compare(const char *level, const Kernels<T> &kernels, const Kernels<T> &expected_of) {
  constexpr int64_t SIZES[] = {1, 2, 15, 16, 17, 33, 65, 130};
  for (const int64_t rows : SIZES) {
    for (const int64_t width : SIZES) {
      for (const bool drops : {false, true}) {
        const auto found = Run<T>(kernels, rows, width, drops).all().values;
        const auto expected = reference(Run<T>(expected_of, rows, width, drops).all().values);
        for (size_t i = 0; i < expected.size(); ++i) {
          const double off = std::abs(found[i].is - expected[i].is);
          if (!(off <= tolerance<T>() * std::max(1.0, std::abs(expected[i].is)))) {
            std::printf("%s, %zu bytes, %ld x %ld: %s gives %g, DEFAULT %g\n", level, sizeof(T), static_cast<long>(rows),
                        static_cast<long>(width), expected[i].kernel, found[i].is, expected[i].is);
            std::exit(1);
          }
        }
      }
    }
  }
}

// c (+)= a·b against sums in fp64, b by rows and in panels of 16 columns; sizes with rests in every direction, and a k of which
// a panel is done in several parts.
template <typename W> void products(const char *level, Multiply<W> multiply) {
  for (const int64_t m : {1, 5, 8, 13}) {
    for (const int64_t n : {1, 7, 16, 17, 130}) {
      for (const int64_t k : {1, 17, 300, 1100}) {
        for (const int how : {0, 1, 2, 3}) {
          const bool add = how % 2 == 1, in_panels = how / 2 == 1;
          const int64_t lda = k + 3, ldb = in_panels ? 16 : n + 1, panel = in_panels ? 16 * k + 5 : 16, ldc = n + 2;
          const int64_t size_of_b = in_panels ? (n + 15) / 16 * panel : (k - 1) * ldb + n;
          const Buffer<W> a((m - 1) * lda + k), b(size_of_b), before((m - 1) * ldc + n);
          Buffer<W> c((m - 1) * ldc + n);
          multiply(m, n, k, lda, ldb, panel, ldc, add, a, b, c);
          Results found;
          found.add_rows("multiply", c, m, n, ldc);
          for (int64_t i = 0; i < m * n; ++i) {
            const int64_t row = i / n, column = i % n;
            double sum = add ? static_cast<double>(before[row * ldc + column]) : 0.0;
            for (int64_t l = 0; l < k; ++l) {
              sum += static_cast<double>(a[row * lda + l]) * static_cast<double>(b[l * ldb + column / 16 * panel + column % 16]);
            }
            const double is = found.values[static_cast<size_t>(i)].is;
            if (!(std::abs(is - sum) <= tolerance<W>() * std::max(1.0, std::abs(sum)))) {
              std::printf("%s, %zu bytes: multiply gives %g, expected %g\n", level, sizeof(W), is, sum);
              std::exit(1);
            }
          }
        }
      }
    }
  }
}

// As csrc/fused/levels.cpp, which needs libtorch.
#ifdef __x86_64__
bool runs(const Level &level) {
  const bool fma = __builtin_cpu_supports("fma") != 0;
  const bool avx512 = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (&level == &kernels_avx512bf16) {
    return avx512 && __builtin_cpu_supports("avx512bf16");
  }
  return &level == &kernels_default || (&level == &kernels_avx512 ? avx512 : fma && __builtin_cpu_supports("avx2") != 0);
}
#else
bool runs(const Level &) { return true; }
#endif

} // namespace

int main(int argc, char **argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc == 3) {
    (std::strcmp(argv[1], "write") == 0 ? to : from) = std::fopen(argv[2], std::strcmp(argv[1], "write") == 0 ? "wb" : "rb");
    if (to == nullptr && from == nullptr) {
      std::printf("cannot open `%s`\n", argv[2]);
      return 1;
    }
  }
  for (const Level *level : LEVELS) {
    if (argc == 3 && level != &kernels_default) {
      continue;
    }
    if (!runs(*level)) {
      std::printf("%s: not on this CPU\n", level->name);
      continue;
    }
    compare(level->name, level->of_bf16, kernels_default.of_bf16);
    compare(level->name, level->of_float, kernels_default.of_float);
    compare(level->name, level->of_double, kernels_default.of_double);
    products(level->name, level->multiply_double);
    if (level->multiply_float != nullptr) {
      products(level->name, level->multiply_float);
    }
    std::printf("%s: every kernel at every size\n", level->name);
  }
  return to != nullptr && std::fclose(to) != 0 ? 1 : 0;
}
