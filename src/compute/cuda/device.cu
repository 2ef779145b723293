/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The CUDA device: opening and closing, memory, errors, its table.
 */
#include <stdio.h>
#include <stdlib.h>

#include "compute/cuda/kernel.cuh"

enum { STAGING_BYTES = 256 << 10, STAGED_UPLOAD = 16 << 10, SCRATCH_ALIGNMENT = 256 };

void aqm_cuda_fail(aqm_device *device, const char *what, const char *why)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);

	if (cuda->failed != AQM_OK)
		return;
	cuda->failed = AQM_ERUN;
	snprintf(cuda->message, sizeof cuda->message, "the GPU failed in '%s': %s", what, why);
}

static bool succeeded(aqm_device *device, const char *what, cudaError_t code)
{
	if (code == cudaSuccess)
		return true;
	cudaGetLastError();
	aqm_cuda_fail(device, what, cudaGetErrorString(code));
	return false;
}

static void wait(aqm_device *device, const char *what)
{
	succeeded(device, what, cudaStreamSynchronize(aqm_cuda_of(device)->stream));
}

/* ---- memory ---- */

int aqm_cuda_allocate(aqm_device *device, size_t bytes, void **out)
{
	size_t available = 0, total = 0;

	*out = NULL;
	cudaError_t code = cudaMalloc(out, bytes ? bytes : 1);

	if (code != cudaSuccess) {
		cudaGetLastError();
		cudaMemGetInfo(&available, &total);
		return aqm_error_set(AQM_ERUN, "not enough GPU memory for %zu bytes: %zu of %zu are free (%s)", bytes,
		                     available, total, cudaGetErrorString(code));
	}
	succeeded(device, "allocate", cudaMemsetAsync(*out, 0, bytes, aqm_cuda_of(device)->stream));
	return AQM_OK;
}

void aqm_cuda_release(aqm_device *device, void *memory)
{
	succeeded(device, "release", cudaFree(memory)); /* waits for what still uses it */
}

/* Free it, or, while recordings may write there, later. */
static void retire(aqm_device *device, void *memory)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);
	void **grown = NULL;

	if (memory && cuda->recordings > 0) {
		grown = (void **)realloc(cuda->retired, (size_t)(cuda->retired_count + 1) * sizeof *grown);
		if (!grown) {
			aqm_cuda_fail(device, "scratch", "no memory");
			return;
		}
		cuda->retired = grown;
		cuda->retired[cuda->retired_count++] = memory;
		return;
	}
	succeeded(device, "scratch", cudaFree(memory));
}

static void free_retired(struct aqm_cuda *cuda)
{
	for (int i = 0; i < cuda->retired_count; i++)
		cudaFree(cuda->retired[i]);
	free(cuda->retired);
	cuda->retired = NULL;
	cuda->retired_count = 0;
}

void *aqm_cuda_scratch(aqm_device *device, enum aqm_cuda_scratch kind, size_t bytes)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);

	if (bytes <= cuda->scratch[kind].bytes)
		return cuda->scratch[kind].memory;
	bytes = (bytes + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
	wait(device, "scratch");
	retire(device, cuda->scratch[kind].memory);
	cuda->scratch[kind].memory = NULL;
	cuda->scratch[kind].bytes = 0;
	if (!succeeded(device, "scratch", cudaMalloc(&cuda->scratch[kind].memory, bytes)))
		return NULL;
	cuda->scratch[kind].bytes = bytes;
	return cuda->scratch[kind].memory;
}

static int staging_grow(aqm_device *device, size_t bytes)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);

	cudaFreeHost(cuda->staging);
	cudaFree(cuda->staged);
	cuda->staging = cuda->staged = NULL;
	cuda->staging_bytes = cuda->staging_used = 0;
	if (!succeeded(device, "staging", cudaMallocHost((void **)&cuda->staging, bytes)) ||
	    !succeeded(device, "staging", cudaMalloc((void **)&cuda->staged, bytes)))
		return AQM_ERUN;
	cuda->staging_bytes = bytes;
	return AQM_OK;
}

/* `bytes` of pinned memory that no queued copy reads any more; NULL: no memory, noted. */
static char *staging_take(aqm_device *device, size_t bytes)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);

	bytes = (bytes + 15) / 16 * 16;
	if (cuda->staging_used + bytes > cuda->staging_bytes) {
		wait(device, "staging");
		cuda->staging_used = 0;
		if (bytes > cuda->staging_bytes && staging_grow(device, 2 * bytes) != AQM_OK)
			return NULL;
	}
	cuda->staging_used += bytes;
	return cuda->staging + (cuda->staging_used - bytes);
}

