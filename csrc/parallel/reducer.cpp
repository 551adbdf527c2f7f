// Gradients summed over the processes, each part as soon as the backward has finished it.
//
// The gradients of a bucket's leaves are parts of one tensor, which is summed in place: nothing is copied, except to a
// narrower type where the wire is to carry one.
//
// The last bucket has a tail for numbers that the processes tell each other, a row for each process. A process writes its
// own row, zeros into the others, and reads all rows after the sum. A row holds the bytes of the numbers, one an element:
// 0 to 255 and their sums with zeros are exact in every floating-point type.
#include "world.h"

#include "../shim.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/distributed/c10d/Types.hpp>

#include <memory>

namespace untie {

// Elements that parts begin at a multiple of: 64 bytes in fp32.
constexpr int64_t ALIGNMENT = 16;

struct Bucket {
  at::Tensor flat;
  // The walk's place that its gradients are finished at, seen from the end; -1: only the end of the backward.
  int64_t place;
  at::Tensor wire;
  c10::intrusive_ptr<c10d::Work> work;
};

// What hooks in a graph share with the reducer, which may be gone before they are.
struct Buckets {
  UntieWorld world;
  bool narrow;
  std::vector<Bucket> all;
  at::Tensor tail; // [processes, 8 * numbers], the end of the last bucket
  size_t next = 0;

  void launch(Bucket &bucket) const {
    bucket.wire = narrow ? bucket.flat.to(at::kBFloat16) : bucket.flat;
    std::vector<at::Tensor> tensors{bucket.wire};
    bucket.work = world.group_of(bucket.wire).allreduce(tensors);
  }
  // The last bucket waits for its tail, which is written after the backward.
  void launch_from(int64_t place) {
    for (; next + 1 < all.size() && all[next].place >= place; ++next) {
      launch(all[next]);
    }
  }
  void launch_rest() {
    for (; next < all.size(); ++next) {
      launch(all[next]);
    }
    next = 0;
  }
  void write_tail(const at::Tensor &values) const {
    tail.zero_();
    tail.select(0, world.host->getRank()).copy_(values.view(at::kByte));
  }
  at::Tensor read_tail() const { return tail.to(at::kByte).view(at::kDouble); }
};

} // namespace untie

struct UntieReducer {
  std::shared_ptr<untie::Buckets> buckets;
};

char *untie_reducer_new(const UntieWorld *world, bool narrow, size_t num_values, size_t count, const size_t *sizes,
                        const int64_t *places, at::Tensor *const *leaves, UntieReducer **reducer) {
  return untie_guard([&] {
    using namespace untie;
    const at::NoGradGuard no_grad;
    auto buckets = std::make_shared<Buckets>(Buckets{*world, narrow, {}, {}});
    const int64_t ranks = world->host->getSize();
    const int64_t row = static_cast<int64_t>(num_values * sizeof(double));
    for (size_t bucket = 0; bucket < count; ++bucket) {
      std::vector<int64_t> offsets;
      int64_t size = 0;
      for (size_t i = 0; i < sizes[bucket]; ++i) {
        offsets.push_back(size);
        size += (leaves[i]->numel() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
      }
      const bool is_last = bucket + 1 == count;
      const at::Tensor flat =
          at::zeros({is_last ? size + ranks * row : size}, leaves[0]->options().requires_grad(false));
      if (is_last) {
        buckets->tail = flat.narrow(0, size, ranks * row).view({ranks, row});
      }
      for (size_t i = 0; i < sizes[bucket]; ++i) {
        // Not a view in autograd's sense, which could not be detached in place.
        at::Tensor part = at::empty({0}, flat.options());
        part.set_(flat.storage(), offsets[i], leaves[i]->sizes(), leaves[i]->strides());
        leaves[i]->mutable_grad() = part;
      }
      buckets->all.push_back({flat, places[bucket], {}, {}});
      leaves += sizes[bucket];
    }
    *reducer = new UntieReducer{buckets};
  });
}

void untie_reducer_free(UntieReducer *reducer) noexcept { delete reducer; }

char *untie_reducer_mark(const UntieReducer *reducer, const at::Tensor *hidden, int64_t place) {
  return untie_guard([&] {
    if (hidden->requires_grad()) {
      hidden->register_hook([buckets = reducer->buckets, place](const at::Tensor &) { buckets->launch_from(place); });
    }
  });
}

char *untie_reducer_finish(const UntieReducer *reducer, const at::Tensor *values, at::Tensor **rows) {
  return untie_guard([&] {
    using namespace untie;
    const at::NoGradGuard no_grad;
    Buckets &buckets = *reducer->buckets;
    buckets.write_tail(*values);
    buckets.launch_rest();
    for (Bucket &bucket : buckets.all) {
      bucket.work->wait();
      if (buckets.narrow) {
        bucket.flat.copy_(bucket.wire);
      }
      bucket.work.reset();
      bucket.wire.reset();
    }
    *rows = new at::Tensor(buckets.read_tail());
  });
}
