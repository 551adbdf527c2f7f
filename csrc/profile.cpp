// Time by op: what RecordFunction sees, on every thread, as time outside the ops that an op calls itself.
#include "shim.h"

#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Total {
  uint64_t calls = 0;
  Clock::duration self{};
};

// An op that is under way.
struct Frame : at::ObserverContext {
  explicit Frame(uint64_t of) : session(of), begin(Clock::now()) {}
  uint64_t session;
  Clock::time_point begin;
  Clock::duration inner{};
};

std::mutex lock;
std::map<std::string, Total> totals;
std::optional<at::CallbackHandle> handle;
std::atomic<uint64_t> session{0};
thread_local std::vector<Frame *> open_frames;

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction &) {
  auto frame = std::make_unique<Frame>(session.load());
  open_frames.push_back(frame.get());
  return frame;
}

void leave(const at::RecordFunction &function, at::ObserverContext *context) {
  auto *frame = static_cast<Frame *>(context);
  if (frame == nullptr) {
    return;
  }
  const auto all = Clock::now() - frame->begin;
  // The frame dies after this call, so it must leave the list, also when its session is over.
  open_frames.erase(std::remove(open_frames.begin(), open_frames.end(), frame), open_frames.end());
  if (frame->session != session.load()) {
    return;
  }
  if (!open_frames.empty()) {
    open_frames.back()->inner += all;
  }
  const std::lock_guard<std::mutex> guard(lock);
  auto &total = totals[function.name()];
  ++total.calls;
  total.self += all - frame->inner;
}

} // namespace

char *untie_profile_start() {
  return untie_guard([&] {
    const std::lock_guard<std::mutex> guard(lock);
    if (handle) {
      throw std::runtime_error("a profile is already being taken");
    }
    totals.clear();
    ++session;
    auto callback = at::RecordFunctionCallback(enter, leave);
    callback.scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE});
    handle = at::addGlobalCallback(std::move(callback));
  });
}

char *untie_profile_stop(char **table) {
  return untie_guard([&] {
    *table = nullptr;
    const std::lock_guard<std::mutex> guard(lock);
    if (!handle) {
      throw std::runtime_error("no profile is being taken");
    }
    at::removeCallback(*handle);
    handle.reset();
    std::ostringstream lines;
    for (const auto &[name, total] : totals) {
      const auto self = std::chrono::duration_cast<std::chrono::nanoseconds>(total.self).count();
      lines << total.calls << '\t' << self << '\t' << name << '\n';
    }
    *table = untie_copy(lines.str().c_str());
    if (*table == nullptr) {
      throw std::bad_alloc();
    }
  });
}