void *aqm_cuda_stage(aqm_device *device, const void *first, size_t first_bytes, const void *second, size_t second_bytes)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);
	size_t offset = (first_bytes + 15) / 16 * 16, bytes = offset + second_bytes;
	char *host = staging_take(device, bytes);

	if (!host)
		return NULL;
	memcpy(host, first, first_bytes);
	if (second_bytes)
		memcpy(host + offset, second, second_bytes);
	char *twin = cuda->staged + (host - cuda->staging);

	succeeded(device, "staging", cudaMemcpyAsync(twin, host, bytes, cudaMemcpyHostToDevice, cuda->stream));
	return twin;
}

void aqm_cuda_upload(aqm_device *device, void *to, const void *from_host, size_t bytes)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);
	char *host = bytes > 0 && bytes <= STAGED_UPLOAD ? staging_take(device, bytes) : NULL;

	if (bytes == 0)
		return;
	if (host)
		memcpy(host, from_host, bytes);
	succeeded(device, "upload",
	          cudaMemcpyAsync(to, host ? host : from_host, bytes, cudaMemcpyHostToDevice, cuda->stream));
	if (!host)
		wait(device, "upload");
}

void aqm_cuda_download(aqm_device *device, void *to_host, const void *from, size_t bytes)
{
	if (bytes == 0)
		return;
	succeeded(device, "download",
	          cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, aqm_cuda_of(device)->stream));
	wait(device, "download");
}

/* ---- recordings ---- */

static int failed_recording(const char *what, cudaError_t code)
{
	cudaGetLastError();
	return aqm_error_set(AQM_ERUN, "the GPU cannot %s a recording: %s", what, cudaGetErrorString(code));
}

static int record(aqm_device *device)
{
	/* relaxed: what the runtime allocates by itself meanwhile is no part of it */
	cudaError_t code = cudaStreamBeginCapture(aqm_cuda_of(device)->stream, cudaStreamCaptureModeRelaxed);

	return code == cudaSuccess ? AQM_OK : failed_recording("begin", code);
}

static int recorded(aqm_device *device, void **out)
{
	cudaGraph_t graph = NULL;
	cudaGraphExec_t executable = NULL;
	cudaError_t code = cudaStreamEndCapture(aqm_cuda_of(device)->stream, &graph);

	*out = NULL;
	if (code == cudaSuccess)
		code = cudaGraphInstantiate(&executable, graph, 0);
	if (graph)
		cudaGraphDestroy(graph);
	if (code != cudaSuccess)
		return failed_recording("end", code);
	*out = executable;
	aqm_cuda_of(device)->recordings++;
	return AQM_OK;
}

static void replay(aqm_device *device, void *recording)
{
	succeeded(device, "replay", cudaGraphLaunch((cudaGraphExec_t)recording, aqm_cuda_of(device)->stream));
}

static void forget(aqm_device *device, void *recording)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);

	if (!recording)
		return;
	wait(device, "forget");
	succeeded(device, "forget", cudaGraphExecDestroy((cudaGraphExec_t)recording));
	if (--cuda->recordings == 0)
		free_retired(cuda);
}

/* ---- opening and closing ---- */

static size_t available(aqm_device *device)
{
	size_t bytes = 0, total = 0;

	return succeeded(device, "memory", cudaMemGetInfo(&bytes, &total)) ? bytes : SIZE_MAX;
}

static int check(aqm_device *device)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);

	wait(device, "check");
	int code = cuda->failed;

	cuda->failed = AQM_OK;
	return code == AQM_OK ? AQM_OK : aqm_error_set(code, "%s", cuda->message);
}

static void close_device(aqm_device *device)
{
	struct aqm_cuda *cuda = aqm_cuda_of(device);

	if (cuda->stream)
		cudaStreamSynchronize(cuda->stream);
	aqm_lt_close(cuda->lt);
	for (int i = 0; i < AQM_SCRATCH_KINDS; i++)
		cudaFree(cuda->scratch[i].memory);
	free_retired(cuda);
	cudaFreeHost(cuda->staging);
	cudaFree(cuda->staged);
	if (cuda->stream)
		cudaStreamDestroy(cuda->stream);
	free(cuda);
	device->context = NULL;
}

