// What csrc/cuda/launcher.cpp has, in a build without CUDA.
#include "../shim.h"

namespace {

char *refuse() { return untie_message("this build has no CUDA kernels"); }

} // namespace

char *untie_cuda_capability(int32_t, int32_t *, int32_t *) { return refuse(); }

char *untie_cuda_load_kernels(int32_t, const void *) { return refuse(); }
