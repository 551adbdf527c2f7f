// adamw.
#pragma once
#include "cpu.h"

class AdamWCheck {
public:
  struct Case {
    u32 count, offset; // the pieces begin `offset` elements behind what is aligned
    float num_updates, skipped;
    bool copy;
  };

  AdamWCheck(Suite &suite, const Type &type, const Case &of)
      : suite(suite), type(type), of(of), kernel(std::string("adamw_") + type.name), random(of.count + of.offset) {}

  // Two pieces, with other factors; the first decays, the second keeps its gradient.
  void run() {
    Tensors first = tensors(), second = tensors();
    const device::AdamWPiece pieces[] = {first.piece(of, 2, 1, 0), second.piece(of, 0, 0, 1)};
    const Buffer<double> factors(3);
    factors[0] = 0.3, factors[1] = NAN, factors[2] = 1.7;
    const Buffer<float> skipped(1), num_updates(1), learning_rate(1);
    skipped[0] = of.skipped, num_updates[0] = of.num_updates, learning_rate[0] = 3e-3f;
    const Tensors first_before = first.same(), second_before = second.same();
    if (suite.launch(kernel, 2, 1, 256, &pieces[0], factors.get(), skipped.get(), num_updates.get(), learning_rate.get(), BETA1, BETA2,
                     EPSILON, DECAY)) {
      check(first_before, first, factors[2], DECAY, false);
      check(second_before, second, factors[0], 0.0, true);
    }
  }

private:
  static constexpr u32 MARGIN = 3; // behind the piece: not touched
  static constexpr double BETA1 = 0.9, BETA2 = 0.999, EPSILON = 1e-6, DECAY = 0.01;

  struct Tensors {
    Buffer<float> weight, gradient, exp_avg, exp_avg_sq;
    Buffer<u16> copy;

    device::AdamWPiece piece(const Case &of, u32 index, u32 decays, u32 keeps) const {
      return {weight.get() + of.offset,     gradient.get() + of.offset,
              exp_avg.get() + of.offset,    exp_avg_sq.get() + of.offset,
              of.copy ? copy.get() + of.offset : nullptr, of.count, index, decays, keeps};
    }
    Tensors same() const {
      const auto copied = [](const auto &from) {
        auto to = std::decay_t<decltype(from)>(from.size());
        std::copy(from.begin(), from.end(), to.begin());
        return to;
      };
      return {copied(weight), copied(gradient), copied(exp_avg), copied(exp_avg_sq), copied(copy)};
    }
  };

  Tensors tensors() {
    const size_t size = of.offset + of.count + MARGIN;
    Tensors made{random_floats(size, random, 0.0f, 1.0f), random_floats(size, random, 0.0f, 1.0f), random_floats(size, random, 0.0f, 0.5f),
                 random_floats(size, random, 0.0f, 1.0f), Buffer<u16>(size)};
    for (float &v : made.exp_avg_sq) {
      v *= v;
    }
    return made;
  }

  static bool same_state(const Tensors &before, const Tensors &after, u32 i) {
    return after.weight[i] == before.weight[i] && after.exp_avg[i] == before.exp_avg[i] && after.exp_avg_sq[i] == before.exp_avg_sq[i] &&
           after.copy[i] == before.copy[i];
  }

  void check(const Tensors &before, const Tensors &after, double factor, double decay, bool keeps) {
    const double rate = 3e-3f, n = of.num_updates, beta1 = BETA1, beta2 = BETA2;
    const double correction1 = 1 - std::pow(beta1, n), correction2 = 1 - std::pow(beta2, n);
    const Tensors theirs = before.same();
    cpu::adamw<float>(of.count, theirs.weight.get() + of.offset, theirs.gradient.get() + of.offset, theirs.exp_avg.get() + of.offset,
                      theirs.exp_avg_sq.get() + of.offset,
                      {rate, beta1, beta2, EPSILON, correction1, correction2, decay, factor});
    Report &report = suite.report;
    Check &untouched = report[kernel + " what is beside a piece"], &zeroed = report[kernel + " gradient"];
    Check &copies = report[kernel + " copy"], &kept = report[kernel + " skipped steps"], &of_theirs = report[kernel + " the CPU's"];
    Check &of_m = report[kernel + " exp_avg"], &of_v = report[kernel + " exp_avg_sq"], &of_w = report[kernel + " weight"];
    for (u32 i = 0; i < before.weight.size(); ++i) {
      if (i < of.offset || i >= of.offset + of.count) {
        untouched.equal(same_state(before, after, i) && after.gradient[i] == before.gradient[i], true);
        continue;
      }
      zeroed.equal(after.gradient[i], keeps ? before.gradient[i] : 0.0f);
      if (of.skipped != 0.0f) {
        kept.equal(same_state(before, after, i), true);
        continue;
      }
      const double g = before.gradient[i] * factor, m = beta1 * before.exp_avg[i] + (1 - beta1) * g;
      const double v = beta2 * before.exp_avg_sq[i] + (1 - beta2) * g * g;
      const double step = rate / correction1 * m / (std::sqrt(v) / std::sqrt(correction2) + EPSILON);
      const double w = before.weight[i] * (1 - rate * decay) - step;
      // Each factor, product and sum one unit; the errors of m and √v are in the step too.
      const double off_m = 5 * UNIT * (std::abs(beta1 * before.exp_avg[i]) + std::abs((1 - beta1) * g)), off_v = 7 * UNIT * v;
      const double off_step = std::abs(step) * 16 * UNIT + rate / correction1 * off_m / (std::sqrt(v) / std::sqrt(correction2) + EPSILON);
      const double off_w = 3 * UNIT * std::abs(before.weight[i]) + off_step;
      of_m.within(after.exp_avg[i], m, off_m);
      of_v.within(after.exp_avg_sq[i], v, off_v);
      of_w.within(after.weight[i], w, off_w);
      of_theirs.within(after.exp_avg[i], theirs.exp_avg[i], 2 * off_m);
      of_theirs.within(after.exp_avg_sq[i], theirs.exp_avg_sq[i], 2 * off_v);
      of_theirs.within(after.weight[i], theirs.weight[i], 2 * off_w);
      if (of.copy) {
        copies.equal(after.copy[i], type.narrow(after.weight[i]));
      }
    }
  }

  Suite &suite;
  const Type &type;
  const Case of;
  const std::string kernel;
  Random random;
};

inline void check_adamw(Suite &suite, const Type &type) {
  for (u64 seed : SEEDS) {
    suite.seed(seed);
    for (u32 count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 1024, 1027, 65536}) {
      if (count > 2000 && (suite.small || seed != 1)) {
        continue;
      }
      for (u32 offset : {0, 1, 2, 4}) {
        const float num_updates = count == 7 ? 1.0f : count == 8 ? 1000.0f : 12.0f, skipped = count % 4 == 2 ? 1.0f : 0.0f;
        suite.report.begin_case(std::to_string(count) + " elements, offset " + std::to_string(offset) + ", seed " + std::to_string(seed));
        AdamWCheck(suite, type, {count, offset, num_updates, skipped, count % 3 != 0}).run();
      }
    }
  }
}
