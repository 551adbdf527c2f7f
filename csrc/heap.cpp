// What glibc's allocator does with memory that is freed.
#include "heap.h"

#include "shim.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

void untie_keep_heap() noexcept {
#ifdef __GLIBC__
  // By default it returns buffers of every step to the kernel, which hands them out again as zeroed pages.
  mallopt(M_MMAP_THRESHOLD, static_cast<int>(untie::LARGEST_IN_HEAP));
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
#endif
}

int64_t untie_largest_in_heap() noexcept { return untie::LARGEST_IN_HEAP; }

void untie_trim_heap() noexcept {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
