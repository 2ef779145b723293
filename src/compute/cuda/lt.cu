/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Products by cublasLt. The library is loaded when the device is opened, so that the program starts where there is
 * none. What cublasLt finds for a shape is kept: a step asks it once for each shape, in the first step.
 *
 * cublasLt thinks in columns: our row-major C = op(A) op(B) is its C^T = op(B)^T op(A)^T, so A and B change places
 * and nothing is transposed that was not. Sums that are split among blocks go through the workspace, in float32 and
 * in order.
 */
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "compute/cuda/kernel.cuh"

#define TEXT(x) #x
#define NAME(version) "libcublasLt.so." TEXT(version)
static const char library_name[] = NAME(CUBLAS_VER_MAJOR);
/* Where it may lie when the loader does not know it; AQM_CUDA_LIBRARIES: of the toolkit that this was built with. */
static const char *const folders[] = {NULL, AQM_CUDA_LIBRARIES, "/usr/local/cuda/lib64"};

enum { WORKSPACE = 32 << 20, SLOTS = 4096 };

#define FUNCTIONS(F)                        \
	F(cublasLtCreate)                       \
	F(cublasLtDestroy)                      \
	F(cublasLtMatmulDescCreate)             \
	F(cublasLtMatmulDescDestroy)            \
	F(cublasLtMatmulDescSetAttribute)       \
	F(cublasLtMatrixLayoutCreate)           \
	F(cublasLtMatrixLayoutDestroy)          \
	F(cublasLtMatmulPreferenceCreate)       \
	F(cublasLtMatmulPreferenceDestroy)      \
	F(cublasLtMatmulPreferenceSetAttribute) \
	F(cublasLtMatmulAlgoGetHeuristic)       \
	F(cublasLtMatmul)                       \
	F(cublasLtGetStatusString)

/* All that the choice of an algorithm depends on. Compared byte by byte: no padding. */
struct shape {
	int64_t m, n, k, lda, ldb, ldc; /* in cublasLt's order */
	uint32_t align_a, align_b, align_c, align_bias;
	uint8_t transpose_a, transpose_b, bfloat, bfloat_c, bias, accumulates, rest[2];
};

struct plan {
	struct shape shape;
	bool used, works;
	cublasLtMatmulDesc_t product;
	cublasLtMatrixLayout_t a, b, c;
	cublasLtMatmulAlgo_t algorithm;
};

struct aqm_lt {
	void *library;
#define MEMBER(name) decltype(&::name) name;
	struct {
		FUNCTIONS(MEMBER)
	} f;
#undef MEMBER
	cublasLtHandle_t handle;
	void *workspace;
	struct plan plans[SLOTS];
	int count;
};

/* Loaded once and kept: a library of kernels is not made to be unloaded, and loading it takes a while. */
static void *open_library(void)
{
	static void *kept;
	char path[1024];

	if (kept)
		return kept;
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		snprintf(path, sizeof path, "%s%s%s", folders[i] ? folders[i] : "", folders[i] ? "/" : "", library_name);
		kept = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		if (kept)
			return kept;
	}
	return NULL;
}

