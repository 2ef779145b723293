/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inside of the CUDA device. Each op of the table is aqm_cuda_NAME, in the file of its theme; all work is queued on
 * one stream. Activations and gradients of activations are float32 or bfloat16, matrix by matrix, and every sum is
 * float32 (double where the CPU's is); norm weights, biases, inverse frequencies, rstd, mean and lse are float32.
 * Every sum has one order: same inputs, same bits.
 */
#ifndef AQM_COMPUTE_CUDA_CUDA_H
#define AQM_COMPUTE_CUDA_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

#include "compute/device.h"

extern const struct aqm_ops aqm_cuda_ops;

/* The first GPU, or AQM_ERUN saying what is missing: a driver, a GPU of compute capability 9.0 or newer, cuBLASLt,
 * memory. */
int aqm_cuda_open(aqm_device *device);

/* Keep the first failure for aqm_device_check(). */
void aqm_cuda_fail(aqm_device *device, const char *what, const char *why);

/* ---- memory that ops borrow; valid until the next op that borrows the same ---- */

enum aqm_cuda_scratch {
	AQM_SCRATCH_SUMS, /* parts of sums */
	AQM_SCRATCH_A,    /* an operand of a product in another type */
	AQM_SCRATCH_B,    /* the other */
	AQM_SCRATCH_BIAS, /* a bias in another type */
	AQM_SCRATCH_KINDS
};
/* Grows, which waits for the device; NULL: no memory, noted. */
void *aqm_cuda_scratch(aqm_device *device, enum aqm_cuda_scratch kind, size_t bytes);
/* A copy of host memory for the kernels queued next: `first`, then, from the next multiple of 16 bytes on, `second`.
 * NULL: no memory, noted. */
void *aqm_cuda_stage(aqm_device *device, const void *first, size_t first_bytes, const void *second,
                     size_t second_bytes);

/* ---- cublasLt (lt.cu) ---- */

struct aqm_lt;
int aqm_lt_open(struct aqm_lt **out);
void aqm_lt_close(struct aqm_lt *lt);
/* Bytes of the GPU's that it takes. */
size_t aqm_lt_workspace(void);
/* C = alpha op(A) op(B) + beta C (+ bias on every row): A and B of one type, float32 or bfloat16; C float32, or
 * bfloat16 as they are; bias absent or of C's type. False when cublasLt has nothing for these shapes. */
bool aqm_lt_gemm(aqm_device *device, struct aqm_lt *lt, float alpha, struct aqm_mat a, bool transpose_a,
                 struct aqm_mat b, bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias);

/* ---- ops ---- */

/* device.cu */
int aqm_cuda_allocate(aqm_device *device, size_t bytes, void **out);
void aqm_cuda_release(aqm_device *device, void *memory);
void aqm_cuda_upload(aqm_device *device, void *to, const void *from_host, size_t bytes);
void aqm_cuda_download(aqm_device *device, void *to_host, const void *from, size_t bytes);

/* memory.cu */
void aqm_cuda_zero(aqm_device *device, struct aqm_mat y);
void aqm_cuda_copy(aqm_device *device, struct aqm_mat x, struct aqm_mat y);
void aqm_cuda_axpy(aqm_device *device, float alpha, struct aqm_mat x, struct aqm_mat y);
void aqm_cuda_scale(aqm_device *device, float alpha, struct aqm_mat y);
void aqm_cuda_add_positions(aqm_device *device, struct aqm_mat table, int64_t tokens, const struct aqm_place *places,
                            struct aqm_mat x);
void aqm_cuda_append(aqm_device *device, struct aqm_mat x, int64_t tokens, const struct aqm_place *places,
                     struct aqm_mat y);
void aqm_cuda_gather(aqm_device *device, struct aqm_mat table, const int32_t *index, bool add, struct aqm_mat y);
void aqm_cuda_scatter_add(aqm_device *device, struct aqm_mat dy, const int32_t *index, struct aqm_mat dtable);

/* quant.cu */
void aqm_cuda_expand(aqm_device *device, struct aqm_mat w, struct aqm_mat y);

/* gemm.cu */
void aqm_cuda_gemm(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                   bool transpose_b, float beta, struct aqm_mat c);
void aqm_cuda_gemm_bias(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                        bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias);
void aqm_cuda_bias_forward(aqm_device *device, struct aqm_mat bias, struct aqm_mat y);
void aqm_cuda_bias_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat dbias);
/* The product without cublasLt, of any types. */
void aqm_cuda_plain_gemm(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
                         bool transpose_b, float beta, struct aqm_mat c);

