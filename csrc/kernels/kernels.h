// The vector kernels: plain functions over raw pointers, compiled once for each level of instructions (level.cpp) and
// chosen at run time (../fused/levels.cpp). They know nothing of libtorch, threads or autograd: a kernel does one tile of rows.
//
// Element types: bfloat16 (as its bits), float, double. Sums, statistics and functions are computed in `Wide`: float for
// bfloat16 and float, double for double. In comments: `rows` x `width` tiles, row-major; `wide` tiles come from a product.
#pragma once

#include <cstddef>
#include <cstdint>

namespace untie {

// The bits of a bfloat16: the upper half of a float's.
struct bf16 {
  uint16_t bits;
};

template <typename T> struct WideOf {
  using type = T;
};
template <> struct WideOf<bf16> {
  using type = float;
};
template <typename T> using Wide = typename WideOf<T>::type;

// Columns of a right operand that products of our own (product.h) read at a time.
constexpr int64_t PANEL = 16;

// Elements from one column of a packed right operand to the next: bfloat16 has its rows in pairs (pack.h).
template <typename T> constexpr int64_t IN_A_COLUMN = sizeof(T) == 2 ? 2 : 1;

// Dropout of one site for rows that belong to sequences: element (t, j) of a sequence is dropped when its 16 random bits
// are below `threshold`. The bits are a function of (key of the sequence, site, t, j) alone; see dropout.h.
struct Dropout {
  const int64_t *keys;    // one a sequence; unused when threshold is 0
  uint32_t site;          // which dropout of the model
  uint32_t threshold;     // probability times 65536; 0: no dropout
  double scale;           // 1 / (1 - threshold / 65536)
  int64_t rows_of_a_key;  // rows of a sequence
};

// y = (x - mean) / deviation * weight + bias over rows of `width`.
template <typename W> struct Norm {
  const W *weight;
  const W *bias;
  double epsilon;
};

// What a tile of transposed scores is of: a row is a key, a column a query of one head of one sequence.
struct Scores {
  int64_t keys;               // rows: all tokens of the sequence
  int64_t queries;            // columns, a multiple of 16; those behind the end of the sequence are not used
  int64_t first_query;        // of the tile
  int64_t head;               // for dropout
  const int32_t *visible;     // [keys]: 0 for padding; null: no padding
  const int32_t *documents;   // [keys]: tokens see those of their own document; null: of all
  double scale;               // 1 / sqrt(features of a head)
};

// What a tile of transposed logits is of: a row is an entry of the vocabulary, a column a target.
struct Logits {
  int64_t rows;
  int64_t columns;       // a multiple of 16; those behind the last target have any label
  int64_t first_row;     // of the tile, in the vocabulary
  const int32_t *labels; // [columns]
};
template <typename W> struct LogitSums {
  W *top, *total, *picked; // [columns] each
  int32_t *best;           // [columns]
};

// One AdamW update of a tensor.
struct AdamW {
  double learning_rate, beta1, beta2, epsilon;
  double correction1, correction2; // 1 - beta^step
  double weight_decay;
  double gradient_scale; // multiplied into the gradient: clipping, and the mean over tied layers
};

template <typename T> struct Kernels {
  using W = Wide<T>;

  // pack.h
  void (*pack_rows)(int64_t rows, int64_t width, const T *from, int64_t stride, T *to, int64_t to_width);
  void (*pack_columns)(int64_t rows, int64_t width, const T *from, int64_t stride, T *to, int64_t to_width);
  void (*transpose)(int64_t rows, int64_t width, const T *from, int64_t stride, T *to, int64_t to_stride);
  // out = wide.
  void (*narrow)(int64_t rows, int64_t width, const W *wide, int64_t wide_stride, T *out, int64_t stride);
  // out = x, `count` elements.
  void (*widen)(int64_t count, const T *x, W *out);
  // out = wide + bias.
  void (*add_bias)(int64_t rows, int64_t width, const W *wide, const W *bias, T *out, int64_t stride);
  // out = wide + add, `count` elements.
  void (*add)(int64_t count, const W *wide, const T *add, T *out);
  // sum += wide; copy += wide where there is a copy. Rows of sum and copy are `stride` apart.
  void (*accumulate)(int64_t rows, int64_t width, const W *wide, W *sum, W *copy, int64_t stride);
  // The same for sums [width, rows].
  void (*accumulate_transposed)(int64_t rows, int64_t width, const W *wide, W *sum, W *copy, int64_t stride);
  // sum += over the rows.
  void (*column_sums)(int64_t rows, int64_t width, const T *x, W *sum);

  // gelu.h
  // before = wide + bias (where wanted), after = GELU of it.
  void (*gelu_forward)(int64_t rows, int64_t width, const W *wide, const W *bias, T *before, int64_t stride, T *after,
                       int64_t after_stride);
  // wide is the gradient of `after`: gradient of `before`, its sums over the rows, and, where wanted, both it and `after`
  // again as rows of a right operand (pack.h): element (i, j) of an even i and a j that is a multiple of 16 is at
  // i · packed_row + j · packed_column.
  void (*gelu_backward)(int64_t rows, int64_t width, const W *wide, const T *before, int64_t stride, T *gradient,
                        int64_t gradient_stride, T *packed_gradient, T *packed_after, int64_t packed_row,
                        int64_t packed_column, W *bias_sum);

  // norm.h; the first row of a tile says which sequences it is of
  // sum = residual + dropout(wide + bias).
  void (*residual_forward)(int64_t first_row, int64_t rows, int64_t width, const W *wide, const W *bias,
                           const T *residual, Dropout dropout, T *sum);
  // out = LayerNorm(x); mean and 1/deviation of each row.
  void (*norm_forward)(int64_t rows, int64_t width, const T *x, Norm<W> norm, T *out, W *mean, W *inverse);
  // dx = LayerNorm's backward, plus dx_add where there is one; Σ d·x̂ and Σ d are added to weight_sum and bias_sum.
  void (*norm_backward)(int64_t rows, int64_t width, const T *d_out, const T *x, const W *mean, const W *inverse,
                        const W *weight, const T *dx_add, T *dx, W *weight_sum, W *bias_sum);
  // out = dropout's backward of d; its sums over the rows are added to bias_sum where there is one.
  void (*dropout)(int64_t first_row, int64_t rows, int64_t width, const T *d, Dropout dropout, T *out, W *bias_sum);

  // attention.h
  void (*softmax_forward)(Scores tile, W *scores, Dropout dropout, T *packed, W *log_sum);
  void (*softmax_backward)(Scores tile, const W *scores, const W *d_scores, Dropout dropout, const W *log_sum,
                           const W *delta, T *dropped, T *gradient, T *packed_gradient);
  // out[row] = Σ a·b.
  void (*row_dots)(int64_t rows, int64_t width, const T *a, int64_t a_stride, const T *b, int64_t b_stride, W *out);

  // loss.h; scores become logits in the forward, the backward takes scores again
  void (*logits_forward)(Logits tile, W *scores, const W *bias, LogitSums<W> sums);
  void (*logits_backward)(Logits tile, const W *scores, const W *bias, const W *log_sum, const W *factor, T *gradient,
                          T *packed, W *bias_sum);

  // adamw.h
  void (*adamw)(int64_t count, W *weight, const W *gradient, W *exp_avg, W *exp_avg_sq, AdamW with);
  // Σ x².
  double (*squares)(int64_t count, const W *x);
};

// product.h: c [m, n] (+)= a [m, k] · b [k, n]; lda, ldb, ldc: elements from row to row; panel: from 16 columns of b to the next.
template <typename W>
using Multiply = void (*)(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t panel, int64_t ldc, bool add,
                          const W *a, const W *b, W *c);

// The kernels of one level.
struct Level {
  const char *name;
  Kernels<bf16> of_bf16;
  Kernels<float> of_float;
  Kernels<double> of_double;
  Multiply<float> multiply_float; // null where libtorch's brgemm computes float products: it needs AVX-512
  Multiply<double> multiply_double;
};

// On other processors than x86-64 there is the default level alone; on aarch64 it is NEON's.
extern const Level kernels_default;
#ifdef __x86_64__
extern const Level kernels_avx2;
extern const Level kernels_avx512;
extern const Level kernels_avx512bf16;
constexpr const Level *LEVELS[] = {&kernels_default, &kernels_avx2, &kernels_avx512, &kernels_avx512bf16};
#else
constexpr const Level *LEVELS[] = {&kernels_default};
#endif

// Whether the CPU has the instructions of kernels_avx512, which libtorch's brgemm needs too.
bool has_avx512();
// The level in use: the best that the CPU has and libtorch's own setting allows, or what was set last.
const Level &level();
// Uses the level of that name; false where the CPU lacks it.
bool set_level(const char *name);

} // namespace untie
