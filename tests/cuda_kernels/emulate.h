// Runs CUDA kernels on the host, for tests: the same source, every thread of a block a fiber, the blocks one after the other.
//
// Beyond results it checks: that all threads of a warp or block reach its warp operations and barriers (an error instead of a hang); in
// random orders of threads and warps, that no result depends on the order; that accesses of several elements are aligned; that shared
// memory is written before it is read (it begins as NaN). With AddressSanitizer also the bounds of every access. It cannot check
// speed, occupancy, the rounding of a GPU's approximate instructions, or races of global memory between blocks.
// x86-64, GCC or Clang. Blocks of one dimension, of whole warps; warp operations of whole warps.
#pragma once

#include "numbers.h"

#include <cmath>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define DEVICE inline
#define UNROLL
#define SHARED(type, name, count)                                                                                                   \
  static type name[count];                                                                                                          \
  emulated::begin_shared(name, sizeof(name))
#define __global__
#define __launch_bounds__(...)

namespace emulated {

struct Dimensions {
  unsigned x = 1, y = 1;
};

// Saves the registers that a call preserves and the stack pointer at `from`; goes on where `to` was saved.
extern "C" void emulated_switch(void **from, void *to);
asm(R"(
.pushsection .text
.weak emulated_switch
.hidden emulated_switch
.type emulated_switch, @function
emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.popsection
)");

constexpr size_t STACK_BYTES = 64 << 10;
constexpr unsigned WARP = 32;

// A stack and where its code is. AddressSanitizer must know of each change of stacks.
class Context {
public:
  // Goes to `other`; returns when something goes back here.
  void go_to(Context &other, bool for_ever = false) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake_stack, other.bottom, other.size);
#else
    (void)for_ever;
#endif
    emulated_switch(&stack_pointer, other.stack_pointer);
    arrived();
  }
  // The first thing on a new stack.
  void arrived() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, &came_from, &came_from_size);
#endif
  }
  // Makes go_to call `function` on a stack of this context's own.
  void begin(void (*function)()) {
    if (stack.empty()) {
      stack.resize(STACK_BYTES);
      bottom = stack.data(), size = STACK_BYTES;
    }
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack.data(), STACK_BYTES);
    fake_stack = nullptr;
#endif
    auto top = reinterpret_cast<uintptr_t>(stack.data() + STACK_BYTES) & ~uintptr_t(15);
    auto *frame = reinterpret_cast<void **>(top) - 8; // six registers, where to return to, and a gap for alignment
    std::fill(frame, frame + 8, nullptr);
    frame[6] = reinterpret_cast<void *>(function);
    stack_pointer = frame;
  }
  // The stack of whoever came here last: the scheduler's, which is the caller's own.
  void know(const Context &arrived_at) { bottom = arrived_at.came_from, size = arrived_at.came_from_size; }

private:
  void *stack_pointer = nullptr;
  std::vector<unsigned char> stack; // empty: runs on the stack of whoever calls
  const void *bottom = nullptr, *came_from = nullptr;
  size_t size = 0, came_from_size = 0;
  void *fake_stack = nullptr;
};

enum class State { READY, AT_BARRIER, IN_WARP, DONE };

struct Fiber {
  Context context;
  State state = State::READY;
  unsigned exchanges = 0; // warp operations begun
};

// The block that runs.
struct Block {
  Dimensions thread, block, threads, grid;
  std::vector<Fiber> fibers; // their stacks are kept for later blocks
  Context scheduler;
  unsigned current = 0;
  std::function<void()> kernel;
  // What each lane brings to a warp operation; two, for a lane may be at the next one while others still read.
  std::vector<uint64_t> brought[2];
  std::vector<const void *> shared; // what has begun
  std::string error;
};
inline Block running;

