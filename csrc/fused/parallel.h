// Threads, and memory that a task needs while it runs.
#pragma once

#include "../kernels/kernels.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/native/CPUBlas.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

namespace untie {

// Memory of one thread, given out piece by piece and taken back whole. Pieces stay where they are; what was once needed is
// kept, so that tasks neither call the allocator nor touch fresh pages.
class Scratch {
public:
  static Scratch &of_thread() {
    static thread_local Scratch scratch;
    return scratch;
  }

  // `count` elements, uninitialised.
  template <typename E> E *take(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(E) + LINE - 1) / LINE * LINE;
    while (block < blocks.size() && used + bytes > blocks[block].size) {
      ++block, used = 0;
    }
    if (block == blocks.size()) {
      const size_t size = std::max(bytes, SMALLEST);
      blocks.push_back({std::unique_ptr<char[]>(new char[size + LINE]), size});
    }
    char *start = blocks[block].memory.get();
    start += LINE - reinterpret_cast<uintptr_t>(start) % LINE;
    E *piece = reinterpret_cast<E *>(start + used);
    used += bytes;
    return piece;
  }
  void take_back() { block = 0, used = 0; }

private:
  static constexpr size_t LINE = 64, SMALLEST = size_t{1} << 20;
  struct Block {
    std::unique_ptr<char[]> memory;
    size_t size;
  };
  std::vector<Block> blocks;
  size_t block = 0, used = 0;
};

// For the task that runs.
template <typename E> E *scratch(int64_t count) { return Scratch::of_thread().take<E>(count); }
template <typename E> E *zeroed_scratch(int64_t count) {
  E *piece = scratch<E>(count);
  std::memset(piece, 0, static_cast<size_t>(count) * sizeof(E));
  return piece;
}

// The memory of an operation as a whole, uninitialised: at least `bytes`, a multiple of a page long, until the next call in
// this thread. It stays: from the allocator it would be fresh pages every time, which the kernel zeroes one by one.
char *workspace(size_t bytes);

// Runs `body` for 0..count on libtorch's threads, each taking the next number when it is done with one, so that none waits
// for a slower one longer than a task takes. The tile configuration that AMX keeps in a thread is released.
template <typename Body> void in_parallel(int64_t count, Body body) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    at::NoGradGuard no_grad;
    for (int64_t i = next++; i < count; i = next++) {
      body(i);
      Scratch::of_thread().take_back();
    }
    if (has_avx512()) {
      at::native::cpublas::brgemm_release(true);
    }
  });
}

} // namespace untie
