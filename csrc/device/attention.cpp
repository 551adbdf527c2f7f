// Which of libtorch's kernels may compute attention.
#include "attention.h"

#include "../fused/node.h"
#include "../shim.h"

#include <ATen/Context.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <cmath>

namespace untie {
namespace {

// Some of cuDNN's kernels drop a multiple of 1/16 of the weights only, so that 0.1 may act as 0.0625 or 0.125
// (github.com/pytorch/pytorch/pull/174245, which libtorch 2.11 does not have).
bool cudnn_drops_exactly(double dropout) { return dropout * 16 == std::floor(dropout * 16); }

// Leaves cuDNN's attention as it was when it goes out of scope.
class CudnnAttention {
public:
  explicit CudnnAttention(bool allowed) : before(at::globalContext().userEnabledCuDNNSDP()) {
    at::globalContext().setSDPUseCuDNN(before && allowed);
  }
  ~CudnnAttention() { at::globalContext().setSDPUseCuDNN(before); }
  CudnnAttention(const CudnnAttention &) = delete;
  CudnnAttention &operator=(const CudnnAttention &) = delete;

private:
  bool before;
};

} // namespace

at::Tensor attention(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value, const at::Tensor &bias,
                     double dropout) {
  const CudnnAttention switched(cudnn_drops_exactly(dropout));
  return at::scaled_dot_product_attention(query, key, value, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt,
                                          dropout);
}

} // namespace untie

char *untie_attention(const at::Tensor *query, const at::Tensor *key, const at::Tensor *value, const at::Tensor *bias,
                      double dropout, at::Tensor **out) {
  return untie_guard(
      [&] { *out = new at::Tensor(untie::attention(*query, *key, *value, untie::or_none(bias), dropout)); });
}