// splitmix64 (Steele et al. 2014); 0: no random order.
inline uint64_t dice = 0;
inline uint64_t roll() {
  uint64_t z = dice += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

inline void leave(State state) {
  Fiber &fiber = running.fibers[running.current];
  fiber.state = state;
  fiber.context.go_to(running.scheduler, state == State::DONE);
}

// Ends the block.
inline void fail(const char *message) {
  running.error = message;
  leave(State::DONE);
}

inline void enter() {
  Context &context = running.fibers[running.current].context;
  context.arrived();
  running.scheduler.know(context);
  running.kernel();
  leave(State::DONE);
  std::abort();
}

// Brings a value to the warp and returns where those of its 32 lanes are, once all have.
inline const uint64_t *exchange(unsigned mask, uint64_t value) {
  const unsigned me = running.current, which = running.fibers[me].exchanges++ % 2;
  if (mask != 0xffffffffu) {
    fail("a warp operation of a part of a warp");
  }
  running.brought[which][me] = value;
  leave(State::IN_WARP);
  return running.brought[which].data() + me / WARP * WARP;
}

// Nothing is in shared memory when a block begins.
inline void begin_shared(void *memory, size_t bytes) {
  for (const void *begun : running.shared) {
    if (begun == memory) {
      return;
    }
  }
  running.shared.push_back(memory);
  std::memset(memory, 0xff, bytes);
}

// An access of BYTES at `place`, which is one of the two.
template <size_t BYTES> inline void copy(void *to, const void *from, const void *place) {
  if (reinterpret_cast<uintptr_t>(place) % BYTES != 0) {
    fail("a load or store of several elements is not aligned");
  }
  std::memcpy(to, from, BYTES);
}

inline bool all(unsigned first, unsigned count, State state) {
  for (unsigned i = first; i < first + count; ++i) {
    if (running.fibers[i].state != state) {
      return false;
    }
  }
  return true;
}

// In random orders some warps wait while others go on, as far as they can.
inline bool run_some(std::vector<unsigned> &order) {
  const unsigned n = running.threads.x;
  uint64_t waiting = 0;
  if (dice != 0) {
    for (unsigned i = n; i > 1; --i) { // Fisher-Yates
      std::swap(order[i - 1], order[roll() % i]);
    }
    waiting = roll() & roll();
  }
  bool moved = false, waits = false;
  for (unsigned i : order) {
    Fiber &fiber = running.fibers[i];
    if (fiber.state != State::READY) {
      continue;
    }
    if (waiting >> i / WARP % 64 & 1) {
      waits = true;
      continue;
    }
    running.current = i;
    running.thread.x = i;
    running.scheduler.go_to(fiber.context);
    moved = true;
    if (!running.error.empty()) {
      throw std::runtime_error(running.error);
    }
  }
  return moved || waits;
}

inline void run_block() {
  const unsigned n = running.threads.x;
  running.shared.clear();
  std::vector<unsigned> order(n);
  for (unsigned i = 0; i < n; ++i) {
    order[i] = i;
    running.fibers[i].context.begin(&enter);
    running.fibers[i].state = State::READY;
    running.fibers[i].exchanges = 0;
  }
  while (!all(0, n, State::DONE)) {
    bool moved = run_some(order);
    for (unsigned first = 0; first < n; first += WARP) {
      if (all(first, WARP, State::IN_WARP)) {
        for (unsigned i = first; i < first + WARP; ++i) {
          running.fibers[i].state = State::READY;
        }
        moved = true;
      }
    }
    if (all(0, n, State::AT_BARRIER)) {
      for (unsigned i = 0; i < n; ++i) {
        running.fibers[i].state = State::READY;
      }
      moved = true;
    }
    if (!moved) {
      throw std::runtime_error("threads wait for others that do not come: a barrier or warp operation in a branch");
    }
  }
}

// Runs `kernel` in every thread of the grid.
inline void launch(Dimensions grid, unsigned threads, std::function<void()> kernel) {
  if (threads == 0 || threads % WARP != 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.y > 65535) {
    throw std::runtime_error("a launch with this grid is invalid");
  }
  running.grid = grid, running.threads.x = threads, running.kernel = std::move(kernel);
  running.error.clear();
  if (running.fibers.size() < threads) {
    running.fibers.resize(threads);
  }
  running.brought[0].resize(threads), running.brought[1].resize(threads);
  for (running.block.y = 0; running.block.y < grid.y; ++running.block.y) {
    for (running.block.x = 0; running.block.x < grid.x; ++running.block.x) {
      run_block();
    }
  }
}

} // namespace emulated

#define threadIdx (emulated::running.thread)
#define blockIdx (emulated::running.block)
#define blockDim (emulated::running.threads)
#define gridDim (emulated::running.grid)

inline void __syncthreads() { emulated::leave(emulated::State::AT_BARRIER); }

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int distance) {
  static_assert(sizeof(T) == 4, "shuffles are of 32 bits");
  const unsigned lane = emulated::running.current % emulated::WARP;
  const uint64_t *brought = emulated::exchange(mask, emulated::bits_as<uint32_t>(value));
  return emulated::bits_as<T>(static_cast<uint32_t>(brought[lane ^ static_cast<unsigned>(distance)]));
}

inline unsigned __ballot_sync(unsigned mask, bool value) {
  const uint64_t *brought = emulated::exchange(mask, value ? 1 : 0);
  unsigned bits = 0;
  for (unsigned lane = 0; lane < emulated::WARP; ++lane) {
    bits |= static_cast<unsigned>(brought[lane]) << lane;
  }
  return bits;
}
