// libuntie_cuda.so: what calls the CUDA runtime and NCCL. It is a library of its own, which the program contains and loads, so that the same
// program starts where there is no CUDA.
#pragma once

#include "../device/launch.h"

#include <chrono>
#include <cstdint>

namespace c10d {
class Backend;
class Store;
} // namespace c10d

namespace untie {

// What it offers; each function throws as libtorch's do.
struct CudaLibrary {
  void (*capability)(int32_t device, int32_t *major, int32_t *minor);
  // From now on `image` is what launches on the device, unless another one was loaded for it; it is copied.
  LaunchKernel (*load_kernels)(int32_t device, const void *image, uint32_t *multiprocessors);
  // A group over NCCL on this device, which the caller owns; the store becomes the group's. Null: compiled without NCCL.
  c10d::Backend *(*nccl_group)(c10d::Store *store, int rank, int size, std::chrono::milliseconds timeout, int device);
};

// The name of its one symbol, a CudaLibrary.
constexpr const char *CUDA_LIBRARY = "untie_cuda_library";

// Throws where it is not loaded, and says why.
const CudaLibrary &cuda_library();

// In libuntie_cuda.so.
void capability(int32_t device, int32_t *major, int32_t *minor);
LaunchKernel load_kernels(int32_t device, const void *image, uint32_t *multiprocessors);
c10d::Backend *nccl_group(c10d::Store *store, int rank, int size, std::chrono::milliseconds timeout, int device);

} // namespace untie
