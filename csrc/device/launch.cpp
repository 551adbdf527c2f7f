// Who runs the kernels.
#include "launch.h"

#include "../shim.h"

#include <atomic>
#include <stdexcept>

namespace untie {
namespace {

std::atomic<LaunchKernel> launcher{nullptr};
std::atomic<uint32_t> num_multiprocessors{1};

} // namespace

void set_launcher(LaunchKernel launch, uint32_t multiprocessors) {
  num_multiprocessors = multiprocessors;
  launcher = launch;
}

bool has_launcher() { return launcher != nullptr; }

uint32_t multiprocessors() { return num_multiprocessors; }

void launch_kernel(const std::string &name, Grid grid, uint32_t threads, void **arguments) {
  const LaunchKernel run = launcher;
  if (run == nullptr) {
    throw std::runtime_error("kernel `" + name + "`: no CUDA kernels are loaded");
  }
  if (const char *problem = run(name.c_str(), grid.x, grid.y, threads, arguments); problem != nullptr) {
    throw std::runtime_error("kernel `" + name + "`: " + problem);
  }
}

} // namespace untie

void untie_set_launcher(UntieLaunch launch, uint32_t multiprocessors) noexcept { untie::set_launcher(launch, multiprocessors); }

bool untie_has_launcher() noexcept { return untie::has_launcher(); }
