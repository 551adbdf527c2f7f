// Attention by libtorch.
#pragma once

#include <ATen/core/Tensor.h>

namespace untie {

// softmax(q·kᵀ/√D + bias)·v with dropout on its weights; q, k, v and the result are [B, H, T, D]. No tensor `bias`: none.
at::Tensor attention(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value, const at::Tensor &bias,
                     double dropout);

} // namespace untie
