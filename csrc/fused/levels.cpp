// Which level of kernels runs.
#include "../kernels/kernels.h"

#include <ATen/Version.h>

#include <atomic>
#include <cstring>
#include <string>

namespace untie {

#ifdef __x86_64__

bool has_avx512() {
  static const bool found = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("fma");
  return found;
}

namespace {

bool runs(const Level &level) {
  if (&level == &kernels_avx512bf16) {
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
  }
  if (&level == &kernels_avx512) {
    return has_avx512();
  }
  return &level != &kernels_avx2 || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
}

// libtorch's own choice, which ATEN_CPU_CAPABILITY lowers and every checkpoint records.
const Level *chosen() {
  const std::string capability = at::get_cpu_capability();
  if (capability == "AVX512") {
    return runs(kernels_avx512bf16) ? &kernels_avx512bf16 : &kernels_avx512;
  }
  return capability == "AVX2" && runs(kernels_avx2) ? &kernels_avx2 : &kernels_default;
}

} // namespace

#else

bool has_avx512() { return false; }

namespace {

bool runs(const Level &) { return true; }
const Level *chosen() { return &kernels_default; }

} // namespace

#endif

namespace {

std::atomic<const Level *> in_use{nullptr};

} // namespace

const Level &level() {
  const Level *found = in_use.load();
  if (found == nullptr) {
    found = chosen();
    in_use.store(found);
  }
  return *found;
}

bool set_level(const char *name) {
  for (const Level *candidate : LEVELS) {
    if (std::strcmp(candidate->name, name) == 0 && runs(*candidate)) {
      in_use.store(candidate);
      return true;
    }
  }
  return false;
}

} // namespace untie
