// A group over NCCL. Compiled against headers of CUDA and NCCL, which `make setup` brings with the cuda flavour.
#define USE_C10D_NCCL
#include "library.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

c10d::Backend *untie::nccl_group(c10d::Store *store, int rank, int size, std::chrono::milliseconds timeout, int device) {
  const auto owned = c10::intrusive_ptr<c10d::Store>::reclaim(store);
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(owned, rank, size, options);
  group->setBoundDeviceId(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
  return group.release();
}
