/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A device and its ops table: the one place where it matters on what the numbers are computed. Model code calls
 * device->ops->x(device, ...) and never asks which device it is on. The CPU op is the oracle of the CUDA op.
 *
 * Conventions, for every op:
 *  - a matrix is row-major; rows are tokens wherever tokens occur: (B*T, d), window b's token t in row b*T + t;
 *  - numbers are float32; on a GPU any activation, gradient or operand of a product may be bfloat16 instead (sums stay
 *    float32), but not norm weights, biases, inverse frequencies, mean, rstd, lse, nor what the optimizer has;
 *  - outputs are written (`=`) unless the comment says `+=`; none overlaps an input unless it says "in place";
 *  - an op does not fail: a device that can (CUDA) keeps its first error for aqm_device_check();
 *  - results do not depend on the number of threads where the comment of an op does not say otherwise.
 */
#ifndef AQM_COMPUTE_DEVICE_H
#define AQM_COMPUTE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/config.h"
#include "aqmtrain/gguf.h"

/* A matrix in device memory: rows x cols, `ld` elements from one row to the next. A vector is a matrix of one row.
 * Weights may have any dtype of gguf.h (then ld == cols); what is computed is float32 on the CPU. Passed by value; data
 * == NULL means "absent" where an op's comment allows it. */
struct aqm_mat {
	void *data;
	enum aqm_dtype dtype;
	int64_t rows, cols, ld;
};

typedef struct aqm_device aqm_device;

/* Shape of an attention: B windows of T tokens; queries in `heads` heads of `head_dim`, keys and values in `kv_heads`
 * (grouped-query: head h reads key head h / (heads / kv_heads)). */
struct aqm_attention {
	int64_t windows, tokens;
	int64_t heads, kv_heads, head_dim;
	float scale;
	bool causal;
	/* (heads, 2 reach + 1), or absent: what is added to each score, by the key's position less the query's, from -reach
	 * to reach; farther keys get the nearest end's. */
	struct aqm_mat bias;
};

/* Where a window of new tokens goes on: row `row` of a matrix of caches is the first of its cache, which holds `past` rows. */
struct aqm_place {
	int32_t row, past;
};

enum aqm_activation { AQM_GELU_TANH, AQM_GELU_ERF, AQM_RELU, AQM_LEAKY_RELU };
/* Gated linear units: f(gate) * up with f = SiLU or GELU by tanh (Shazeer, 2020). */
enum aqm_glu { AQM_SWIGLU, AQM_GEGLU };
/* Which pairs RoPE turns: (2i, 2i+1), as GGUF's permuted llama weights need, or (i, i + dim/2). */
enum aqm_rope_pairs { AQM_ROPE_ADJACENT, AQM_ROPE_HALVES };

struct aqm_ops {
	const char *name; /* "cpu" */

	/* Memory of the device. allocate: zeroed, 64-byte aligned; AQM_ERUN when there is not enough. */
	int (*allocate)(aqm_device *device, size_t bytes, void **out);
	void (*release)(aqm_device *device, void *memory);
	void (*upload)(aqm_device *device, void *to, const void *from_host, size_t bytes);
	void (*download)(aqm_device *device, void *to_host, const void *from, size_t bytes);

	void (*zero)(aqm_device *device, struct aqm_mat y);
	void (*copy)(aqm_device *device, struct aqm_mat x, struct aqm_mat y);
	/* y += alpha x */
	void (*axpy)(aqm_device *device, float alpha, struct aqm_mat x, struct aqm_mat y);
	/* y *= alpha */
	void (*scale)(aqm_device *device, float alpha, struct aqm_mat y);

