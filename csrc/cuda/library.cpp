// Loads CUDA into this program where there is an NVIDIA driver: libtorch_cuda.so, which adds itself to libtorch, and libuntie_cuda.so,
// which this program contains. Both happen before `main`, as if they were linked: libtorch asks once whether it has CUDA, with the first
// thing that it computes. Without a driver neither is loaded, which saves a tenth of a second and 350 MB.
#include "library.h"

#include "../shim.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#ifdef UNTIE_CUDA_LIBRARY // its path at compile time
__asm__(".pushsection .rodata\n"
        ".hidden untie_cuda_begin, untie_cuda_end\n"
        ".global untie_cuda_begin, untie_cuda_end\n"
        "untie_cuda_begin: .incbin \"" UNTIE_CUDA_LIBRARY "\"\n"
        "untie_cuda_end:\n"
        ".popsection\n");
extern "C" const char untie_cuda_begin[], untie_cuda_end[];
#endif

namespace {

struct Loaded {
  const untie::CudaLibrary *library = nullptr;
  std::string why_not;    // of the library
  std::string is_damaged; // why libtorch has no CUDA, where it should
};

#ifdef UNTIE_CUDA_LIBRARY
// Opens the library from memory: a file would need a place that is writable, or would have to be installed beside the program.
void *open_contained() {
  const int file = memfd_create("libuntie_cuda.so", MFD_CLOEXEC);
  if (file < 0) {
    throw std::runtime_error(std::string("memfd_create: ") + std::strerror(errno));
  }
  const ptrdiff_t size = untie_cuda_end - untie_cuda_begin;
  const bool is_whole = write(file, untie_cuda_begin, static_cast<size_t>(size)) == size;
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  void *const library = is_whole ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  const std::string problem = !is_whole ? "no memory for it" : library == nullptr ? dlerror() : "";
  close(file);
  if (library == nullptr) {
    throw std::runtime_error(problem);
  }
  return library;
}
#endif

Loaded load() {
  Loaded found;
  if (dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) == nullptr) {
    found.why_not = "there is no NVIDIA driver here (libcuda.so.1)";
    return found;
  }
  if (dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_GLOBAL) == nullptr) {
    found.why_not = dlerror();
    // Where the file itself is missing, libtorch is one for CPUs.
    if (found.why_not.rfind("libtorch_cuda.so: ", 0) != 0) {
      found.is_damaged = found.why_not;
    }
    return found;
  }
#ifdef UNTIE_CUDA_LIBRARY
  try {
    found.library = static_cast<const untie::CudaLibrary *>(dlsym(open_contained(), untie::CUDA_LIBRARY));
  } catch (const std::exception &error) {
    found.why_not = std::string("libuntie_cuda.so cannot be loaded: ") + error.what();
  }
#else
  found.why_not = "this build has no CUDA kernels";
#endif
  return found;
}

const Loaded &loaded() {
  static const Loaded found = load();
  return found;
}

[[maybe_unused]] const Loaded &before_main = loaded();

} // namespace

const untie::CudaLibrary &untie::cuda_library() {
  if (loaded().library == nullptr) {
    throw std::runtime_error(loaded().why_not);
  }
  return *loaded().library;
}

char *untie_cuda_problem() noexcept { return loaded().is_damaged.empty() ? nullptr : untie_message(loaded().is_damaged.c_str()); }

char *untie_cuda_capability(int32_t device, int32_t *major, int32_t *minor) {
  return untie_guard([&] { untie::cuda_library().capability(device, major, minor); });
}

char *untie_cuda_load_kernels(int32_t device, const void *image) {
  return untie_guard([&] {
    uint32_t multiprocessors = 1;
    const untie::LaunchKernel launch = untie::cuda_library().load_kernels(device, image, &multiprocessors);
    untie::set_launcher(launch, multiprocessors);
  });
}
