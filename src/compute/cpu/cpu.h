/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inside of the CPU device. Each op of the table is aqm_cpu_NAME, in the file of its theme. An op splits its rows among
 * OpenMP threads; what is done to one row (or one chunk) is a static function marked AQM_CLONES, which the compiler
 * builds once for each level of x86-64 and the loader picks. Every sum has an order that does not depend on the number
 * of threads.
 */
#ifndef AQM_COMPUTE_CPU_CPU_H
#define AQM_COMPUTE_CPU_CPU_H

#include "compute/device.h"

/* Sanitizers are not up yet when the loader picks a clone, so they get none. */
#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__) && !defined(AQM_SANITIZED)
#define AQM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define AQM_CLONES
#endif

/* Sixteen floats: one register of x86-64-v4, two of v3, four of the rest. Loads through it need no alignment. */
typedef float aqm_v16 __attribute__((vector_size(64), aligned(4), may_alias));

/* What this processor can do, for code that is written for one level. */
enum aqm_level { AQM_LEVEL_ANY, AQM_LEVEL_V3, AQM_LEVEL_V4 };
enum aqm_level aqm_cpu_level(void);
/* For tests: no higher than this, so that one machine runs the code of all. */
void aqm_cpu_level_limit(enum aqm_level highest);

struct aqm_cpu {
	float *scratch; /* working memory of all threads */
	size_t scratch_floats;
	int failed; /* code of the first failure since the last check */
	char message[256];
};

/* The same working memory for each of `threads` threads: *base + i * *stride floats, 64-byte aligned, not cleared. What
 * the device opened with is enough for windows of 1024 tokens; beyond that it grows once. False: no memory, noted for
 * aqm_device_check. Not from within a parallel region. */
bool aqm_cpu_scratch(aqm_device *device, int threads, int64_t floats, float **base, int64_t *stride);

extern const struct aqm_ops aqm_cpu_ops;
int aqm_cpu_open(aqm_device *device);

/* Fewer elements than this are done before other threads have woken up. */
enum { AQM_CPU_SERIAL = 1 << 14 };
static inline bool aqm_cpu_large(struct aqm_mat m)
{
	return m.rows * m.cols > AQM_CPU_SERIAL;
}
static inline float *aqm_row(struct aqm_mat m, int64_t row)
{
	return (float *)m.data + row * m.ld;
}

/* memory.c */
int aqm_cpu_allocate(aqm_device *device, size_t bytes, void **out);
void aqm_cpu_release(aqm_device *device, void *memory);
void aqm_cpu_upload(aqm_device *device, void *to, const void *from_host, size_t bytes);
void aqm_cpu_download(aqm_device *device, void *to_host, const void *from, size_t bytes);
void aqm_cpu_zero(aqm_device *device, struct aqm_mat y);
void aqm_cpu_copy(aqm_device *device, struct aqm_mat x, struct aqm_mat y);
void aqm_cpu_axpy(aqm_device *device, float alpha, struct aqm_mat x, struct aqm_mat y);
void aqm_cpu_scale(aqm_device *device, float alpha, struct aqm_mat y);
void aqm_cpu_expand(aqm_device *device, struct aqm_mat w, struct aqm_mat y);
void aqm_cpu_add_positions(aqm_device *device, struct aqm_mat table, int64_t tokens, const struct aqm_place *places,
                           struct aqm_mat x);
void aqm_cpu_append(aqm_device *device, struct aqm_mat x, int64_t tokens, const struct aqm_place *places,
                    struct aqm_mat y);
void aqm_cpu_gather(aqm_device *device, struct aqm_mat table, const int32_t *index, bool add, struct aqm_mat y);
void aqm_cpu_scatter_add(aqm_device *device, struct aqm_mat dy, const int32_t *index, struct aqm_mat dtable);

/* gemm.c */
void aqm_cpu_gemm(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                  bool transpose_b, float beta, struct aqm_mat c);
void aqm_cpu_gemm_bias(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                       bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias);
void aqm_cpu_bias_forward(aqm_device *device, struct aqm_mat bias, struct aqm_mat y);
void aqm_cpu_bias_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat dbias);

/* few.c, few_direct.c, few_int8.c */
void aqm_cpu_linear_few(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y);
void aqm_cpu_linear_few_int8(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y);
void aqm_cpu_linears_few(aqm_device *device, struct aqm_mat x, bool int8, int count, const struct aqm_mat *w,
                         const struct aqm_mat *y);
