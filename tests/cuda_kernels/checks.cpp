// Checks every kernel of csrc/cuda_kernels, over the emulator: `checks LIBRARY all|few`. One line a check; the exit status is 1 where one
// fails.
#include "check_adamw.h"
#include "check_embeddings.h"
#include "check_loss.h"
#include "check_norm.h"
#include "check_sums.h"

#include <dlfcn.h>

namespace {

// The emulator's conversions: every number goes there and back, and what lies between two neighbours goes to the nearer one, the middle
// to the even one.
void check_conversions(Report &report, const Type &type) {
  Check &same = report[std::string("conversion to ") + type.name + " and back"], &between = report[std::string("rounding to ") + type.name];
  for (u32 bits = 0; bits < 65536; ++bits) {
    const auto element = static_cast<u16>(bits);
    const float value = type.widen(element);
    report.begin_case("bits " + std::to_string(bits));
    if (std::isnan(value)) {
      same.equal<u16>(type.narrow(value), 0x7fff);
      continue;
    }
    same.equal(type.narrow(value), element);
    const auto next_element = static_cast<u16>(element + 1);
    const float next = type.widen(next_element);
    if (std::isinf(value) || std::isnan(next)) {
      continue;
    }
    // Beyond the largest number the next would be twice its distance on.
    const double distance = std::isinf(next) ? 2 * type.half_spacing(value) : std::abs(static_cast<double>(next) - value);
    const auto middle = static_cast<float>(value + std::copysign(distance / 2, value));
    between.equal(type.narrow(middle), element % 2 == 0 ? element : next_element);
    between.equal(type.narrow(std::nextafter(middle, 0.0f)), element);
    between.equal(type.narrow(std::nextafter(middle, std::copysign(INFINITY, value))), next_element);
  }
}

// What a launch must refuse.
void check_refusals(Suite &suite) {
  Buffer<u16> x(32);
  Buffer<float> partial(8);
  std::fill(x.begin(), x.end(), u16{0});
  const auto refused = [&](const char *what, const char *kernel, u32 grid, u32 threads, const u16 *from) {
    u32 rows = 1, width = 8;
    float *to = partial.get();
    void *arguments[] = {&from, &rows, &width, &to};
    Check &check = suite.report[std::string("a launch with ") + what + " is refused"];
    check.equal(suite.launch_by_name(kernel, grid, 1, threads, arguments) != nullptr, true);
  };
  suite.report.begin_case("one row");
  refused("a name that no kernel has", "column_sums", 1, 256, x.get());
  refused("another size of blocks", "column_sums_bf16", 1, 128, x.get());
  refused("no blocks", "column_sums_bf16", 0, 256, x.get());
  refused("a pointer that is not aligned", "column_sums_bf16", 1, 256, x.get() + 4);
}

} // namespace

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
  check_refusals(suite);
  for (const Type &type : TYPES) {
    check_conversions(suite.report, type);
    check_norm(suite, type);
    check_sums(suite, type);
    check_embeddings(suite, type);
    check_loss(suite, type);
    check_adamw(suite, type);
  }
  const auto name = reinterpret_cast<const char *(*)(u32)>(dlsym(library, "emulated_name"));
  suite.report.begin_case("the list of kernels");
  for (u32 i = 0; name(i) != nullptr; ++i) {
    suite.report["every kernel is checked"].equal<size_t>(suite.launched.count(name(i)), 1);
  }
  return suite.report.print() ? 0 : 1;
}
