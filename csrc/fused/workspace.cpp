// A thread's large piece of memory, in large pages where the system has them.
#include "parallel.h"

#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace untie {
namespace {

constexpr size_t LARGE_PAGE = size_t{2} << 20;

size_t whole_pages(size_t bytes) { return (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE; }

struct Workspace {
  char *memory = nullptr;
  size_t size = 0;

  ~Workspace() { std::free(memory); }
  char *grown_to(size_t bytes) {
    if (bytes > size) {
      std::free(memory);
      memory = nullptr, size = 0;
      const size_t whole = whole_pages(bytes);
      memory = static_cast<char *>(std::aligned_alloc(LARGE_PAGE, whole));
      if (memory == nullptr) {
        throw std::bad_alloc();
      }
      size = whole;
#ifdef MADV_HUGEPAGE
      // A wish, not a need.
      madvise(memory, size, MADV_HUGEPAGE);
#endif
    }
    return memory;
  }
};

thread_local Workspace of_thread;

} // namespace

char *workspace(size_t bytes) { return of_thread.grown_to(bytes); }

int64_t workspace_size(size_t bytes) { return static_cast<int64_t>(whole_pages(bytes)); }

int64_t workspace_size() { return static_cast<int64_t>(of_thread.size); }

} // namespace untie
