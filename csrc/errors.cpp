// Messages that cross the C interface.
#include "shim.h"

#include <cstdlib>
#include <cstring>

char *untie_message(const std::string &text) {
  // libtorch appends a C++ backtrace after the first line; a reader of the message cannot use it.
  const std::string first = text.substr(0, text.find("\nException raised from"));
  char *copy = static_cast<char *>(std::malloc(first.size() + 1));
  if (copy != nullptr) {
    std::memcpy(copy, first.c_str(), first.size() + 1);
  }
  return copy;
}

void untie_free_message(char *message) { std::free(message); }
