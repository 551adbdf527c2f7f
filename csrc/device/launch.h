// Launching the kernels of ../cuda_kernels by their names, on whatever runs them: a GPU (../cuda/launcher.cpp), or the emulator of
// the tests.
#pragma once

#include <cstdint>
#include <string>

namespace untie {

// Runs `grid_x` x `grid_y` blocks of `threads` threads; `arguments` points at each argument, as cudaLaunchKernel has it. Returns null,
// or a message that lives until the next call. On a GPU the kernel is only put into libtorch's current stream.
using LaunchKernel = const char *(*)(const char *name, uint32_t grid_x, uint32_t grid_y, uint32_t threads, void **arguments);

// From now on kernels go to `launch`, on a device with that many multiprocessors; null: there are no kernels.
void set_launcher(LaunchKernel launch, uint32_t multiprocessors);
bool has_launcher();
uint32_t multiprocessors();

struct Grid {
  uint32_t x, y = 1;
};

void launch_kernel(const std::string &name, Grid grid, uint32_t threads, void **arguments);

// The types of `arguments` are those of the kernel's parameters.
template <typename... Arguments> void launch(const std::string &name, Grid grid, uint32_t threads, Arguments... arguments) {
  void *pointers[] = {&arguments...};
  launch_kernel(name, grid, threads, pointers);
}

} // namespace untie
