// Messages that cross the C interface.
#include "shim.h"

#include <cstdlib>
#include <cstring>

namespace {

// Where there is no memory for a message: NULL would mean success.
char NO_MEMORY[] = "out of memory";

} // namespace

char *untie_copy(const char *text) noexcept {
  const size_t size = std::strlen(text) + 1;
  char *copy = static_cast<char *>(std::malloc(size));
  return copy == nullptr ? nullptr : static_cast<char *>(std::memcpy(copy, text, size));
}

char *untie_message(const char *text) noexcept {
  char *message = untie_copy(text);
  return message == nullptr ? NO_MEMORY : message;
}

void untie_free_message(char *message) noexcept {
  if (message != NO_MEMORY) {
    std::free(message);
  }
}