/* few.cu */
void aqm_cuda_linear_few(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y);

/* norm.cu */
void aqm_cuda_rmsnorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                              float epsilon, struct aqm_mat y, struct aqm_mat rstd);
void aqm_cuda_rmsnorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                               struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight);
void aqm_cuda_layernorm_forward(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
                                struct aqm_mat bias, float epsilon, struct aqm_mat y, struct aqm_mat mean,
                                struct aqm_mat rstd);
void aqm_cuda_layernorm_backward(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
                                 struct aqm_mat mean, struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight,
                                 struct aqm_mat dbias);
/* dweight += sums over rows of dy (x - mean) rstd (absent: none), dbias += sums of dy (absent: none). x, mean, rstd
 * may be absent when dweight is; mean absent: 0. */
void aqm_cuda_column_sums(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat mean,
                          struct aqm_mat rstd, struct aqm_mat dweight, struct aqm_mat dbias);

/* rope.cu */
void aqm_cuda_rope(aqm_device *device, struct aqm_mat x, int64_t tokens, int64_t head_dim,
                   const struct aqm_place *places, struct aqm_mat inverse_frequency, enum aqm_rope_pairs pairs,
                   bool backward);

/* attention.cu */
void aqm_cuda_attention_forward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
                                struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse);
void aqm_cuda_attention_backward(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
                                 struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse, struct aqm_mat dout,
                                 struct aqm_mat dq, struct aqm_mat dk, struct aqm_mat dv, struct aqm_mat dbias);
void aqm_cuda_attention_cached(aqm_device *device, struct aqm_attention shape, const struct aqm_place *places,
                               struct aqm_mat q, struct aqm_mat k, struct aqm_mat v, struct aqm_mat o);

/* activation.cu */
void aqm_cuda_glu_forward(aqm_device *device, enum aqm_glu kind, struct aqm_mat gate, struct aqm_mat up,
                          struct aqm_mat y);
void aqm_cuda_glu_backward(aqm_device *device, enum aqm_glu kind, struct aqm_mat dy, struct aqm_mat gate,
                           struct aqm_mat up, struct aqm_mat dgate, struct aqm_mat dup);
void aqm_cuda_activation_forward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat x,
                                 struct aqm_mat y);
void aqm_cuda_activation_backward(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat dy,
                                  struct aqm_mat x, struct aqm_mat dx);
void aqm_cuda_dropout(aqm_device *device, float p, uint64_t seed, uint32_t step, uint32_t ordinal, int64_t first_row,
                      struct aqm_mat x, struct aqm_mat y);

/* loss.cu */
double aqm_cuda_cross_entropy(aqm_device *device, struct aqm_mat logits, const int32_t *label, const float *weight,
                              struct aqm_mat dlogits);
double aqm_cuda_squared_error(aqm_device *device, struct aqm_mat outputs, const int32_t *counts, const float *target,
                              struct aqm_mat doutputs);

/* optimizer.cu */
double aqm_cuda_sum_squares(aqm_device *device, const float *x, size_t n);
void aqm_cuda_adamw(aqm_device *device, size_t n, float *x, const float *g, float *m, float *v, float gradient_scale,
                    float lr, float beta1, float beta2, float epsilon, float weight_decay, float correction1,
                    float correction2);

#ifdef __cplusplus
}
#endif

#endif
