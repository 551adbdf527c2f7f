// gelu_forward, gelu_backward, column_sums, add_up and pack_qkv.
#pragma once
#include "cpu.h"

// Σ over the blocks of partial [blocks, columns], against sums in fp64 of `rows` terms each.
class ColumnSums {
public:
  explicit ColumnSums(u32 columns) : sums(columns), sizes(columns) {}
  void add(u32 column, double term) { sums[column] += term, sizes[column] += std::abs(term); }
  void check(Check &check, const Buffer<float> &partial, u32 rows) const {
    const size_t columns = sums.size();
    for (size_t j = 0; j < columns; ++j) {
      double found = 0;
      for (size_t block = 0; block < partial.size() / columns; ++block) {
        found += partial[block * columns + j];
      }
      check.within(found, sums[j], (rows + 16) * UNIT * sizes[j]);
    }
  }

private:
  std::vector<double> sums, sizes;
};

// x·Φ(x), its derivative, and bounds of the errors of fp32. The approximation is within 2e-8 (csrc/kernels/vector.h); the exponential's
// argument x²/2 is off by two units of its size; below 2^-120 a result may be 0.
struct Gelu {
  explicit Gelu(double x) {
    const double distribution = 0.5 * std::erfc(-x / std::sqrt(2.0)), density = std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    const double relative = 2e-8 + UNIT * (2 * std::min(x * x, 200.0) + 24);
    value = x * distribution;
    slope = distribution + x * density;
    off_value = relative * std::abs(value) + std::abs(x) * 0x1p-120;
    off_slope = relative * (distribution + std::abs(x) * density) + (1 + std::abs(x)) * 0x1p-120;
  }
  double value, slope, off_value, off_slope;
};

inline void check_gelu_forward(Suite &suite, const Type &type, u64 seed) {
  // Every number of the type; NaN stays NaN.
  const std::string kernel = std::string("gelu_forward_") + type.name;
  Buffer<u16> before(65536), after(65536);
  for (u32 bits = 0; bits < 65536; ++bits) {
    before[bits] = static_cast<u16>(bits);
  }
  suite.report.begin_case("every number, seed " + std::to_string(seed));
  if (!suite.launch(kernel, 3, 1, 256, before.get(), u64{65536 / 8}, after.get())) {
    return;
  }
  Check &finite = suite.report[kernel + " after"], &not_finite = suite.report[kernel + " after infinity and NaN"];
  Check &of_theirs = suite.report[kernel + " after, the CPU's"];
  for (u32 bits = 0; bits < 65536; ++bits) {
    const float x = type.widen(before[bits]), found = type.widen(after[bits]);
    if (!std::isfinite(x)) {
      not_finite.equal(std::isnan(found) || found == x, true);
      continue;
    }
    const Gelu exact(x);
    finite.within(found, exact.value, type.rounded(exact.value, exact.off_value));
    if (std::abs(x) < 1e18f) { // their x² is finite
      float zero = 0, theirs;
      cpu::gelu_forward<float>(1, 1, &x, &zero, nullptr, 1, &theirs, 1);
      of_theirs.within(found, theirs, type.rounded(theirs, 2 * exact.off_value));
    }
  }
}

inline void check_gelu_backward(Suite &suite, const Type &type, u32 width, u32 rows, u32 blocks) {
  const std::string kernel = std::string("gelu_backward_") + type.name;
  Random random(width + rows);
  const size_t size = static_cast<size_t>(rows) * width;
  const auto d_after = random_elements(type, size, random), before = random_elements(type, size, random, 2.0f);
  Buffer<u16> d_before(size);
  Buffer<float> partial(static_cast<size_t>(blocks) * width);
  if (!suite.launch(kernel, columns_of_256(width), blocks, 256, d_after.get(), before.get(), rows, width, d_before.get(), partial.get())) {
    return;
  }
  Check &of_d = suite.report[kernel + " d_before"];
  ColumnSums sums(width);
  for (size_t at = 0; at < size; ++at) {
    const double d = type.widen(d_after[at]), found = type.widen(d_before[at]);
    const Gelu exact(type.widen(before[at]));
    of_d.within(found, d * exact.slope, type.rounded(d * exact.slope, std::abs(d) * exact.off_slope));
    sums.add(at % width, found);
  }
  sums.check(suite.report[kernel + " sums of what was stored"], partial, rows);
}

inline void check_column_sums(Suite &suite, const Type &type, u32 width, u32 rows, u32 blocks) {
  const std::string kernel = std::string("column_sums_") + type.name;
  Random random(width + rows);
  const auto x = random_elements(type, static_cast<size_t>(rows) * width, random);
  Buffer<float> partial(static_cast<size_t>(blocks) * width);
  if (suite.launch(kernel, columns_of_256(width), blocks, 256, x.get(), rows, width, partial.get())) {
    ColumnSums sums(width);
    for (size_t at = 0; at < x.size(); ++at) {
      sums.add(at % width, type.widen(x[at]));
    }
    sums.check(suite.report[kernel + " sums"], partial, rows);
  }
}

