// norm_forward, norm_backward and norm_sums.
#pragma once
#include "cpu.h"

struct NormCase {
  u32 width, rows, grid, threshold;
  bool branch, norm, add, store_sum, store_branch;
};

class NormCheck {
public:
  NormCheck(Suite &suite, const Type &type, const NormCase &of, bool any)
      : suite(suite), report(suite.report), type(type), of(of), C(of.width), ending("_" + (any ? "any" : std::to_string(C)) + "_" + type.name),
        any(any), random(C + of.rows), masks(of.rows, 5, of.threshold), branch(random_elements(type, size(), random)),
        residual(random_elements(type, size(), random)), weight(random_floats(C, random, 1.0f, 0.1f)),
        bias(random_floats(C, random, 0.0f, 0.1f)), sum(size()), out(size()), means(of.rows), inverses(of.rows) {}

  void run() {
    if (forward()) {
      check_forward();
      if (backward()) {
        check_backward();
      }
    }
  }

private:
  size_t size() const { return static_cast<size_t>(of.rows) * C; }
  float value(const Buffer<u16> &x, size_t at) const { return type.widen(x[at]); }
  const Buffer<u16> &stored() const { return of.branch ? sum : residual; }

  bool forward() {
    return suite.launch("norm_forward" + ending, of.grid, 1, 128, of.branch ? branch.get() : nullptr, residual.get(),
                        of.norm ? weight.get() : nullptr, of.norm ? bias.get() : nullptr, EPSILON, masks.device, of.rows, C,
                        of.branch ? sum.get() : nullptr, of.norm ? out.get() : nullptr, of.norm ? means.get() : nullptr,
                        of.norm ? inverses.get() : nullptr);
  }

  void check_forward() {
    const std::string kernel = "norm_forward" + ending;
    Check &of_sum = report[kernel + " sum, masks of the CPU"], &of_mean = report[kernel + " mean"];
    Check &of_inverse = report[kernel + " inverse"], &of_out = report[kernel + " out"], &of_theirs = report[kernel + " out, the CPU's"];
    std::vector<float> wide(C), theirs(C);
    for (u32 row = 0; row < of.rows; ++row) {
      const size_t at = static_cast<size_t>(row) * C;
      const auto factors = masks.factors(row, C);
      double mean = 0, size_of_x = 0, variance = 0;
      for (u32 j = 0; j < C; ++j) {
        if (of.branch) {
          // One rounding of the product, one of the sum, one to 16 bits: equal bits.
          const float product = value(branch, at + j) * factors[j];
          of_sum.equal(sum[at + j], type.narrow(value(residual, at + j) + product));
        }
        wide[j] = value(stored(), at + j);
        mean += wide[j] / static_cast<double>(C);
        size_of_x += std::abs(wide[j]) / static_cast<double>(C);
      }
      if (!of.norm) {
        continue;
      }
      for (u32 j = 0; j < C; ++j) {
        variance += std::pow(wide[j] - mean, 2) / C;
      }
      // A lane adds C / 32 terms, the warp five more.
      const double operations = C / 32 + 16, inverse = 1 / std::sqrt(variance + EPSILON);
      of_mean.within(means[row], mean, operations * UNIT * size_of_x);
      of_inverse.within(inverses[row], inverse, operations * UNIT * inverse);
      float their_mean, their_inverse;
      cpu::norm_forward<float>(1, C, wide.data(), {weight.get(), bias.get(), EPSILON}, theirs.data(), &their_mean, &their_inverse);
      for (u32 j = 0; j < C; ++j) {
        const double y = (wide[j] - mean) * inverse * weight[j] + bias[j];
        const double off = operations * UNIT * ((std::abs(wide[j]) + size_of_x) * inverse * std::abs(weight[j]) + std::abs(bias[j]));
        of_out.within(value(out, at + j), y, type.rounded(y, off));
        of_theirs.within(value(out, at + j), theirs[j], type.rounded(theirs[j], 2 * off));
      }
    }
  }

