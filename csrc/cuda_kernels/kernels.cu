// Every entry point, once: ENTRIES(ENTRY) is a list of ENTRY(threads of a block, blocks of a multiprocessor, name, parameters, call).
// The second number bounds the registers. tests/cuda_kernels/emulated.cpp makes its table from the same list.
#include "adamw.h"
#include "embeddings.h"
#include "gelu.h"
#include "loss.h"
#include "norm_any.h"
#include "qkv.h"

#define NORM_FORWARD(ENTRY, T, name, blocks, ...)                                                                                   \
  ENTRY(128, blocks, norm_forward_##name##_##T,                                                                                     \
        (const Eight *branch, const Eight *residual, const float *weight, const float *bias, float epsilon, Dropout dropout,        \
         u32 rows, [[maybe_unused]] u32 width, Eight *sum, Eight *out, float *means, float *inverses),                              \
        __VA_ARGS__)
#define NORM_BACKWARD(ENTRY, T, name, blocks, ...)                                                                                  \
  ENTRY(128, blocks, norm_backward_##name##_##T,                                                                                    \
        (const Eight *d_out, const Eight *sum, const float *means, const float *inverses, const float *weight, const Eight *add,    \
         Dropout dropout, u32 rows, [[maybe_unused]] u32 width, Eight *d_sum, Eight *d_branch, [[maybe_unused]] float *partial),    \
        __VA_ARGS__)
#define NORM(ENTRY, T, C, forward_blocks, backward_blocks)                                                                          \
  NORM_FORWARD(ENTRY, T, C, forward_blocks,                                                                                         \
               norm_forward<T, C>(branch, residual, weight, bias, epsilon, dropout, rows, sum, out, means, inverses))               \
  NORM_BACKWARD(ENTRY, T, C, backward_blocks,                                                                                       \
                norm_backward<T, C>(d_out, sum, means, inverses, weight, add, dropout, rows, d_sum, d_branch, partial))

#define ENTRIES_OF(ENTRY, T)                                                                                                        \
  NORM(ENTRY, T, 256, 8, 6)                                                                                                         \
  NORM(ENTRY, T, 512, 6, 4)                                                                                                         \
  NORM(ENTRY, T, 768, 5, 3)                                                                                                         \
  NORM(ENTRY, T, 1024, 4, 3)                                                                                                        \
  NORM_FORWARD(ENTRY, T, any, 8,                                                                                                    \
               norm_forward_any<T>(branch, residual, weight, bias, epsilon, dropout, rows, width, sum, out, means, inverses))       \
  NORM_BACKWARD(ENTRY, T, any, 6,                                                                                                   \
                norm_backward_any<T>(d_out, sum, means, inverses, weight, add, dropout, rows, width, d_sum, d_branch))              \
  ENTRY(256, 4, norm_sums_any_##T,                                                                                                  \
        (const Eight *d_out, const Eight *sum, const float *means, const float *inverses, const Eight *d_branch, u32 rows,          \
         u32 width, float *partial),                                                                                                \
        norm_sums_any<T>(d_out, sum, means, inverses, d_branch, rows, width, partial))                                              \
  ENTRY(256, 6, gelu_forward_##T, (const Eight *before, u64 pieces, Eight *after), gelu_forward<T>(before, pieces, after))          \
  ENTRY(256, 4, gelu_backward_##T,                                                                                                  \
        (const Eight *d_after, const Eight *before, u32 rows, u32 width, Eight *d_before, float *partial),                          \
        gelu_backward<T>(d_after, before, rows, width, d_before, partial))                                                          \
  ENTRY(256, 6, column_sums_##T, (const Eight *x, u32 rows, u32 width, float *partial), column_sums<T>(x, rows, width, partial))    \
  ENTRY(256, 5, pack_qkv_##T,                                                                                                       \
        (const u16 *d_query, const u16 *d_key, const u16 *d_value, Strides of_query, Strides of_key, Strides of_value, u32 rows,    \
         u32 length, u32 heads, u32 features, Eight *d_qkv, float *partial),                                                        \
        pack_qkv<T>(d_query, d_key, d_value, of_query, of_key, of_value, rows, length, heads, features, d_qkv, partial))            \
  ENTRY(128, 8, embeddings_forward_##T,                                                                                             \
        (const float *word, const float *position, const float *type, const i64 *word_ids, const i64 *position_ids,                 \
         const i64 *type_ids, const float *weight, const float *bias, float epsilon, Dropout dropout, u32 rows, u32 length,         \
         u32 width, Eight *out, float *means, float *inverses),                                                                     \
        embeddings_forward<T>({word, position, type, word_ids, position_ids, type_ids, length, width}, weight, bias, epsilon,       \
                              dropout, rows, out, means, inverses))                                                                 \
  ENTRY(128, 6, embeddings_backward_##T,                                                                                            \
        (const Eight *d_out, const float *word, const float *position, const float *type, const i64 *word_ids,                      \
         const i64 *position_ids, const i64 *type_ids, const float *weight, const float *means, const float *inverses,              \
         Dropout dropout, u32 rows, u32 length, u32 width, float *d_sum),                                                           \
        embeddings_backward<T>(d_out, {word, position, type, word_ids, position_ids, type_ids, length, width}, weight, means,       \
                               inverses, dropout, rows, d_sum))                                                                     \
  ENTRY(256, 3, embeddings_sums_##T,                                                                                                \
        (const Eight *d_out, const float *word, const float *position, const float *type, const i64 *word_ids,                      \
         const i64 *position_ids, const i64 *type_ids, const float *means, const float *inverses, Dropout dropout, u32 rows,        \
         u32 length, u32 width, float *partial),                                                                                    \
        embeddings_sums<T>(d_out, {word, position, type, word_ids, position_ids, type_ids, length, width}, means, inverses,         \
                           dropout, rows, partial))                                                                                 \
  ENTRY(512, 2, cross_entropy_##T,                                                                                                  \
        (Eight *logits, const float *bias, const i64 *labels, const float *weights, u32 width, float *losses, float *correct),      \
        cross_entropy<T>(logits, bias, labels, weights, width, losses, correct))                                                    \
  ENTRY(256, 4, adamw_##T,                                                                                                          \
        (const AdamWPiece *pieces, const double *factors, const float *skipped, const float *num_updates,                           \
         const float *learning_rate, double beta1, double beta2, double epsilon, double weight_decay),                              \
        adamw<T>(pieces, factors, skipped, num_updates, learning_rate, beta1, beta2, epsilon, weight_decay))

#define ENTRIES(ENTRY)                                                                                                              \
  ENTRIES_OF(ENTRY, bf16)                                                                                                           \
  ENTRIES_OF(ENTRY, fp16)                                                                                                           \
  ENTRY(256, 8, add_up,                                                                                                             \
        (const float *partial, u32 blocks, u32 width, u32 parts, float *first, float *second, float *third),                        \
        add_blocks(partial, blocks, width, parts, first, second, third))

#define DEFINITION(threads, blocks, name, parameters, ...)                                                                          \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name parameters { __VA_ARGS__; }
ENTRIES(DEFINITION)