// `wanted`: bit k for the k-th part.
inline void check_add_up(Suite &suite, u32 width, u32 parts, u32 blocks, u32 wanted, u64 seed) {
  suite.report.begin_case("width " + std::to_string(width) + ", " + std::to_string(parts) + " parts, " + std::to_string(blocks) +
                          " blocks, seed " + std::to_string(seed));
  Random random(width + blocks);
  const auto partial = random_floats(static_cast<size_t>(blocks) * parts * width, random, 0.0f, 1.0f);
  const Buffer<float> sums[3] = {random_floats(width, random, 0.0f, 1.0f), random_floats(width, random, 0.0f, 1.0f),
                                 random_floats(width, random, 0.0f, 1.0f)};
  std::vector<double> expected(3 * width), size(3 * width);
  for (u32 part = 0; part < 3; ++part) {
    for (u32 j = 0; j < width; ++j) {
      double &sum = expected[part * width + j], &terms = size[part * width + j];
      sum = sums[part][j], terms = std::abs(sum);
      for (u32 block = 0; block < blocks && part < parts && (wanted >> part & 1) != 0; ++block) {
        const double term = partial[(static_cast<size_t>(block) * parts + part) * width + j];
        sum += term, terms += std::abs(term);
      }
    }
  }
  const auto target = [&](u32 part) { return (wanted >> part & 1) != 0 ? sums[part].get() : nullptr; };
  if (suite.launch("add_up", (parts * width + 31) / 32, 1, 256, partial.get(), blocks, width, parts, target(0), target(1), target(2))) {
    Check &check = suite.report["add_up sums"];
    for (u32 i = 0; i < 3 * width; ++i) {
      check.within(sums[i / width][i % width], expected[i], (blocks / 8 + 12) * UNIT * size[i]);
    }
  }
}

struct QkvCase {
  u32 batch, length, heads, features, blocks;
};

inline void check_pack_qkv(Suite &suite, const Type &type, const QkvCase &of, u64 seed) {
  const std::string kernel = std::string("pack_qkv_") + type.name;
  suite.report.begin_case(std::to_string(of.batch) + " x " + std::to_string(of.length) + " tokens, " + std::to_string(of.heads) +
                          " heads of " + std::to_string(of.features) + ", seed " + std::to_string(seed));
  Random random(of.heads * of.features);
  const i64 H = of.heads, D = of.features, T = of.length, padded = D + 8;
  // Heads first as attention leaves them, tokens first, and heads first with a gap behind each token.
  const device::Strides strides[3] = {{H * T * D, T * D, D}, {T * H * D, D, H * D}, {H * T * padded, T * padded, padded}};
  const u32 rows = of.batch * of.length, hidden = of.heads * of.features, width = 3 * hidden;
  Buffer<u16> from[3] = {random_elements(type, static_cast<size_t>(rows) * hidden, random),
                         random_elements(type, static_cast<size_t>(rows) * hidden, random),
                         random_elements(type, static_cast<size_t>(rows) * of.heads * padded, random)};
  Buffer<u16> d_qkv(static_cast<size_t>(rows) * width);
  Buffer<float> partial(static_cast<size_t>(of.blocks) * width);
  if (!suite.launch(kernel, columns_of_256(width), of.blocks, 256, from[0].get(), from[1].get(), from[2].get(), strides[0], strides[1],
                    strides[2], rows, of.length, of.heads, of.features, d_qkv.get(), partial.get())) {
    return;
  }
  Check &of_d = suite.report[kernel + " d_qkv"];
  ColumnSums sums(width);
  for (u32 row = 0; row < rows; ++row) {
    for (u32 which = 0; which < 3; ++which) {
      for (u32 j = 0; j < hidden; ++j) {
        const auto &s = strides[which];
        const i64 place = row / of.length * s.batch + j / of.features * s.head + row % of.length * s.token + j % of.features;
        const u16 expected = from[which][static_cast<size_t>(place)];
        of_d.equal(d_qkv[static_cast<size_t>(row) * width + which * hidden + j], expected);
        sums.add(which * hidden + j, type.widen(expected));
      }
    }
  }
  sums.check(suite.report[kernel + " sums"], partial, rows);
}

inline void check_sums(Suite &suite, const Type &type) {
  const std::vector<u32> all = {8, 72, 136, 248, 264, 312, 768, 1032, 2056}, few = {8, 264};
  const QkvCase qkv[] = {{2, 7, 1, 8, 1}, {1, 5, 3, 24, 9}, {3, 11, 12, 64, 2}, {2, 1, 5, 72, 1}};
  for (u64 seed : SEEDS) {
    suite.seed(seed);
    check_gelu_forward(suite, type, seed);
    for (u32 width : suite.small ? few : all) {
      for (u32 rows : {1, 13, 50}) {
        for (u32 blocks : {1, 3, 9}) {
          suite.report.begin_case("width " + std::to_string(width) + ", " + std::to_string(rows) + " rows, " + std::to_string(blocks) +
                                  " blocks, seed " + std::to_string(seed));
          check_gelu_backward(suite, type, width, rows, blocks);
          check_column_sums(suite, type, width, rows, blocks);
        }
      }
    }
    for (const QkvCase &of : qkv) {
      check_pack_qkv(suite, type, of, seed);
    }
    for (u32 blocks : {1, 7, 8, 9, 300}) {
      check_add_up(suite, 8, 3, blocks, 7, seed);
      check_add_up(suite, 264, 1, blocks, 1, seed);
      check_add_up(suite, 72, 2, blocks, 3, seed);
      check_add_up(suite, 136, 3, blocks, blocks % 8, seed);
    }
  }
}