	/* C = alpha op(A) op(B) + beta C; op transposes when the flag is set. All float32. C does not overlap A or B. The
	 * bits may depend on the number of threads (the library's split of the inner sums). beta == 0: what C held is not
	 * read. */
	void (*gemm)(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
	             bool transpose_b, float beta, struct aqm_mat c);
	/* The same, then bias (1, C.cols) added to every row: one pass over C where the device can. */
	void (*gemm_bias)(aqm_device *device, float alpha, struct aqm_mat a, bool transpose_a, struct aqm_mat b,
	                  bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias);
	/* Y (n, out) = X (n, in) W^T + beta Y for few rows n <= 16: W (out, in), of any dtype, is read once and expanded on
	 * the way. */
	void (*linear_few)(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y);
	/* The same with X rounded to 8 bits, on a device that multiplies such numbers faster. Where W is quantised: to int8 and
	 * a scale in blocks of 32 columns, so that an element is off by at most 1/254 of the largest in its block. Where W is
	 * BF16: to bfloat16, off by at most 1/256 of itself. Other types of W, and devices that gain nothing by it: linear_few.
	 */
	void (*linear_few_int8)(aqm_device *device, struct aqm_mat x, struct aqm_mat w, float beta, struct aqm_mat y);
	/* Layers of the same X at once, `count` of them: y[i] = X w[i]^T, as linear_few of each or, with int8,
	 * linear_few_int8. NULL: a device that gains nothing by it. */
	void (*linears_few)(aqm_device *device, struct aqm_mat x, bool int8, int count, const struct aqm_mat *w,
	                    const struct aqm_mat *y);
	/* y (float32) = the elements of w (any dtype); same shape. */
	void (*expand)(aqm_device *device, struct aqm_mat w, struct aqm_mat y);

	/* y += bias on every row. */
	void (*bias_forward)(aqm_device *device, struct aqm_mat bias, struct aqm_mat y);
	/* dbias += column sums of dy. */
	void (*bias_backward)(aqm_device *device, struct aqm_mat dy, struct aqm_mat dbias);

	/* Norms over each row. `residual` (may be absent): x += residual first, in place, so that y = norm(x + residual)
	 * and x keeps the sum. weight (1, d), bias (1, d). rstd, mean: (1, rows), kept for backward. */
	void (*rmsnorm_forward)(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
	                        float epsilon, struct aqm_mat y, struct aqm_mat rstd);
	/* dx += ...; dweight += ... (absent when frozen). */
	void (*rmsnorm_backward)(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
	                         struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight);
	void (*layernorm_forward)(aqm_device *device, struct aqm_mat x, struct aqm_mat residual, struct aqm_mat weight,
	                          struct aqm_mat bias, float epsilon, struct aqm_mat y, struct aqm_mat mean,
	                          struct aqm_mat rstd);
	void (*layernorm_backward)(aqm_device *device, struct aqm_mat dy, struct aqm_mat x, struct aqm_mat weight,
	                           struct aqm_mat mean, struct aqm_mat rstd, struct aqm_mat dx, struct aqm_mat dweight,
	                           struct aqm_mat dbias);

	/* Rotary embedding, in place, on x (B*T, heads*head_dim): token t of a window is at position t, or, with places (of
	 * the B windows, in device memory), at places[b].past + t. The first 2*pairs elements of each head are turned;
	 * inverse_frequency (1, pairs). `backward` turns the other way (the gradient). */
	void (*rope)(aqm_device *device, struct aqm_mat x, int64_t tokens, int64_t head_dim, const struct aqm_place *places,
	             struct aqm_mat inverse_frequency, enum aqm_rope_pairs pairs, bool backward);
	/* x (B*T, d) row b*T + t += the table's row of that position: t, or places[b].past + t. */
	void (*add_positions)(aqm_device *device, struct aqm_mat table, int64_t tokens, const struct aqm_place *places,
	                      struct aqm_mat x);
	/* Streaming: y row places[b].row + places[b].past + t = x row b*T + t. */
	void (*append)(aqm_device *device, struct aqm_mat x, int64_t tokens, const struct aqm_place *places,
	               struct aqm_mat y);

