// Checks every kernel of csrc/cuda_kernels, over the emulator: `checks LIBRARY all|few`. One line a check; the exit status is 1 where one
// fails.
#include "check_norm.h"

#include <dlfcn.h>

int main(int, char **arguments) {
  void *library = dlopen(arguments[1], RTLD_NOW);
  if (library == nullptr) {
    std::printf("FAIL %s\n", dlerror());
    return 1;
  }
  Suite suite{};
  suite.launch_by_name = reinterpret_cast<decltype(suite.launch_by_name)>(dlsym(library, "emulated_launch"));
  suite.seed = reinterpret_cast<decltype(suite.seed)>(dlsym(library, "emulated_seed"));
  suite.small = std::strcmp(arguments[2], "few") == 0;
  for (const Type &type : TYPES) {
    check_norm(suite, type);
  }
  return suite.report.print() ? 0 : 1;
}
