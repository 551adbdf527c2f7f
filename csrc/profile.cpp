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
struct OpenOp : at::ObserverContext {
  explicit OpenOp(uint64_t of) : session(of), begin(Clock::now()) {}
  uint64_t session;
  Clock::time_point begin;
  Clock::duration inner{};
};

std::mutex lock;
std::map<std::string, Total> totals;
std::optional<at::CallbackHandle> handle;
std::atomic<uint64_t> session{0};
thread_local std::vector<OpenOp *> open_ops;

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction &) {
  auto op = std::make_unique<OpenOp>(session.load());
  open_ops.push_back(op.get());
  return op;
}

void leave(const at::RecordFunction &function, at::ObserverContext *context) {
  auto *op = static_cast<OpenOp *>(context);
  if (op == nullptr) {
    return;
  }
  const auto all = Clock::now() - op->begin;
  // The op dies after this call, so it must leave the list, also when its session is over.
  open_ops.erase(std::remove(open_ops.begin(), open_ops.end(), op), open_ops.end());
  if (op->session != session.load()) {
    return;
  }
  if (!open_ops.empty()) {
    open_ops.back()->inner += all;
  }
  const std::lock_guard<std::mutex> guard(lock);
  auto &total = totals[function.name()];
  ++total.calls;
  total.self += all - op->inner;
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
