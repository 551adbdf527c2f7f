// What the checks of the kernels share: launches by name, buffers of exact size, random numbers, and bounds of errors.
//
// Bounds are derived, not tuned. UNIT = 2^-24 is the relative error of one fp32 operation; `off` below is the bound of an error in fp32,
// (number of operations) · UNIT · Σ |terms|. A result that is then rounded to 16 bits may be off by half the spacing of the type more.
#pragma once

#include "numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i64 = int64_t;

constexpr double UNIT = 1.0 / (1 << 24);

struct Type {
  const char *name;
  int digits;          // of the significand
  int smallest;        // the exponent of the smallest number above 0
  u32 (*bits_of)(float);
  float (*value_of)(u32);

  u16 narrow(float value) const { return static_cast<u16>(bits_of(value)); }
  float widen(u16 bits) const { return value_of(bits); }
  // Half the distance between neighbours at x.
  double half_spacing(double x) const {
    int exponent = 0;
    std::frexp(x, &exponent);
    return std::ldexp(0.5, std::max(exponent - digits, smallest));
  }
  // The bound for a result within `off` of `exact` that was rounded to this type.
  double rounded(double exact, double off) const { return half_spacing(std::abs(exact) + off) + off; }
};
constexpr Type TYPES[] = {{"bf16", 8, -133, emulated::bf16_of, emulated::of_bf16}, {"fp16", 11, -24, emulated::fp16_of, emulated::of_fp16}};

// As the kernels' arguments are.
namespace device {
struct Dropout {
  const i64 *keys;
  u32 rows_of_a_key, site, threshold;
  float scale;
};
static_assert(sizeof(Dropout) == 24, "as the launching side has it");
struct Strides {
  i64 batch, head, token;
};
struct AdamWPiece {
  float *weight, *gradient, *exp_avg, *exp_avg_sq;
  u16 *copy;
  u32 count, index, decays, keeps;
};
static_assert(sizeof(AdamWPiece) == 56, "as the launching side has it");
} // namespace device

class Random {
public:
  explicit Random(u64 seed) : state(seed * 0x9e3779b97f4a7c15u + 1) {}
  u32 next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<u32>(state >> 33);
  }
  u32 below(u32 n) { return next() % n; }
  // Near a normal distribution: the sum of 12 uniform numbers.
  float normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) {
      sum += next() / 2147483648.0;
    }
    return static_cast<float>(sum);
  }

private:
  u64 state;
};

// On the heap and exactly as long as asked for: what lies behind is poisoned under AddressSanitizer.
template <typename E> class Buffer {
public:
  // Filled with bytes that no result is.
  explicit Buffer(size_t count) : count(count), memory(new E[count]) { std::memset(memory.get(), 0xff, count * sizeof(E)); }
  E *get() const { return memory.get(); }
  E &operator[](size_t at) const { return memory[at]; }
  size_t size() const { return count; }
  E *begin() const { return get(); }
  E *end() const { return get() + count; }

private:
  size_t count;
  std::unique_ptr<E[]> memory;
};

inline Buffer<u16> random_elements(const Type &type, size_t count, Random &random, float scale = 1.0f) {
  Buffer<u16> made(count);
  for (u16 &element : made) {
    element = type.narrow(scale * random.normal());
  }
  return made;
}
inline Buffer<float> random_floats(size_t count, Random &random, float mean, float deviation) {
  Buffer<float> made(count);
  for (float &element : made) {
    element = mean + deviation * random.normal();
  }
  return made;
}

// Errors over their bounds, by kernel and result: the worst of all cases of a check is printed, as one line.
class Report;
class Check {
public:
  void within(double found, double expected, double bound);
  template <typename V> void equal(V found, V expected) { within(found == expected ? 0.0 : 1.0, 0.0, 0.0); }

private:
  friend Report;
  explicit Check(const std::string &now) : now(&now) {}
  const std::string *now;
  double worst = 0.0, values = 0.0;
  std::string where;
};

class Report {
public:
  void begin_case(std::string text) { now = std::move(text); }
  Check &operator[](const std::string &check) { return checks.try_emplace(check, Check(now)).first->second; }
  void failed(const std::string &check, const std::string &why) {
    Check &line = (*this)[check];
    line.worst = INFINITY;
    line.where = now + ": " + why;
  }

  bool print() const {
    bool good = true;
    for (const auto &[name, check] : checks) {
      const bool fine = check.worst <= 1.0;
      good = good && fine;
      std::printf("%s %s: ", fine ? "ok  " : "FAIL", name.c_str());
      if (check.values == 0.0) {
        std::printf("%s\n", check.where.c_str());
      } else if (check.worst == 0.0) {
        std::printf("%.0f values, all exact\n", check.values);
      } else {
        std::printf("%.0f values, worst error %.2f of its bound: %s\n", check.values, check.worst, check.where.c_str());
      }
    }
    return good;
  }

private:
  std::map<std::string, Check> checks;
  std::string now;
};

inline void Check::within(double found, double expected, double bound) {
  const double error = std::abs(found - expected);
  // A NaN that is not expected is an error.
  const double part = found == expected ? 0.0 : error <= bound || error / bound > 1.0 ? error / bound : INFINITY;
  values += 1;
  if (part > worst) {
    worst = part;
    where = *now;
  }
}

// The kernels, and the set of sizes: all, or few for slow builds.
struct Suite {
  const char *(*launch_by_name)(const char *, u32, u32, u32, void **);
  void (*seed)(u64);
  bool small;
  Report report;
  std::set<std::string> launched;

  // The arguments' types are the parameters'.
  template <typename... Arguments>
  bool launch(const std::string &kernel, u32 grid_x, u32 grid_y, u32 threads, Arguments... arguments) {
    void *pointers[] = {&arguments...};
    launched.insert(kernel);
    const char *error = launch_by_name(kernel.c_str(), grid_x, grid_y, threads, pointers);
    if (error != nullptr) {
      report.failed(kernel + " runs", error);
    }
    return error == nullptr;
  }
};

// Orders of threads: as they are numbered, and random ones.
constexpr u64 SEEDS[] = {0, 1, 2};

inline u32 columns_of_256(u32 width) { return (width / 8 + 31) / 32; }
