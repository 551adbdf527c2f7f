// The store of a run's processes and the groups that they make through it.
#define USE_C10D_GLOO
#include "world.h"

#include "../cuda/library.h"
#include "../shim.h"

#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/Types.hpp>

#include <chrono>
#include <cstring>

namespace {

std::vector<uint8_t> bytes_of(const char *text) { return std::vector<uint8_t>(text, text + std::strlen(text)); }

} // namespace

char *untie_store_new(const char *host, uint16_t port, bool serves, int64_t timeout_ms, const char *prefix,
                      UntieStore **store) {
  return untie_guard([&] {
    // TORCH_CPP_LOG_LEVEL may have been set since libtorch was loaded.
    c10::initLogging();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    const auto whole = c10::make_intrusive<c10d::TCPStore>(host, options);
    *store = new UntieStore{c10::make_intrusive<c10d::PrefixStore>(prefix, whole)};
  });
}

char *untie_store_clone(const UntieStore *store, UntieStore **copy) {
  return untie_guard([&] { *copy = new UntieStore{store->store->clone()}; });
}

void untie_store_free(UntieStore *store) noexcept { delete store; }

char *untie_store_add(const UntieStore *store, const char *key, int64_t number, int64_t *sum) {
  return untie_guard([&] { *sum = store->store->add(key, number); });
}

char *untie_store_set(const UntieStore *store, const char *key, const char *text) {
  return untie_guard([&] { store->store->set(key, bytes_of(text)); });
}

char *untie_store_get(const UntieStore *store, const char *key, char *text, size_t capacity, bool *found) {
  return untie_guard([&] {
    *found = store->store->check({key});
    if (!*found) {
      return;
    }
    const std::vector<uint8_t> bytes = store->store->get(key);
    const size_t length = std::min(bytes.size(), capacity - 1);
    std::memcpy(text, bytes.data(), length);
    text[length] = '\0';
  });
}

char *untie_world_new(const UntieStore *store, int32_t rank, int32_t size, int64_t timeout_ms, const char *address,
                      const char *interface, int32_t cuda_index, UntieWorld **world) {
  return untie_guard([&] {
    const std::chrono::milliseconds timeout(timeout_ms);
    using Gloo = c10d::ProcessGroupGloo;
    const auto options = Gloo::Options::create(timeout);
    options->devices.push_back(*interface == '\0' ? Gloo::createDeviceForHostname(address)
                                                  : Gloo::createDeviceForInterface(interface));
    // One thread, so that collectives run one after the other in the order in which they were asked for.
    options->threads = 1;
    const auto within = [&](const char *name) { return c10::make_intrusive<c10d::PrefixStore>(name, store->store); };
    auto made = std::make_unique<UntieWorld>();
    made->host = c10::make_intrusive<Gloo>(within("gloo"), rank, size, options);
    made->device = made->host;
    if (cuda_index >= 0) {
      const auto nccl_group = untie::cuda_library().nccl_group;
      if (nccl_group == nullptr) {
        throw std::runtime_error("this program was compiled without NCCL");
      }
      c10d::Backend *const group = nccl_group(within("nccl").release(), rank, size, timeout, cuda_index);
      made->device = c10::intrusive_ptr<c10d::Backend>::reclaim(group);
    }
    *world = made.release();
  });
}

void untie_world_free(UntieWorld *world) noexcept { delete world; }

char *untie_all_reduce(const UntieWorld *world, const at::Tensor *tensor, bool largest) {
  return untie_guard([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = largest ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
    world->group_of(*tensor).allreduce(tensors, options)->wait();
  });
}

char *untie_broadcast(const UntieWorld *world, const at::Tensor *tensor) {
  return untie_guard([&] {
    std::vector<at::Tensor> tensors{*tensor};
    world->group_of(*tensor).broadcast(tensors)->wait();
  });
}
