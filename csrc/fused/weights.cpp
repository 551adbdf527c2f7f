// Which packed copies there are.
#include "weights.h"

#include <map>
#include <mutex>

namespace untie {
namespace {

struct Known {
  std::mutex mutex;
  // A copy keeps its weight alive, so an address is never another weight's while there is one.
  std::map<const void *, std::map<at::ScalarType, std::weak_ptr<PackedCopy>>> of;
};

Known &known() {
  static Known all;
  return all;
}

} // namespace

std::vector<std::shared_ptr<PackedCopy>> copies_of(const at::Tensor &weight) {
  const std::lock_guard<std::mutex> lock(known().mutex);
  std::vector<std::shared_ptr<PackedCopy>> found;
  const auto place = known().of.find(weight.unsafeGetTensorImpl());
  if (place == known().of.end()) {
    return found;
  }
  for (const auto &[kind, copy] : place->second) {
    if (auto alive = copy.lock()) {
      found.push_back(std::move(alive));
    }
  }
  if (found.empty()) {
    known().of.erase(place);
  }
  return found;
}

std::shared_ptr<PackedCopy> copy_of(const at::Tensor &weight, at::ScalarType kind,
                                    std::shared_ptr<PackedCopy> (*make)(const at::Tensor &)) {
  const std::lock_guard<std::mutex> lock(known().mutex);
  std::weak_ptr<PackedCopy> &place = known().of[weight.unsafeGetTensorImpl()][kind];
  auto found = place.lock();
  if (found == nullptr) {
    place = found = make(weight);
  }
  return found;
}

} // namespace untie