  bool backward() {
    d_out = std::make_unique<Buffer<u16>>(random_elements(type, size(), random));
    add = std::make_unique<Buffer<u16>>(random_elements(type, size(), random));
    d_sum = std::make_unique<Buffer<u16>>(size());
    d_branch = std::make_unique<Buffer<u16>>(size());
    const u32 blocks = any ? 3 : of.grid;
    partial = std::make_unique<Buffer<float>>(static_cast<size_t>(blocks) * 3 * C);
    float *no_partial = nullptr;
    const u16 *x = of.norm ? stored().get() : nullptr, *more = of.add ? add->get() : nullptr;
    const float *m = of.norm ? means.get() : nullptr, *i = of.norm ? inverses.get() : nullptr, *w = of.norm ? weight.get() : nullptr;
    u16 *to_sum = of.store_sum ? d_sum->get() : nullptr, *to_branch = of.store_branch ? d_branch->get() : nullptr;
    if (!suite.launch("norm_backward" + ending, of.grid, 1, 128, d_out->get(), x, m, i, w, more, masks.device, of.rows, C, to_sum,
                      to_branch, any ? no_partial : partial->get())) {
      return false;
    }
    // The sums of `any` are a kernel of their own; without dropout or a branch of its own, d_sum is the branch's.
    const u16 *of_branch = of.store_branch ? to_branch : of.threshold == 0 ? to_sum : nullptr;
    return !any || suite.launch(std::string("norm_sums_any_") + type.name, columns_of_256(C), blocks, 256, d_out->get(), x, m, i, of_branch,
                                of.rows, C, partial->get());
  }

  void check_backward() {
    const std::string kernel = "norm_backward" + ending, sums = any ? std::string("norm_sums_any_") + type.name : kernel;
    Check &of_d_sum = report[kernel + " d_sum"], &of_theirs = report[kernel + " d_sum, the CPU's"];
    Check &of_d_branch = report[kernel + " d_branch"], &of_d_branch_alone = report[kernel + " d_branch alone"];
    const bool has_branch = of.store_branch || (of.threshold == 0 && (!any || of.store_sum));
    std::vector<double> of_weight(C), of_bias(C), of_branch(C), size_of_weight(C), size_of_bias(C), size_of_branch(C);
    std::vector<float> wide(C), theirs_in(C), theirs(C), ignored(2 * C);
    for (u32 row = 0; row < of.rows; ++row) {
      const size_t at = static_cast<size_t>(row) * C;
      const auto factors = masks.factors(row, C);
      double plain = 0, product = 0, size_plain = 0, size_product = 0;
      const double mean = of.norm ? means[row] : 0.0, inverse = of.norm ? inverses[row] : 0.0;
      const auto normed = [&](u32 j) { return (value(stored(), at + j) - mean) * inverse; };
      for (u32 j = 0; of.norm && j < C; ++j) {
        const double d = value(*d_out, at + j), g = d * weight[j], x = normed(j);
        plain += g / C, product += g * x / C, size_plain += std::abs(g) / C, size_product += std::abs(g * x) / C;
        of_weight[j] += d * x, size_of_weight[j] += std::abs(d * x), of_bias[j] += d, size_of_bias[j] += std::abs(d);
        wide[j] = value(stored(), at + j), theirs_in[j] = value(*d_out, at + j);
      }
      if (of.norm) {
        cpu::norm_backward<float>(1, C, theirs_in.data(), wide.data(), &means[row], &inverses[row], weight.get(), nullptr, theirs.data(),
                                  ignored.data(), ignored.data() + C);
      }
      for (u32 j = 0; j < C; ++j) {
        const double d = value(*d_out, at + j), more = of.add ? value(*add, at + j) : 0.0, g = d * weight[j];
        const double dx = more + (of.norm ? (g - plain - normed(j) * product) * inverse : d);
        const double terms = (std::abs(g) + size_plain + std::abs(normed(j)) * size_product) * inverse;
        const double off = (C / 32 + 24) * UNIT * ((of.norm ? terms : std::abs(d)) + std::abs(more));
        if (of.store_sum) {
          of_d_sum.within(value(*d_sum, at + j), dx, type.rounded(dx, off));
          if (of.norm) {
            const double their = theirs[j] + more;
            of_theirs.within(value(*d_sum, at + j), their, type.rounded(their, 2 * off));
          }
        }
        // What d_sum is as stored, where it was.
        const double kept = of.store_sum ? value(*d_sum, at + j) : dx;
        if (of.store_branch && of.store_sum) {
          const u16 expected = type.narrow(static_cast<float>(kept) * factors[j]);
          of_d_branch.equal((*d_branch)[at + j], expected);
        } else if (of.store_branch) {
          // d_sum is rounded before the mask and was not stored: one more rounding.
          const double bound = factors[j] * type.rounded(dx, off) * (1 + 1.0 / 128) + type.half_spacing(factors[j] * dx);
          of_d_branch_alone.within(value(*d_branch, at + j), factors[j] * dx, bound);
        }
        if (has_branch) {
          const double b = of.store_branch ? value(*d_branch, at + j) : kept;
          of_branch[j] += b;
          size_of_branch[j] += of.store_branch || of.store_sum ? std::abs(b) : std::abs(b) + type.rounded(dx, off) / (of.rows + 16) / UNIT;
        }
      }
    }
    for (u32 j = 0; j < C; ++j) {
      const auto total = [&](u32 part) {
        double found = 0;
        for (size_t block = 0; block < partial->size() / 3 / C; ++block) {
          found += (*partial)[(3 * block + part) * C + j];
        }
        return found;
      };
      const double operations = (of.rows + 16) * UNIT;
      report[sums + " d_weight"].within(total(0), of_weight[j], operations * size_of_weight[j]);
      report[sums + " d_bias"].within(total(1), of_bias[j], operations * size_of_bias[j]);
      report[sums + " sum of d_branch"].within(total(2), of_branch[j], operations * size_of_branch[j]);
    }
  }

