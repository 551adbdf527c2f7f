// embeddings_forward, embeddings_backward and embeddings_sums.
#pragma once
#include "check_sums.h"

struct EmbeddingsCase {
  u32 width, batch, length, grid, threshold;
  bool norm, positions, types;
};

class EmbeddingsCheck {
public:
  EmbeddingsCheck(Suite &suite, const Type &type, const EmbeddingsCase &of)
      : suite(suite), report(suite.report), type(type), of(of), C(of.width), rows(of.batch * of.length), random(C + rows),
        masks(rows, of.length, of.threshold), word(random_floats(size_t{WORDS} * C, random, 0.0f, 0.5f)),
        position(random_floats(size_t{of.length + 3} * C, random, 0.0f, 0.5f)), segment(random_floats(size_t{2} * C, random, 0.0f, 0.5f)),
        weight(random_floats(C, random, 1.0f, 0.1f)), bias(random_floats(C, random, 0.0f, 0.1f)), words(rows), positions(rows), types(rows),
        out(size_t{rows} * C), means(rows), inverses(rows) {
    for (u32 row = 0; row < rows; ++row) {
      words[row] = row == 0 ? WORDS - 1 : random.below(WORDS);
      positions[row] = (row + 2) % (of.length + 3);
      types[row] = random.below(2);
    }
  }

  void run() {
    const auto in_order = [](const i64 *ids, bool given) { return given ? ids : nullptr; };
    const i64 *p = in_order(positions.get(), of.positions), *t = in_order(types.get(), of.types);
    const float *w = of.norm ? weight.get() : nullptr, *b = of.norm ? bias.get() : nullptr;
    float *m = of.norm ? means.get() : nullptr, *i = of.norm ? inverses.get() : nullptr;
    if (!suite.launch("embeddings_forward" + ending(), of.grid, 1, 128, word.get(), position.get(), segment.get(), words.get(), p, t, w, b,
                      EPSILON, masks.device, rows, of.length, C, out.get(), m, i)) {
      return;
    }
    check_forward();
    const auto d_out = random_elements(type, size_t{rows} * C, random);
    Buffer<float> d_sum(size_t{rows} * C), partial(size_t{BLOCKS} * 2 * C);
    const bool ran = suite.launch("embeddings_backward" + ending(), of.grid, 1, 128, d_out.get(), word.get(), position.get(), segment.get(),
                                  words.get(), p, t, w, m, i, masks.device, rows, of.length, C, d_sum.get()) &&
                     (!of.norm || suite.launch("embeddings_sums" + ending(), columns_of_256(C), BLOCKS, 256, d_out.get(), word.get(),
                                               position.get(), segment.get(), words.get(), p, t, m, i, masks.device, rows, of.length, C,
                                               partial.get()));
    if (ran) {
      check_backward(d_out, d_sum, partial);
    }
  }

private:
  std::string ending() const { return std::string("_") + type.name; }
  // In fp32 in the order of the contract: (word + position) + segment.
  std::vector<float> sum_of(u32 row) const {
    const i64 p = of.positions ? positions[row] : row % of.length, t = of.types ? types[row] : 0;
    std::vector<float> sum(C);
    for (u32 j = 0; j < C; ++j) {
      const float first = word[static_cast<size_t>(words[row]) * C + j] + position[static_cast<size_t>(p) * C + j];
      sum[j] = first + segment[static_cast<size_t>(t) * C + j];
    }
    return sum;
  }

  void check_forward() {
    const std::string kernel = "embeddings_forward" + ending();
    Check &of_out = report[kernel + " out"], &of_theirs = report[kernel + " out, the CPU's"];
    std::vector<float> theirs(C);
    for (u32 row = 0; row < rows; ++row) {
      const auto x = sum_of(row), factors = masks.factors(row, C);
      double mean = 0, size_of_x = 0, variance = 0;
      for (float value : x) {
        mean += value / static_cast<double>(C), size_of_x += std::abs(value) / static_cast<double>(C);
      }
      for (float value : x) {
        variance += std::pow(value - mean, 2) / C;
      }
      const double operations = C / 32 + 16, inverse = 1 / std::sqrt(variance + EPSILON);
      float their_mean, their_inverse;
      cpu::norm_forward<float>(1, C, x.data(), {weight.get(), bias.get(), EPSILON}, theirs.data(), &their_mean, &their_inverse);
      if (of.norm) {
        report[kernel + " mean"].within(means[row], mean, operations * UNIT * size_of_x);
        report[kernel + " inverse"].within(inverses[row], inverse, operations * UNIT * inverse);
      }
      for (u32 j = 0; j < C; ++j) {
        const double y = of.norm ? (x[j] - mean) * inverse * weight[j] + bias[j] : x[j];
        const double terms = of.norm ? (std::abs(x[j]) + size_of_x) * inverse * std::abs(weight[j]) + std::abs(bias[j]) : std::abs(x[j]);
        const double off = factors[j] * operations * UNIT * terms, found = type.widen(out[size_t{row} * C + j]);
        of_out.within(found, factors[j] * y, type.rounded(factors[j] * y, off));
        if (of.norm) {
          of_theirs.within(found, theirs[j] * factors[j], type.rounded(theirs[j] * factors[j], 2 * off));
        }
      }
    }
  }

