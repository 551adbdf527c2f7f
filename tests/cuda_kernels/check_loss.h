// cross_entropy.
#pragma once
#include "cpu.h"

// Rows of all kinds: usual ones, one whose label is the best, two with equal best logits (the label first, the label second), one with a
// weight that is no 1, ones of weight 0 that hold no numbers, and two whose labels are outside the row.
class LossCheck {
public:
  static constexpr u32 ROWS = 11;

  LossCheck(Suite &suite, const Type &type, u32 width)
      : suite(suite), type(type), kernel(std::string("cross_entropy_") + type.name), V(width), random(width),
        logits(random_elements(type, size_t{ROWS} * V, random, 3.0f)), bias(random_floats(V, random, 0.0f, 0.1f)), weights(ROWS),
        losses(ROWS), correct(ROWS), labels(ROWS) {
    // Entries that fill up the vocabulary.
    for (u32 j = V - V / 300; j < V; ++j) {
      bias[j] = -1e9f;
    }
    for (u32 row = 0; row < ROWS; ++row) {
      labels[row] = random.below(V - V / 300);
      weights[row] = 1.0f;
    }
    labels[1] = 0, labels[2] = V - V / 300 - 1;
    u16 *ties = logits.get() + size_t{3} * V;
    const u32 first = V / 3, second = V / 2 + 1;
    bias[first] = bias[second] = 0.0625f;
    for (u32 row : {3u, 4u}) {
      ties = logits.get() + size_t{row} * V;
      ties[first] = ties[second] = type.narrow(20.0f);
      labels[row] = row == 3 ? first : second;
    }
    weights[5] = 0.375f;
    labels[9] = V, labels[10] = -1;
    for (u32 row : {6u, 7u}) {
      weights[row] = 0.0f;
      labels[row] = row == 6 ? -100 : 0;
      for (u32 j = 0; j < V; ++j) {
        logits[size_t{row} * V + j] = type.narrow(j % 3 == 0 ? INFINITY : j % 3 == 1 ? NAN : -INFINITY);
      }
    }
  }

  void run() {
    const std::vector<u16> given(logits.begin(), logits.end());
    if (!suite.launch(kernel, ROWS, 1, 512, logits.get(), bias.get(), labels.get(), weights.get(), V, losses.get(), correct.get())) {
      return;
    }
    Check &zero = suite.report[kernel + " rows of weight 0"], &outside = suite.report[kernel + " labels outside"];
    for (u32 row = 0; row < ROWS; ++row) {
      if (row >= 9) {
        bool all_nan = std::isnan(losses[row]);
        for (u32 j = 0; j < V; ++j) {
          all_nan = all_nan && std::isnan(type.widen(logits[size_t{row} * V + j]));
        }
        outside.equal(all_nan, true);
        outside.equal(correct[row], 0.0f);
        continue;
      }
      if (weights[row] != 0.0f) {
        check_row(row, given.data() + size_t{row} * V);
        continue;
      }
      zero.equal(losses[row], 0.0f);
      zero.equal(correct[row], 0.0f);
      for (u32 j = 0; j < V; ++j) {
        zero.equal<u16>(logits[size_t{row} * V + j], 0);
      }
    }
  }

private:
  void check_row(u32 row, const u16 *given) {
    const double weight = weights[row];
    const auto label = static_cast<u32>(labels[row]);
    std::vector<float> x(V);
    u32 best = 0;
    for (u32 j = 0; j < V; ++j) {
      x[j] = type.widen(given[j]) + bias[j];
      best = x[j] > x[best] ? j : best;
    }
    const double top = x[best];
    double sum = 0;
    for (float value : x) {
      sum += std::exp(value - top);
    }
    // A thread adds 8 terms of each 4096 columns, the block nine more, each with a rescaling; an exponential is off by its argument's
    // rounding, and its argument weighs at most 1/e.
    const double off_sum = UNIT * (8 * (V / 4096 + 1) + 64);
    const double loss = top + std::log(sum) - x[label];
    const double off = off_sum + 4 * UNIT * (std::abs(top) + std::log(sum) + std::abs(x[label]));
    suite.report[kernel + " loss"].within(losses[row], weight * loss, weight * off);
    suite.report[kernel + " correct"].equal(correct[row], best == label ? weights[row] : 0.0f);
    Check &gradient = suite.report[kernel + " gradient"], &of_theirs = suite.report[kernel + " gradient, the CPU's"];
    const auto theirs = of_cpu(x, label, row, weight * off);
    for (u32 j = 0; j < V; ++j) {
      const double p = std::exp(x[j] - top) / sum, d = weight * (p - (j == label ? 1 : 0));
      const double off_d = weight * (p * (off_sum + 4 * UNIT * (1 + std::min(top - x[j], 200.0))) + 2 * UNIT * (j == label ? 1 : 0)) + 0x1p-120;
      const double found = type.widen(logits[size_t{row} * V + j]);
      gradient.within(found, d, type.rounded(d, off_d));
      of_theirs.within(found, theirs[j], type.rounded(theirs[j], 2 * off_d + weight * p * UNIT * (V + std::abs(top) + std::log(sum))));
    }
  }

  // 16 columns that are alike. They add one logit after the other.
  std::vector<double> of_cpu(const std::vector<float> &x, u32 label, u32 row, double off) {
    constexpr u32 COLUMNS = 16;
    std::vector<float> scores(size_t{V} * COLUMNS), gradient(scores.size()), packed(scores.size()), no_bias(V), bias_sum(V);
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = x[i / COLUMNS];
    }
    const std::vector<int32_t> label_of(COLUMNS, static_cast<int32_t>(label));
    const untie::Logits tile{V, COLUMNS, 0, label_of.data()};
    std::vector<float> top(COLUMNS), total(COLUMNS), picked(COLUMNS), log_sum(COLUMNS), factor(COLUMNS, weights[row]);
    std::vector<int32_t> best(COLUMNS);
    const std::vector<float> given = scores;
    cpu::logits_forward<float>(tile, scores.data(), no_bias.data(), {top.data(), total.data(), picked.data(), best.data()});
    log_sum.assign(COLUMNS, top[0] + std::log(total[0]));
    suite.report[kernel + " loss, the CPU's"].within(losses[row], weights[row] * (log_sum[0] - picked[0]),
                                                     2 * off + weights[row] * V * UNIT);
    suite.report[kernel + " correct, the CPU's"].equal(correct[row], best[0] == labels[row] ? weights[row] : 0.0f);
    cpu::logits_backward<float>(tile, given.data(), no_bias.data(), log_sum.data(), factor.data(), gradient.data(), packed.data(),
                                bias_sum.data());
    std::vector<double> made(V);
    for (u32 j = 0; j < V; ++j) {
      made[j] = gradient[size_t{j} * COLUMNS];
    }
    return made;
  }

  Suite &suite;
  const Type &type;
  const std::string kernel;
  const u32 V;
  Random random;
  Buffer<u16> logits;
  Buffer<float> bias, weights, losses, correct;
  Buffer<i64> labels;
};

inline void check_loss(Suite &suite, const Type &type) {
  const std::vector<u32> all = {8, 72, 1032, 4104, 30592}, few = {8, 4104};
  for (u32 width : suite.small ? few : all) {
    for (u64 seed : SEEDS) {
      suite.seed(seed);
      suite.report.begin_case("vocabulary " + std::to_string(width) + ", seed " + std::to_string(seed));
      LossCheck(suite, type, width).run();
    }
  }
}
