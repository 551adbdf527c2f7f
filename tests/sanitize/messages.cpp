// A message is never NULL, which would mean success, also where malloc has nothing to give. `make sanitize` runs this with an
// allocator that refuses a megabyte.
#include "../../csrc/shim.h"

#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace {

char too_long[2 << 20];

bool expect(const char *what, bool holds) {
  if (!holds) {
    std::printf("%s\n", what);
  }
  return holds;
}

// Whether the message is `text`; gives it back.
bool is(char *message, const char *text) {
  const bool same = message != nullptr && std::strcmp(message, text) == 0;
  untie_free_message(message);
  return same;
}

struct Endless : std::exception {
  const char *what() const noexcept override { return too_long; }
};

} // namespace

int main() {
  std::memset(too_long, 'x', sizeof(too_long) - 1);
  bool holds = expect("success is NULL", untie_guard([] {}) == nullptr);
  holds &= expect("an exception's text", is(untie_guard([] { throw std::runtime_error("no luck"); }), "no luck"));
  holds &= expect("what is no exception", is(untie_guard([] { throw 1; }), "unknown C++ exception"));
  holds &= expect("a copy without memory is NULL", untie_copy(too_long) == nullptr);
  for (int again = 0; again < 2; ++again) {
    holds &= expect("a message without memory", is(untie_guard([] { throw Endless(); }), "out of memory"));
  }
  if (holds) {
    std::printf("messages: never NULL\n");
  }
  return holds ? 0 : 1;
}