static int load(struct aqm_lt *lt)
{
	lt->library = open_library();
	if (!lt->library)
		return aqm_error_set(AQM_ERUN,
		                     "cannot use device 'cuda': '%s' is missing (it comes with the CUDA toolkit; "
		                     "LD_LIBRARY_PATH may say where it is)",
		                     library_name);
#define LOAD(name)                                                \
	lt->f.name = (decltype(lt->f.name))dlsym(lt->library, #name); \
	if (!lt->f.name)                                              \
		return aqm_error_set(AQM_ERUN, "cannot use device 'cuda': '%s' has no '%s'", library_name, #name);
	FUNCTIONS(LOAD)
#undef LOAD
	return AQM_OK;
}

int aqm_lt_open(struct aqm_lt **out)
{
	struct aqm_lt *lt = (struct aqm_lt *)calloc(1, sizeof *lt);

	*out = NULL;
	if (!lt)
		return aqm_error_set(AQM_ERUN, "not enough memory for a device");
	int code = load(lt);

	if (code == AQM_OK) {
		cublasStatus_t status = lt->f.cublasLtCreate(&lt->handle);

		if (status != CUBLAS_STATUS_SUCCESS)
			code = aqm_error_set(AQM_ERUN, "cannot use device 'cuda': cublasLt: %s",
			                     lt->f.cublasLtGetStatusString(status));
	}
	if (code == AQM_OK && cudaMalloc(&lt->workspace, WORKSPACE) != cudaSuccess) {
		cudaGetLastError();
		code = aqm_error_set(AQM_ERUN, "not enough GPU memory for the workspace of %d bytes", (int)WORKSPACE);
	}
	if (code != AQM_OK) {
		aqm_lt_close(lt);
		return code;
	}
	*out = lt;
	return AQM_OK;
}

size_t aqm_lt_workspace(void)
{
	return WORKSPACE;
}

static void release(struct aqm_lt *lt, struct plan *plan)
{
	if (plan->product)
		lt->f.cublasLtMatmulDescDestroy(plan->product);
	if (plan->a)
		lt->f.cublasLtMatrixLayoutDestroy(plan->a);
	if (plan->b)
		lt->f.cublasLtMatrixLayoutDestroy(plan->b);
	if (plan->c)
		lt->f.cublasLtMatrixLayoutDestroy(plan->c);
	memset(plan, 0, sizeof *plan);
}

static void forget_plans(struct aqm_lt *lt)
{
	for (int i = 0; i < SLOTS; i++)
		release(lt, &lt->plans[i]);
	lt->count = 0;
}

void aqm_lt_close(struct aqm_lt *lt)
{
	if (!lt)
		return;
	if (lt->handle) {
		forget_plans(lt);
		lt->f.cublasLtDestroy(lt->handle);
	}
	cudaFree(lt->workspace);
	free(lt);
}

/* The largest power of two up to 256 that divides an address. */
static uint32_t alignment_of(const void *p)
{
	uintptr_t address = (uintptr_t)p | 256;

	return (uint32_t)(address & -address);
}

static struct shape shape_of(struct aqm_mat a, bool transpose_a, struct aqm_mat b, bool transpose_b, float beta,
                             struct aqm_mat c, struct aqm_mat bias)
{
	struct shape s;

	memset(&s, 0, sizeof s);
	s.m = c.cols;
	s.n = c.rows;
	s.k = transpose_a ? a.rows : a.cols;
	s.lda = b.ld;
	s.ldb = a.ld;
	s.ldc = c.ld;
	s.align_a = alignment_of(b.data);
	s.align_b = alignment_of(a.data);
	s.align_c = alignment_of(c.data);
	s.align_bias = bias.data ? alignment_of(bias.data) : 0;
	s.transpose_a = transpose_b;
	s.transpose_b = transpose_a;
	s.bfloat = a.dtype == AQM_BF16;
	s.bfloat_c = c.dtype == AQM_BF16;
	s.bias = bias.data != NULL;
	s.accumulates = beta != 0.0f;
	return s;
}

/* FNV-1a */
static uint32_t hash_of(const struct shape *shape)
{
	const uint8_t *bytes = (const uint8_t *)shape;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof *shape; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

/* Stop at the first failure. */
#define TRY(call)                             \
	do {                                      \
		cublasStatus_t status_ = (call);      \
		if (status_ != CUBLAS_STATUS_SUCCESS) \
			return status_;                   \
	} while (0)

static cublasStatus_t describe(struct aqm_lt *lt, struct plan *plan)
{
	const struct shape *s = &plan->shape;
	cudaDataType_t type = s->bfloat ? CUDA_R_16BF : CUDA_R_32F, type_c = s->bfloat_c ? CUDA_R_16BF : CUDA_R_32F;
	cublasOperation_t op_a = s->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
					  op_b = s->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;

	TRY(lt->f.cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
	TRY(lt->f.cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
	TRY(lt->f.cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
	if (s->bias) {
		TRY(lt->f.cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
		                                         sizeof epilogue));
		TRY(lt->f.cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type_c,
		                                         sizeof type_c));
	}
	TRY(lt->f.cublasLtMatrixLayoutCreate(&plan->a, type, (uint64_t)(s->transpose_a ? s->k : s->m),
	                                     (uint64_t)(s->transpose_a ? s->m : s->k), s->lda));
	TRY(lt->f.cublasLtMatrixLayoutCreate(&plan->b, type, (uint64_t)(s->transpose_b ? s->n : s->k),
	                                     (uint64_t)(s->transpose_b ? s->k : s->n), s->ldb));
	return lt->f.cublasLtMatrixLayoutCreate(&plan->c, type_c, (uint64_t)s->m, (uint64_t)s->n, s->ldc);
}

static cublasStatus_t prefer(struct aqm_lt *lt, const struct shape *s, cublasLtMatmulPreference_t preference)
{
	size_t workspace = WORKSPACE;
	uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;

#define PREFER(attribute, value)                                                                           \
	TRY(lt->f.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_##attribute, &(value), \
	                                               sizeof(value)))
	PREFER(MAX_WORKSPACE_BYTES, workspace);
	PREFER(REDUCTION_SCHEME_MASK, reductions);
	PREFER(MIN_ALIGNMENT_A_BYTES, s->align_a);
	PREFER(MIN_ALIGNMENT_B_BYTES, s->align_b);
	PREFER(MIN_ALIGNMENT_C_BYTES, s->align_c);
	PREFER(MIN_ALIGNMENT_D_BYTES, s->align_c);
#undef PREFER
	return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t choose(struct aqm_lt *lt, struct plan *plan)
{
	cublasLtMatmulPreference_t preference;
	cublasLtMatmulHeuristicResult_t best;
	int found = 0;

	TRY(describe(lt, plan));
	TRY(lt->f.cublasLtMatmulPreferenceCreate(&preference));
	cublasStatus_t status = prefer(lt, &plan->shape, preference);

	if (status == CUBLAS_STATUS_SUCCESS)
		status = lt->f.cublasLtMatmulAlgoGetHeuristic(lt->handle, plan->product, plan->a, plan->b, plan->c, plan->c,
		                                              preference, 1, &best, &found);
	lt->f.cublasLtMatmulPreferenceDestroy(preference);
	plan->works = status == CUBLAS_STATUS_SUCCESS && found > 0 && best.state == CUBLAS_STATUS_SUCCESS;
	if (plan->works)
		plan->algorithm = best.algo;
	return status;
}

/* The plan of a shape, made when it is seen first. */
static struct plan *plan_of(struct aqm_lt *lt, const struct shape *shape)
{
	uint32_t i = hash_of(shape) % SLOTS;

	for (; lt->plans[i].used; i = (i + 1) % SLOTS)
		if (memcmp(&lt->plans[i].shape, shape, sizeof *shape) == 0)
			return &lt->plans[i];
	if (lt->count >= SLOTS / 2) {
		forget_plans(lt);
		i = hash_of(shape) % SLOTS;
	}
	struct plan *plan = &lt->plans[i];

	plan->shape = *shape;
	plan->used = true;
	lt->count++;
	choose(lt, plan); /* a shape that has nothing keeps that answer */
	return plan;
}

bool aqm_lt_gemm(aqm_device *device, struct aqm_lt *lt, float alpha, struct aqm_mat a, bool transpose_a,
                 struct aqm_mat b, bool transpose_b, float beta, struct aqm_mat c, struct aqm_mat bias)
{
	struct shape shape = shape_of(a, transpose_a, b, transpose_b, beta, c, bias);
	struct plan *plan = plan_of(lt, &shape);

	if (!plan->works)
		return false;
	cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

	if (bias.data)
		status = lt->f.cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.data,
		                                              sizeof bias.data);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = lt->f.cublasLtMatmul(lt->handle, plan->product, &alpha, b.data, plan->a, a.data, plan->b, &beta,
		                              c.data, plan->c, c.data, plan->c, &plan->algorithm, lt->workspace, WORKSPACE,
		                              aqm_cuda_of(device)->stream);
	if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
		plan->works = false; /* refused before anything was queued */
		return false;
	}
	if (status != CUBLAS_STATUS_SUCCESS)
		aqm_cuda_fail(device, "gemm", lt->f.cublasLtGetStatusString(status));
	return true;
}