  static constexpr float EPSILON = 1e-12f;
  Suite &suite;
  Report &report;
  const Type &type;
  const NormCase of;
  const u32 C;
  const std::string ending;
  const bool any;
  Random random;
  cpu::Masks masks;
  Buffer<u16> branch, residual;
  Buffer<float> weight, bias;
  Buffer<u16> sum, out;
  Buffer<float> means, inverses;
  std::unique_ptr<Buffer<u16>> d_out, add, d_sum, d_branch;
  std::unique_ptr<Buffer<float>> partial;
};

inline void check_norm(Suite &suite, const Type &type) {
  const std::vector<u32> all = {8, 72, 136, 248, 256, 264, 312, 512, 768, 1024, 1032, 2056}, few = {72, 256, 264, 512, 768, 1024};
  const NormCase cases[] = {
      // width, rows, grid, threshold, branch, norm, add, store_sum, store_branch
      {0, 13, 2, 6554, true, true, true, true, true},    {0, 7, 5, 0, true, true, false, true, false},
      {0, 5, 1, 32768, true, false, true, true, true},   {0, 3, 1, 0, false, true, true, true, false},
      {0, 6, 2, 6554, false, true, false, true, false},  {0, 9, 1, 6554, true, true, false, false, true},
      {0, 4, 1, 0, true, false, false, false, false},    {0, 11, 2, 0, true, true, true, true, true},
  };
  for (u32 width : suite.small ? few : all) {
    for (u64 seed : SEEDS) {
      suite.seed(seed);
      for (NormCase of : cases) {
        of.width = width;
        suite.report.begin_case("width " + std::to_string(width) + ", " + std::to_string(of.rows) + " rows, dropout " +
                                std::to_string(of.threshold) + " / 65536, branch " + std::to_string(of.branch) + ", norm " +
                                std::to_string(of.norm) + ", seed " + std::to_string(seed));
        NormCheck(suite, type, of, /*any=*/true).run();
        if (width % 256 == 0 && width <= 1024) {
          NormCheck(suite, type, of, /*any=*/false).run();
        }
      }
    }
  }
}
