// The kernels of csrc/cuda_kernels over the emulator, as a shared object that is called as a GPU is: by a kernel's name, a grid and
// pointers to the arguments. Compiled with -I of the folder that the kernels are in.
#include "kernels.cu"

#include <mutex>

namespace {

struct Entry {
  const char *name;
  uint32_t threads;
  void (*call)(void **arguments);
};

template <typename... Parameters, size_t... I>
void call_with(void (*kernel)(Parameters...), [[maybe_unused]] void **arguments, std::index_sequence<I...>) {
  kernel(*static_cast<Parameters *>(arguments[I])...);
}
template <typename... Parameters> void call_with(void (*kernel)(Parameters...), void **arguments) {
  call_with(kernel, arguments, std::index_sequence_for<Parameters...>());
}

#define ROW(threads, blocks, name, ...) {#name, threads, [](void **arguments) { call_with(&name, arguments); }},
constexpr Entry TABLE[] = {ENTRIES(ROW)};

std::mutex one_launch;

} // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// The order of threads in later launches: 0 as they are numbered, else random.
EXPORT void emulated_seed(uint64_t seed) { emulated::dice = seed; }

// Runs one launch; null, or what is wrong with it, which lives until the thread's next call.
EXPORT const char *emulated_launch(const char *name, uint32_t grid_x, uint32_t grid_y, uint32_t threads, void **arguments) {
  static thread_local std::string message;
  const std::lock_guard<std::mutex> alone(one_launch);
  for (const Entry &entry : TABLE) {
    if (std::strcmp(entry.name, name) != 0) {
      continue;
    }
    try {
      if (threads != entry.threads) {
        throw std::runtime_error("blocks have " + std::to_string(entry.threads) + " threads, not " + std::to_string(threads));
      }
      emulated::launch({grid_x, grid_y}, threads, [&] { entry.call(arguments); });
      return nullptr;
    } catch (const std::exception &error) {
      message = std::string(name) + ": " + error.what();
      return message.c_str();
    }
  }
  message = std::string("no kernel is named ") + name;
  return message.c_str();
}

// The name of the kernel at `index`, null behind the last.
EXPORT const char *emulated_name(uint32_t index) { return index < std::size(TABLE) ? TABLE[index].name : nullptr; }
