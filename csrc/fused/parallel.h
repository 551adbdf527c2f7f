// Threads, and memory that a task needs while it runs.
#pragma once

#include "../kernels/kernels.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/native/CPUBlas.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

namespace untie {

// Bytes of a cache line, and where the next one begins: kernels read whole lines.
constexpr size_t LINE = 64;
inline char *next_line(char *memory) { return memory + (LINE - reinterpret_cast<uintptr_t>(memory) % LINE) % LINE; }

// Where the pieces of a thread's memory lie: in blocks that are filled one behind the other. By itself it counts what tasks take.
class ScratchLayout {
public:
  struct Place {
    size_t block, offset;
  };

  Place place(size_t size) {
    const size_t bytes = (size + LINE - 1) / LINE * LINE;
    while (block < sizes.size() && used + bytes > sizes[block]) {
      ++block, used = 0;
    }
    if (block == sizes.size()) {
      sizes.push_back(std::max(bytes, SMALLEST));
    }
    const Place found{block, used};
    used += bytes;
    return found;
  }
  // A piece that is only counted.
  template <typename E> E *take(int64_t count) {
    place(static_cast<size_t>(count) * sizeof(E));
    return nullptr;
  }
  void take_back() { block = 0, used = 0; }

  size_t size_of(size_t of_block) const { return sizes[of_block]; }
  int64_t bytes() const { return static_cast<int64_t>(std::accumulate(sizes.begin(), sizes.end(), size_t{0})); }

private:
  static constexpr size_t SMALLEST = size_t{1} << 20;
  std::vector<size_t> sizes;
  size_t block = 0, used = 0;
};

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
    const auto [block, offset] = layout.place(static_cast<size_t>(count) * sizeof(E));
    while (blocks.size() <= block) {
      blocks.emplace_back(new char[layout.size_of(blocks.size()) + LINE]);
    }
    return reinterpret_cast<E *>(next_line(blocks[block].get()) + offset);
  }
  void take_back() { layout.take_back(); }
  int64_t bytes() const { return layout.bytes(); }

private:
  ScratchLayout layout;
  std::vector<std::unique_ptr<char[]>> blocks;
};

// For the task that runs.
template <typename E> E *scratch(int64_t count) { return Scratch::of_thread().take<E>(count); }
template <typename E> void set_to_zero(E *piece, int64_t count) { std::memset(piece, 0, static_cast<size_t>(count) * sizeof(E)); }
template <typename E> E *zeroed_scratch(int64_t count) {
  E *piece = scratch<E>(count);
  set_to_zero(piece, count);
  return piece;
}

// The memory of an operation as a whole, uninitialised: at least `bytes`, a multiple of a page long, until the next call in
// this thread. It stays: from the allocator it would be fresh pages every time, which the kernel zeroes one by one.
char *workspace(size_t bytes);
// What a call with `bytes` makes of it.
int64_t workspace_size(size_t bytes);
// The size of this thread's.
int64_t workspace_size();

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