/* Layers of the same X: y[i] = X w[i]^T + beta y[i]; all w of one type and width. */
struct aqm_cpu_few {
	int count;
	const struct aqm_mat *w, *y;
	float beta;
};
bool aqm_cpu_few_large(const struct aqm_cpu_few *few);
/* Rows of W of all layers in pieces of up to `rows`, no piece of two layers: how many; and the layer of one and where in
 * it that begins. */
int64_t aqm_cpu_few_pieces(const struct aqm_cpu_few *few, int64_t rows);
int aqm_cpu_few_piece(const struct aqm_cpu_few *few, int64_t rows, int64_t piece, int64_t *first);
/* The ways of linear_few and linear_few_int8. False, with nothing done: not on this processor, for these types or so few
 * rows of W. */
bool aqm_cpu_few_direct(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few);
bool aqm_cpu_few_pairs(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few); /* X in bfloat16 */
bool aqm_cpu_few_int8(aqm_device *device, struct aqm_mat x, const struct aqm_cpu_few *few);
/* For all types and processors: as it is (x may be the device's working memory), and with X rounded to bfloat16. */
void aqm_cpu_few_buffered(struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y);
void aqm_cpu_few_rounded(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y);

/* norm.c */
void aqm_cpu_rmsnorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                             float epsilon, struct aqm_mat y, struct aqm_mat rstd);
void aqm_cpu_rmsnorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                              struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight);
void aqm_cpu_layernorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                               struct aqm_mat bias, float epsilon, struct aqm_mat y, struct aqm_mat mean,
                               struct aqm_mat rstd);
void aqm_cpu_layernorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                                struct aqm_mat mean, struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight,
                                struct aqm_mat dbias);

/* rope.c */
void aqm_cpu_rope(aqm_device *device, struct aqm_mat x, int64_t tokens, int64_t head_dim,
                  const struct aqm_place *places, struct aqm_mat inverse_frequency, enum aqm_rope_pairs pairs,
                  bool backward);

/* attention.c */
void aqm_cpu_attention_forward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
                               struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse);
void aqm_cpu_attention_backward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
                                struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse, struct aqm_mat dout,
                                struct aqm_mat dq, struct aqm_mat dk, struct aqm_mat dv, struct aqm_mat dbias);
void aqm_cpu_attention_cached(aqm_device *device, struct aqm_attention shape, const struct aqm_place *places,
                              struct aqm_mat q, struct aqm_mat k, struct aqm_mat v, struct aqm_mat o);
/* attention_few.c: attention_cached of few tokens and no bias; false, with nothing done, for others. */
bool aqm_cpu_attention_few(aqm_device *device, struct aqm_attention shape, const struct aqm_place *places,
                           struct aqm_mat q, struct aqm_mat k, struct aqm_mat v, struct aqm_mat o);

/* activation.c */
void aqm_cpu_glu_forward(aqm_device *device, enum aqm_glu kind, struct aqm_mat gate, struct aqm_mat up,
                         struct aqm_mat y);
void aqm_cpu_glu_backward(aqm_device *device, enum aqm_glu kind, struct aqm_mat dy, struct aqm_mat gate,
                          struct aqm_mat up, struct aqm_mat dgate, struct aqm_mat dup);
void aqm_cpu_activation_forward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat x,
                                struct aqm_mat y);
void aqm_cpu_activation_backward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat dy,
                                 struct aqm_mat x, struct aqm_mat dx);

/* dropout.c */
void aqm_cpu_dropout(aqm_device *device, float p, uint64_t seed, uint32_t step, uint32_t ordinal, int64_t first_row,
                     struct aqm_mat x, struct aqm_mat y);

/* loss.c */
double aqm_cpu_squared_error(aqm_device *device, struct aqm_mat outputs, const int32_t *counts, const float *target,
                             struct aqm_mat doutputs);
double aqm_cpu_cross_entropy(aqm_device *device, struct aqm_mat logits, const int32_t *label, const float *weight,
                             struct aqm_mat dlogits);

/* optimizer.c */
double aqm_cpu_sum_squares(aqm_device *device, const float *x, size_t n);
void aqm_cpu_adamw(aqm_device *device, size_t n, float *x, const float *g, float *m, float *v, float gradient_scale,
                   float lr, float beta1, float beta2, float epsilon, float weight_decay, float correction1,
                   float correction2);

#endif
