/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The part of CUDA's runtime that src/compute/cuda/ uses, for a machine without a GPU: its sources are compiled as
 * plain C++ with this header in place of the real one. A kernel runs block after block; the threads of a block are
 * fibers that give way at barriers and where a warp works together. It is slow and shows nothing about speed, but
 * indexing, masks, tails, fragments and most missing barriers (AQM_EMULATE=backwards runs the threads from the last
 * to the first) are the real ones.
 */
#ifndef AQM_TESTS_CUDA_EMULATED_H
#define AQM_TESTS_CUDA_EMULATED_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static /* blocks run one after the other */
#define AQM_DYNAMIC_SHARED extern

struct dim3 {
	unsigned x, y, z;
	dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct uint3 {
	unsigned x, y, z;
};
struct alignas(16) uint4 {
	unsigned x, y, z, w;
};
struct alignas(8) uint2 {
	unsigned x, y;
};
struct alignas(16) float4 {
	float x, y, z, w;
};
struct alignas(8) float2 {
	float x, y;
};
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
	return uint4{x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
	return uint2{x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
	return float4{x, y, z, w};
}
static inline float2 make_float2(float x, float y)
{
	return float2{x, y};
}

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

/* ---- threads together ---- */

void __syncthreads(void);
/* All 32 lanes of a warp meet; the last to come calls `combine` with what each brought, in the order of lanes. `what`
 * must be the same for all. */
void emulated_meet(const char *what, void *mine, void (*combine)(void **lanes));
static inline void __syncwarp(unsigned = 0xffffffffu)
{
	emulated_meet("syncwarp", NULL, [](void **) {});
}

template <typename T> struct emulated_shuffle {
	T value, result;
	int from;
};
template <typename T> static T emulated_shuffle_from(T value, int lane)
{
	emulated_shuffle<T> mine = {value, value, lane};

	emulated_meet("shuffle", &mine, [](void **lanes) {
		for (int i = 0; i < 32; i++) {
			emulated_shuffle<T> *own = (emulated_shuffle<T> *)lanes[i];
			own->result = ((emulated_shuffle<T> *)lanes[own->from])->value;
		}
	});
	return mine.result;
}
template <typename T> static T __shfl_xor_sync(unsigned, T value, int mask)
{
	return emulated_shuffle_from(value, (int)(threadIdx.x % 32) ^ mask);
}
template <typename T> static T __shfl_sync(unsigned, T value, int lane)
{
	return emulated_shuffle_from(value, lane & 31);
}

/* ---- the host's side ---- */

typedef int cudaError_t;
typedef struct emulated_stream *cudaStream_t;
enum {
	cudaSuccess = 0,
	cudaErrorMemoryAllocation = 2,
	cudaErrorNoDevice = 100,
	cudaErrorNotReady = 600,
	cudaErrorNotSupported = 801,
	cudaStreamNonBlocking = 1,
	cudaEventDisableTiming = 2,
	cudaStreamCaptureModeRelaxed = 2,
	cudaDevAttrMultiProcessorCount = 16,
	cudaDevAttrComputeCapabilityMajor = 75,
	cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };

struct cudaLaunchConfig_t {
	dim3 gridDim, blockDim;
	size_t dynamicSmemBytes;
	cudaStream_t stream;
};

const char *cudaGetErrorString(cudaError_t code);
/* What the program has not written is NaN; a page that must not be touched lies behind every allocation. */
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *memory);
template <typename T> static cudaError_t cudaMalloc(T **out, size_t bytes)
{
	return cudaMalloc((void **)out, bytes);
}
static inline cudaError_t cudaMallocHost(void **out, size_t bytes)
{
	return (*out = malloc(bytes)) ? cudaSuccess : cudaErrorMemoryAllocation;
}
static inline cudaError_t cudaFreeHost(void *memory)
{
	free(memory);
	return cudaSuccess;
}
static inline cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
	*available = *total = (size_t)1 << 30;
	return cudaSuccess;
}
/* Something that the device does: whatever waits for an event waits for what was done before it. */
void emulated_work(const char *what);
void emulated_not_captured(const char *what);
static inline cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t)
{
	emulated_work("memset");
	memset(to, byte, bytes);
	return cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t)
{
	emulated_work("memcpy");
	memcpy(to, from, bytes);
	return cudaSuccess;
}
/* Kernels and copies run when they are launched, on whatever stream. Only what a library has queued runs later, when somebody waits
 * for it or asks. */
struct emulated_stream {
	/* For libraries, which need not be linked with the emulation. work is called until it says that it is done. */
	void (*queue)(struct emulated_stream *stream, bool (*work)(void *context), void *context);
	bool (*is_behind_all)(const struct emulated_stream *stream); /* what the device has done so far */
	bool (*is_memory)(const void *memory, size_t bytes);         /* of the device */
	struct emulated_queued *first;
	uint64_t behind;
};
typedef struct emulated_event *cudaEvent_t;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamQuery(cudaStream_t);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
static inline cudaError_t cudaGetDeviceCount(int *count)
{
	*count = 1;
	return cudaSuccess;
}
static inline cudaError_t cudaSetDevice(int)
{
	return cudaSuccess;
}
static inline cudaError_t cudaDeviceGetAttribute(int *value, int attribute, int)
{
	*value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 3;
	return cudaSuccess;
}
static inline cudaError_t cudaGetLastError(void)
{
	return cudaSuccess;
}
/* Graphs: kernels with their arguments, as they were when they were captured. Whatever a graph cannot hold ends the program. */
typedef struct emulated_graph *cudaGraph_t;
typedef struct emulated_graph *cudaGraphExec_t;
cudaError_t cudaStreamBeginCapture(cudaStream_t, int);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, int);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t);
static inline cudaError_t cudaGraphDestroy(cudaGraph_t)
{
	return cudaSuccess; /* the executable is the graph itself */
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);
template <typename F> static cudaError_t cudaFuncSetAttribute(F *, int, int)
{
	return cudaSuccess;
}

/* Run a kernel, or, while capturing, keep it with a copy of `context`. */
void emulated_launch(const cudaLaunchConfig_t &config, void (*thread)(void *), const void *context, size_t bytes);
/* Ends the program while capturing. */
void emulated_not_captured(const char *what);

template <typename... Parameters, typename... Arguments>
static cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                                      Arguments &&...arguments)
{
	auto call = [=]() { kernel(arguments...); };
	typedef decltype(call) closure;

	emulated_launch(*config, [](void *context) { (*(closure *)context)(); }, &call, sizeof call);
	return cudaSuccess;
}

#endif
