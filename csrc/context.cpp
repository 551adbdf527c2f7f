// Process-wide switches and facts of libtorch.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/Version.h>

#include <cstring>

char *untie_set_deterministic(bool enabled) {
  return untie_guard([&] {
    at::globalContext().setDeterministicAlgorithms(enabled, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  });
}

char *untie_cpu_capability(char *name, size_t capacity) {
  return untie_guard([&] {
    const std::string capability = at::get_cpu_capability();
    if (capability.size() + 1 > capacity) {
      throw std::runtime_error("the name of the CPU capability is longer than expected");
    }
    std::memcpy(name, capability.c_str(), capability.size() + 1);
  });
}
