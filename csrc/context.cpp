// Process-wide switches and facts of libtorch.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/version.h>

#include <cstring>

char *untie_set_deterministic(bool enabled) {
  return untie_guard([&] {
    at::globalContext().setDeterministicAlgorithms(enabled, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  });
}

char *untie_set_tf32(bool enabled) {
  return untie_guard([&] {
    at::globalContext().setAllowTF32CuBLAS(enabled);
    at::globalContext().setAllowTF32CuDNN(enabled);
  });
}

namespace {

char *copy_text(const std::string &text, char *buffer, size_t capacity) {
  return untie_guard([&] {
    if (text.size() + 1 > capacity) {
      throw std::runtime_error("`" + text + "` is longer than expected");
    }
    std::memcpy(buffer, text.c_str(), text.size() + 1);
  });
}

} // namespace

char *untie_cpu_capability(char *text, size_t capacity) {
  return copy_text(at::get_cpu_capability(), text, capacity);
}

char *untie_libtorch_version(char *text, size_t capacity) { return copy_text(TORCH_VERSION, text, capacity); }

char *untie_free_memory(int32_t cuda_index, uint64_t *bytes) {
  return untie_guard([&] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    *bytes = at::getDeviceAllocator(at::kCUDA)->getMemoryInfo(static_cast<c10::DeviceIndex>(cuda_index)).first;
  });
}

char *untie_reset_peak_memory(int32_t cuda_index) {
  return untie_guard([&] { at::getDeviceAllocator(at::kCUDA)->resetPeakStats(static_cast<c10::DeviceIndex>(cuda_index)); });
}

char *untie_peak_memory(int32_t cuda_index, uint64_t *bytes) {
  return untie_guard([&] {
    const auto stats = at::getDeviceAllocator(at::kCUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(cuda_index));
    *bytes = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  });
}
