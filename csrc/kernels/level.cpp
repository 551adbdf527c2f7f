// One level of kernels: build.rs compiles this file once for each, with LEVEL, TABLE and the compiler's flags set. Nothing
// but the table leaves it, and no function that another file could share: an AVX-512 copy of one would be called everywhere.
#include "adamw.h"
#include "attention.h"
#include "gelu.h"
#include "loss.h"
#include "norm.h"
#include "product.h"

namespace untie {
namespace LEVEL {

template <typename T>
constexpr Kernels<T> KERNELS = {
    &Pack<T>::rows,      &Pack<T>::columns,   &Pack<T>::transpose,  &narrow_tile<T>,  &widen_tile<T>,
    &add_bias<T>,        &add<T>,             &accumulate<T>,      &accumulate_transposed<T>, &column_sums<T>, &gelu_forward<T>,
    &gelu_backward<T>,   &residual_forward<T>, &norm_forward<T>,    &norm_backward<T>, &dropout<T>,
    &softmax_forward<T>, &softmax_backward<T>, &row_dots<T>,        &logits_forward<T>, &logits_backward<T>,
    &adamw<Wide<T>>,     &squares<Wide<T>>,
};

#if defined(__AVX512F__)
constexpr Multiply<float> MULTIPLY_FLOAT = nullptr;
#else
constexpr Multiply<float> MULTIPLY_FLOAT = &Product<float>::multiply;
#endif

} // namespace LEVEL

#define TEXT(name) #name
#define NAME(name) TEXT(name)
extern const Level TABLE = {
    NAME(LEVEL),           LEVEL::KERNELS<bf16>,  LEVEL::KERNELS<float>,
    LEVEL::KERNELS<double>, LEVEL::MULTIPLY_FLOAT, &LEVEL::Product<double>::multiply,
};

} // namespace untie