/* A GPU that the kernels are built for. */
static int find_gpu(struct aqm_cuda *cuda)
{
	int count = 0, major = 0;
	cudaError_t code = cudaGetDeviceCount(&count);

	if (code != cudaSuccess || count == 0) {
		cudaGetLastError();
		return aqm_error_set(AQM_ERUN, "cannot use device 'cuda': no GPU (%s)",
		                     cudaGetErrorString(code == cudaSuccess ? cudaErrorNoDevice : code));
	}
	int index = aqm_device_preferred() % count;
	code = cudaSetDevice(index);
	if (code == cudaSuccess)
		code = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
	if (code == cudaSuccess)
		code = cudaDeviceGetAttribute(&cuda->processors, cudaDevAttrMultiProcessorCount, index);
	if (code == cudaSuccess && major < 9)
		return aqm_error_set(
			AQM_ERUN, "cannot use device 'cuda': the GPU's compute capability is %d.x, wanted 9.0 or newer", major);
	if (code == cudaSuccess)
		code = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
	if (code != cudaSuccess) {
		cudaGetLastError();
		return aqm_error_set(AQM_ERUN, "cannot use device 'cuda': %s", cudaGetErrorString(code));
	}
	return AQM_OK;
}

int aqm_cuda_open(aqm_device *device)
{
	struct aqm_cuda *cuda = (struct aqm_cuda *)calloc(1, sizeof *cuda);

	if (!cuda)
		return aqm_error_set(AQM_ERUN, "not enough memory for a device");
	device->ops = &aqm_cuda_ops;
	device->context = cuda;
	int code = find_gpu(cuda);

	if (code == AQM_OK)
		code = aqm_lt_open(&cuda->lt);
	if (code == AQM_OK && staging_grow(device, STAGING_BYTES) != AQM_OK)
		code = aqm_error_set(AQM_ERUN, "%s", cuda->message);
	if (code != AQM_OK)
		close_device(device);
	device->workspace = aqm_lt_workspace() + STAGING_BYTES;
	return code;
}

const struct aqm_ops aqm_cuda_ops = {
	.name = "cuda",
	.allocate = aqm_cuda_allocate,
	.release = aqm_cuda_release,
	.upload = aqm_cuda_upload,
	.download = aqm_cuda_download,
	.zero = aqm_cuda_zero,
	.copy = aqm_cuda_copy,
	.axpy = aqm_cuda_axpy,
	.scale = aqm_cuda_scale,
	.gemm = aqm_cuda_gemm,
	.gemm_bias = aqm_cuda_gemm_bias,
	.linear_few = aqm_cuda_linear_few,
	.linear_few_int8 = aqm_cuda_linear_few,
	.expand = aqm_cuda_expand,
	.bias_forward = aqm_cuda_bias_forward,
	.bias_backward = aqm_cuda_bias_backward,
	.rmsnorm_forward = aqm_cuda_rmsnorm_forward,
	.rmsnorm_backward = aqm_cuda_rmsnorm_backward,
	.layernorm_forward = aqm_cuda_layernorm_forward,
	.layernorm_backward = aqm_cuda_layernorm_backward,
	.rope = aqm_cuda_rope,
	.add_positions = aqm_cuda_add_positions,
	.append = aqm_cuda_append,
	.attention_forward = aqm_cuda_attention_forward,
	.attention_backward = aqm_cuda_attention_backward,
	.attention_cached = aqm_cuda_attention_cached,
	.glu_forward = aqm_cuda_glu_forward,
	.glu_backward = aqm_cuda_glu_backward,
	.activation_forward = aqm_cuda_activation_forward,
	.activation_backward = aqm_cuda_activation_backward,
	.dropout = aqm_cuda_dropout,
	.gather = aqm_cuda_gather,
	.scatter_add = aqm_cuda_scatter_add,
	.cross_entropy = aqm_cuda_cross_entropy,
	.squared_error = aqm_cuda_squared_error,
	.sum_squares = aqm_cuda_sum_squares,
	.adamw = aqm_cuda_adamw,
	.record = record,
	.recorded = recorded,
	.replay = replay,
	.forget = forget,
	.available = available,
	.check = check,
	.close = close_device,
};
