// The heap of the process.
#pragma once

#include <cstdint>

namespace untie {

// The largest buffer, in bytes, that glibc's allocator keeps for the next step when it is freed (untie_keep_heap); it is also the
// largest threshold that glibc allows. A larger buffer comes and goes with its pages.
constexpr int64_t LARGEST_IN_HEAP = int64_t{32} << 20;

} // namespace untie
