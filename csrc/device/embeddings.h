// The sum of embeddings with LayerNorm and dropout as one operation of autograd, on a GPU.
#pragma once

#include "kernels.h"
#include "../gradient.h"
#include "../fused/node.h"

namespace untie {
namespace device {

// [B, T, C] in `kind`, bfloat16 or half; `keys` int64 [B], undefined: no dropout.
at::Tensor embeddings(at::ScalarType kind, const EmbeddingTables &tables, const EmbeddingIds &ids, const at::Tensor &keys,
                      uint32_t site, double probability);

} // namespace device
} // namespace untie
