// A group over NCCL. Compiled against headers of CUDA and NCCL, which `make setup` brings with the cuda flavour.
#define USE_C10D_NCCL
#include "world.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

c10::intrusive_ptr<c10d::Backend> untie::nccl_group(const c10::intrusive_ptr<c10d::Store> &store, int rank, int size,
                                                    std::chrono::milliseconds timeout, int device) {
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  const auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
  group->setBoundDeviceId(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
  return group;
}
