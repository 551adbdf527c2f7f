// Loads compiled kernels into the CUDA runtime and starts them on libtorch's stream. Where there is no driver, every function says
// so. Compiled against headers of the CUDA runtime, which `make setup` brings with the cuda flavour.
#include "library.h"

#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

namespace {

// The kernels of a device.
struct Library {
  cudaLibrary_t handle;
  std::map<std::string, cudaKernel_t, std::less<>> kernels; // those that ran
};

struct Loaded {
  std::mutex mutex;
  std::map<int, Library> of_device;
};

Loaded &loaded() {
  // Never destroyed: at the end of the process the runtime may be gone before.
  static Loaded &all = *new Loaded;
  return all;
}

void check(cudaError_t error) {
  if (error != cudaSuccess) {
    cudaGetLastError(); // or libtorch would report it as its own
    throw std::runtime_error(cudaGetErrorString(error));
  }
}

cudaKernel_t find_kernel(Loaded &all, int device, const char *name) {
  const auto found = all.of_device.find(device);
  if (found == all.of_device.end()) {
    throw std::runtime_error("no kernels are loaded for this device");
  }
  Library &library = found->second;
  const auto known = library.kernels.find(name);
  if (known != library.kernels.end()) {
    return known->second;
  }
  cudaKernel_t kernel = nullptr;
  check(cudaLibraryGetKernel(&kernel, library.handle, name));
  library.kernels.emplace(name, kernel);
  return kernel;
}

// A LaunchKernel.
const char *run_kernel(const char *name, uint32_t grid_x, uint32_t grid_y, uint32_t threads, void **arguments) {
  try {
    int device = 0;
    check(cudaGetDevice(&device));
    Loaded &all = loaded();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const void *kernel = find_kernel(all, device, name);
    const auto stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream();
    check(cudaLaunchKernel(kernel, dim3(grid_x, grid_y), dim3(threads), arguments, 0, stream));
    return nullptr;
  } catch (const std::exception &error) {
    thread_local std::string message;
    message = error.what();
    return message.c_str();
  }
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

} // namespace

void untie::capability(int32_t device, int32_t *major, int32_t *minor) {
  *major = attribute(cudaDevAttrComputeCapabilityMajor, device);
  *minor = attribute(cudaDevAttrComputeCapabilityMinor, device);
}

untie::LaunchKernel untie::load_kernels(int32_t device, const void *image, uint32_t *multiprocessors) {
  Loaded &all = loaded();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (all.of_device.find(device) == all.of_device.end()) {
    // The runtime starts on the device that is the current one.
    const c10::DeviceGuard guard(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
    cudaLibrary_t handle = nullptr;
    check(cudaLibraryLoadData(&handle, image, nullptr, nullptr, 0, nullptr, nullptr, 0));
    all.of_device.emplace(device, Library{handle, {}});
  }
  *multiprocessors = static_cast<uint32_t>(attribute(cudaDevAttrMultiProcessorCount, device));
  return run_kernel;
}
