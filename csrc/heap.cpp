// What glibc's allocator does with memory that is freed.
#include "shim.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

void untie_keep_heap() noexcept {
#ifdef __GLIBC__
  // The largest threshold that glibc allows (32 MiB); by default it returns buffers of every step to the kernel, which hands them out
  // again as zeroed pages.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
#endif
}

void untie_trim_heap() noexcept {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
