// The CPU's own kernels, at their lowest level.
#pragma once

#define LEVEL DEFAULT
#include "../../csrc/kernels/adamw.h"
#include "../../csrc/kernels/dropout.h"
#include "../../csrc/kernels/gelu.h"
#include "../../csrc/kernels/loss.h"
#include "../../csrc/kernels/norm.h"

#include "checks.h"

namespace cpu {

using namespace untie::DEFAULT;

// Keys of sequences of `rows_of_a_key` rows; threshold 0: no dropout, and nothing that could be read.
class Masks {
public:
  Masks(u32 rows, u32 rows_of_a_key, u32 threshold) : keys(rows / rows_of_a_key + 1) {
    const i64 some[] = {0x0123456789abcdef, -77, 42, INT64_MIN, 0};
    for (size_t i = 0; i < keys.size(); ++i) {
      keys[i] = some[i % 5] + static_cast<i64>(i / 5);
    }
    scale = 1.0 / (1.0 - threshold / 65536.0);
    device = {threshold != 0 ? keys.get() : nullptr, threshold != 0 ? rows_of_a_key : 0, 9, threshold, static_cast<float>(scale)};
  }
  // [width]: 0, or what is kept is multiplied by.
  std::vector<float> factors(u32 row, u32 width) const {
    std::vector<float> made(width);
    const untie::Dropout dropout{keys.get(), device.site, device.threshold, scale, device.rows_of_a_key};
    dropped_row<float>(dropout, row, width, [&](int64_t j, int64_t count, auto factor) { write(made.data() + j, factor, count); });
    return made;
  }

  device::Dropout device;

private:
  Buffer<i64> keys;
  double scale;
};

} // namespace cpu