  void check_backward(const Buffer<u16> &d_out, const Buffer<float> &d_sum, const Buffer<float> &partial) {
    Check &of_d = report["embeddings_backward" + ending() + " d_sum"];
    Check &of_theirs = report["embeddings_backward" + ending() + " d_sum, the CPU's"];
    ColumnSums sums(2 * C);
    std::vector<float> d(C), theirs(C), ignored(2 * C);
    for (u32 row = 0; row < rows; ++row) {
      const auto x = sum_of(row), factors = masks.factors(row, C);
      const double mean = of.norm ? means[row] : 0.0, inverse = of.norm ? inverses[row] : 0.0;
      double plain = 0, product = 0, size_plain = 0, size_product = 0;
      for (u32 j = 0; j < C; ++j) {
        d[j] = type.widen(d_out[size_t{row} * C + j]) * factors[j];
        const double g = d[j] * weight[j], normed = (x[j] - mean) * inverse;
        plain += g / C, product += g * normed / C, size_plain += std::abs(g) / C, size_product += std::abs(g * normed) / C;
        sums.add(j, d[j] * normed);
        sums.add(C + j, d[j]);
      }
      if (of.norm) {
        cpu::norm_backward<float>(1, C, d.data(), x.data(), &means[row], &inverses[row], weight.get(), nullptr, theirs.data(), ignored.data(),
                                  ignored.data() + C);
      }
      for (u32 j = 0; j < C; ++j) {
        const double g = d[j] * weight[j], normed = (x[j] - mean) * inverse, found = d_sum[size_t{row} * C + j];
        const double dx = of.norm ? (g - plain - normed * product) * inverse : d[j];
        const double off = of.norm ? (C / 32 + 24) * UNIT * (std::abs(g) + size_plain + std::abs(normed) * size_product) * inverse : 0.0;
        of_d.within(found, dx, off);
        if (of.norm) {
          of_theirs.within(found, theirs[j], 2 * off);
        }
      }
    }
    if (of.norm) {
      sums.check(report["embeddings_sums" + ending() + " d_weight and d_bias"], partial, rows);
    }
  }

  static constexpr float EPSILON = 1e-12f;
  static constexpr u32 WORDS = 30, BLOCKS = 3;
  Suite &suite;
  Report &report;
  const Type &type;
  const EmbeddingsCase of;
  const u32 C, rows;
  Random random;
  cpu::Masks masks;
  Buffer<float> word, position, segment, weight, bias;
  Buffer<i64> words, positions, types;
  Buffer<u16> out;
  Buffer<float> means, inverses;
};

inline void check_embeddings(Suite &suite, const Type &type) {
  const std::vector<u32> all = {8, 72, 136, 248, 264, 768, 1032, 2056}, few = {72, 264};
  const EmbeddingsCase cases[] = {
      // width, batch, length, grid, threshold, norm, positions, types
      {0, 3, 7, 2, 6554, true, true, true},
      {0, 2, 9, 7, 0, true, false, true},
      {0, 1, 5, 1, 32768, false, false, false},
      {0, 2, 3, 1, 0, false, true, false},
  };
  for (u32 width : suite.small ? few : all) {
    for (u64 seed : SEEDS) {
      suite.seed(seed);
      for (EmbeddingsCase of : cases) {
        of.width = width;
        suite.report.begin_case("width " + std::to_string(width) + ", " + std::to_string(of.batch) + " x " + std::to_string(of.length) +
                                " tokens, dropout " + std::to_string(of.threshold) + " / 65536, norm " + std::to_string(of.norm) + ", seed " +
                                std::to_string(seed));
        EmbeddingsCheck(suite, type, of).run();
      }
    }
  }
}
