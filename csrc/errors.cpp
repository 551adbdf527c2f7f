// Messages that cross the C interface.
#include "shim.h"

#include <cstdlib>
#include <cstring>

char *untie_message(const std::string &text) {
  char *copy = static_cast<char *>(std::malloc(text.size() + 1));
  if (copy != nullptr) {
    std::memcpy(copy, text.c_str(), text.size() + 1);
  }
  return copy;
}

void untie_free_message(char *message) { std::free(message); }