	/* o (B*T, heads*head_dim) = softmax(scale q k^T + bias + mask) v. q, o: heads*head_dim columns; k, v: kv_heads*head_dim
	 * (column slices of a fused qkv are fine). lse (heads, B*T): log-sum-exp of each score row, kept for backward. */
	void (*attention_forward)(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
	                          struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse);
	/* dq, dk, dv = ...; dbias += ... (absent when frozen). */
	void (*attention_backward)(aqm_device *device, struct aqm_attention shape, struct aqm_mat q, struct aqm_mat k,
	                           struct aqm_mat v, struct aqm_mat o, struct aqm_mat lse, struct aqm_mat dout,
	                           struct aqm_mat dq, struct aqm_mat dk, struct aqm_mat dv, struct aqm_mat dbias);
	/* Streaming: windows of shape.tokens new queries q (B*T, heads*head_dim), whose own keys and values have been appended to
	 * the caches k, v: query t of window b sees rows places[b].row .. + places[b].past + t. */
	void (*attention_cached)(aqm_device *device, struct aqm_attention shape, const struct aqm_place *places,
	                         struct aqm_mat q, struct aqm_mat k, struct aqm_mat v, struct aqm_mat o);

	/* y = f(gate) * up; y may be gate's memory. */
	void (*glu_forward)(aqm_device *device, enum aqm_glu kind, struct aqm_mat gate, struct aqm_mat up,
	                    struct aqm_mat y);
	/* dgate, dup = ...; in place over gate and up allowed (dgate == gate, dup == up). */
	void (*glu_backward)(aqm_device *device, enum aqm_glu kind, struct aqm_mat dy, struct aqm_mat gate,
	                     struct aqm_mat up, struct aqm_mat dgate, struct aqm_mat dup);
	/* y = f(x); in place allowed. slope: of leaky ReLU. */
	void (*activation_forward)(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat x,
	                           struct aqm_mat y);
	/* dx = dy f'(x), x being the input of f; in place over dy allowed. */
	void (*activation_backward)(aqm_device *device, enum aqm_activation kind, float slope, struct aqm_mat dy,
	                            struct aqm_mat x, struct aqm_mat dx);

	/* y = x with each element kept with probability 1-p and scaled by 1/(1-p), else 0. Element (r, c) draws word
	 * n = (first_row + r)*cols + c of Philox (seed, AQM_STREAM_DROPOUT, sub = step), that is word n % 4 of block
	 * (ordinal << 32 | n / 4), and is kept if that is at least floor(p 2^32): a pure function, so backward repeats the
	 * mask. 0 <= p < 1. In place allowed. */
	void (*dropout)(aqm_device *device, float p, uint64_t seed, uint32_t step, uint32_t ordinal, int64_t first_row,
	                struct aqm_mat x, struct aqm_mat y);

	/* y row i (+)= table row index[i] (in device memory; < table.rows); add: += instead of =. */
	void (*gather)(aqm_device *device, struct aqm_mat table, const int32_t *index, bool add, struct aqm_mat y);
	/* dtable row index[i] += dy row i, in order of i; index in device memory. */
	void (*scatter_add)(aqm_device *device, struct aqm_mat dy, const int32_t *index, struct aqm_mat dtable);

	/* Weighted cross-entropy over rows of logits (n, classes). label[i] < 0: the row does not count. With W = sum of
	 * weight[label] over counted rows, loss = sum weight[label] (logsumexp - logit[label]) / W, in double; dlogits (may
	 * be absent) = its gradient. weight: classes floats (host). */
	double (*cross_entropy)(aqm_device *device, struct aqm_mat logits, const int32_t *label, const float *weight,
	                        struct aqm_mat dlogits);

	/* Mean over rows of (outputs - target)^2, outputs (n, 1), in double; target: n floats (host). counts[i] < 0: the row
	 * does not count. doutputs (may be absent) = its gradient. */
	double (*squared_error)(aqm_device *device, struct aqm_mat outputs, const int32_t *counts, const float *target,
	                        struct aqm_mat doutputs);

	/* Sum of squares of n floats, in double, in an order that does not depend on threads. */
	double (*sum_squares)(aqm_device *device, const float *x, size_t n);
	/* AdamW (Loshchilov & Hutter) on n floats: g is first scaled by `gradient_scale`; m, v, x updated; bias corrections
	 * 1-beta^t given. */
	void (*adamw)(aqm_device *device, size_t n, float *x, const float *g, float *m, float *v, float gradient_scale,
	              float lr, float beta1, float beta2, float epsilon, float weight_decay, float correction1,
	              float correction2);

	/* What the ops between record() and recorded() do is not done but kept as one piece of work (a CUDA graph), which
	 * replay() does as often as wanted, on the same memory with the same numbers. All of them have run before, on these
	 * shapes; memory, losses and sum_squares are not among them. AQM_ERUN and *out NULL when it
	 * failed. NULL in a device that has none. */
	int (*record)(aqm_device *device);
	int (*recorded)(aqm_device *device, void **out);
	void (*replay)(aqm_device *device, void *recording);
	void (*forget)(aqm_device *device, void *recording);

	/* Behind aqm_device_available(), aqm_device_check() and aqm_device_close(). */
	size_t (*available)(aqm_device *device);
	int (*check)(aqm_device *device);
	void (*close)(aqm_device *device);
};

struct aqm_device {
	const struct aqm_ops *ops;
	enum aqm_dtype dtype; /* of activations: AQM_F32, or AQM_BF16 where the device is faster with it */
	size_t workspace;     /* bytes that it takes for itself, beside what is allocated */
	bool own_memory;      /* host memory must be uploaded before ops can read it; else it is read where it lies */
	void *context;        /* the device's own */
};

/* Devices that are opened from now on are GPU `index`, modulo how many there are: processes of a host share them out. */
void aqm_device_prefer(int index);
int aqm_device_preferred(void);
/* AQM_DEVICE_AUTO falls back to the CPU with a log line; AQM_DEVICE_CUDA without a GPU or in a build without CUDA is
 * AQM_ERUN. */
int aqm_device_open(aqm_device **out, enum aqm_device_kind kind);
/* Choose the type of activations, before any model is opened on the device: auto is bfloat16 on a GPU and float32 on the CPU,
 * which has no other (AQM_EUSAGE). An opened device has float32. */
int aqm_device_choose(aqm_device *device, enum aqm_activations choice);
void aqm_device_close(aqm_device *device);
/* Bytes of its memory that can still be had; SIZE_MAX where unknown. For tests the limit of them all can be set, and taken
 * away again by SIZE_MAX. */
size_t aqm_device_available(aqm_device *device);
void aqm_device_limit(size_t bytes);
/* The first error since the last check: 0 or AQM_ERUN. */
int aqm_device_check(aqm_device *device);

/* ---- matrices ---- */

static inline struct aqm_mat aqm_mat_absent(void)
{
	return (struct aqm_mat){0};
}
/* A dense float32 matrix over memory. */
static inline struct aqm_mat aqm_mat_f32(float *data, int64_t rows, int64_t cols)
{
	return (struct aqm_mat){.data = data, .dtype = AQM_F32, .rows = rows, .cols = cols, .ld = cols};
}
/* Bytes of an element of float32, float16 or bfloat16. */
static inline int64_t aqm_element_bytes(enum aqm_dtype dtype)
{
	return dtype == AQM_BF16 || dtype == AQM_F16 ? 2 : 4;
}
static inline int64_t aqm_mat_element(struct aqm_mat m)
{
	return aqm_element_bytes(m.dtype);
}
/* A dense matrix of such elements. */
static inline struct aqm_mat aqm_mat_of(enum aqm_dtype dtype, void *data, int64_t rows, int64_t cols)
{
	return (struct aqm_mat){.data = data, .dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
}
/* Columns [first, first+count) of such a matrix. */
static inline struct aqm_mat aqm_mat_cols(struct aqm_mat m, int64_t first, int64_t count)
{
	m.data = (char *)m.data + first * aqm_mat_element(m);
	m.cols = count;
	return m;
}
/* Rows [first, first+count) of such a matrix. */
static inline struct aqm_mat aqm_mat_rows(struct aqm_mat m, int64_t first, int64_t count)
{
	m.data = (char *)m.data + first * m.ld * aqm_mat_element(m);
	m.rows = count;
	return m;
}

#endif
