/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sums over GPUs. They run in a stream of their own, which an event makes wait for the gradients that are summed. Who
 * waits for them asks NCCL, too, how it is: where another process has died a sum never ends.
 */
#if __has_include(<nccl.h>)
#include <dlfcn.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "compute/cuda/kernel.cuh"
extern "C" {
#include "compute/collective.h"
}

static_assert(AQM_COLLECTIVE_ID_BYTES == NCCL_UNIQUE_ID_BYTES, "the size of a group's name");

#ifndef AQM_NCCL_LIBRARY
#define AQM_NCCL_LIBRARY "libnccl.so.2"
#endif
enum { PAUSE = 50000 }; /* ns between two looks at a sum */

static const char library_name[] = AQM_NCCL_LIBRARY;
static const char *const folders[] = {NULL, AQM_CUDA_LIBRARIES, "/usr/local/cuda/lib64"};

#define FUNCTIONS(F)         \
	F(ncclGetUniqueId)       \
	F(ncclCommInitRank)      \
	F(ncclCommGetAsyncError) \
	F(ncclCommAbort)         \
	F(ncclCommDestroy)       \
	F(ncclAllReduce)         \
	F(ncclGetErrorString)

#define MEMBER(name) decltype(&::name) name;
struct nccl {
	void *library;
	FUNCTIONS(MEMBER)
};
#undef MEMBER

struct aqm_collective {
	struct nccl f;
	aqm_device *device;
	ncclComm_t group; /* NULL: not joined, or left */
	cudaStream_t stream;
	cudaEvent_t computed;
};

static int load(struct nccl *f)
{
	char path[1024];

	*f = (struct nccl){};
	for (size_t i = 0; !f->library && i < sizeof folders / sizeof *folders; i++) {
		snprintf(path, sizeof path, "%s%s%s", folders[i] ? folders[i] : "", folders[i] ? "/" : "", library_name);
		f->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	}
	if (!f->library)
		return aqm_error_set(AQM_ERUN, "'%s' is missing (it comes with NVIDIA's NCCL; LD_LIBRARY_PATH may say where it is)",
		                     library_name);
#define LOAD(name)                                        \
	f->name = (decltype(f->name))dlsym(f->library, #name); \
	if (!f->name)                                         \
		return aqm_error_set(AQM_ERUN, "'%s' has no '%s'", library_name, #name);
	FUNCTIONS(LOAD)
#undef LOAD
	return AQM_OK;
}

static int check_nccl(const struct nccl *f, ncclResult_t result, const char *what)
{
	if (result == ncclSuccess)
		return AQM_OK;
	return aqm_error_set(AQM_ERUN, "NCCL cannot %s: %s", what, f->ncclGetErrorString(result));
}

static int check_cuda(cudaError_t code, const char *what)
{
	if (code == cudaSuccess)
		return AQM_OK;
	cudaGetLastError();
	return aqm_error_set(AQM_ERUN, "the GPU cannot %s: %s", what, cudaGetErrorString(code));
}

int aqm_collective_id(unsigned char id[AQM_COLLECTIVE_ID_BYTES])
{
	struct nccl f;
	ncclUniqueId made;
	int code = load(&f);

	if (code == AQM_OK)
		code = check_nccl(&f, f.ncclGetUniqueId(&made), "name a group");
	if (code == AQM_OK)
		memcpy(id, made.internal, AQM_COLLECTIVE_ID_BYTES);
	return code; /* the library stays loaded: the name lives in it */
}

int aqm_collective_open(aqm_collective **out, aqm_device *device)
{
	*out = NULL;
	if (!device->own_memory)
		return aqm_error_set(AQM_EUSAGE, "NCCL sums over GPUs, and the device is none");
	struct aqm_collective *c = (struct aqm_collective *)calloc(1, sizeof *c);
	if (!c)
		return aqm_error_set(AQM_ERUN, "not enough memory for a group of GPUs");
	c->device = device;
	int code = load(&c->f);
	if (code == AQM_OK)
		code = check_cuda(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "make a stream");
	if (code == AQM_OK)
		code = check_cuda(cudaEventCreateWithFlags(&c->computed, cudaEventDisableTiming), "make an event");
	if (code != AQM_OK) {
		aqm_collective_close(c);
		return code;
	}
	*out = c;
	return AQM_OK;
}

int aqm_collective_join(aqm_collective *c, int rank, int size, const unsigned char id[AQM_COLLECTIVE_ID_BYTES])
{
	ncclUniqueId name;

	memcpy(name.internal, id, AQM_COLLECTIVE_ID_BYTES);
	int code = check_nccl(&c->f, c->f.ncclCommInitRank(&c->group, size, name, rank), "join the group");

	if (code != AQM_OK)
		c->group = NULL;
	return code;
}

void aqm_collective_leave(aqm_collective *c)
{
	if (!c)
		return;
	if (c->group)
		c->f.ncclCommAbort(c->group);
	c->group = NULL;
}

void aqm_collective_close(aqm_collective *c)
{
	if (!c)
		return;
	if (c->stream)
		cudaStreamSynchronize(c->stream);
	if (c->group)
		c->f.ncclCommDestroy(c->group);
	if (c->computed)
		cudaEventDestroy(c->computed);
	if (c->stream)
		cudaStreamDestroy(c->stream);
	free(c);
}

int aqm_collective_sum(aqm_collective *c, float *values, size_t count)
{
	if (!c->group)
		return aqm_error_set(AQM_ERUN, "the group of GPUs has been left");
	int code = check_cuda(cudaEventRecord(c->computed, aqm_cuda_of(c->device)->stream), "wait for gradients");

	if (code == AQM_OK)
		code = check_cuda(cudaStreamWaitEvent(c->stream, c->computed, 0), "wait for gradients");
	if (code == AQM_OK)
		code = check_nccl(&c->f, c->f.ncclAllReduce(values, values, count, ncclFloat32, ncclSum, c->group, c->stream), "sum");
	return code;
}

int aqm_collective_finish(aqm_collective *c)
{
	const struct timespec pause = {0, PAUSE};
	cudaError_t done = cudaErrorNotReady;
	int code = AQM_OK;

	if (!c->group)
		return aqm_error_set(AQM_ERUN, "the group of GPUs has been left");
	while (code == AQM_OK && done == cudaErrorNotReady) {
		ncclResult_t state = ncclSuccess;

		done = cudaStreamQuery(c->stream);
		code = check_nccl(&c->f, c->f.ncclCommGetAsyncError(c->group, &state), "say how it is");
		if (code == AQM_OK)
			code = check_nccl(&c->f, state, "sum");
		if (code == AQM_OK && done == cudaErrorNotReady)
			nanosleep(&pause, NULL);
	}
	return code == AQM_OK ? check_cuda(done, "sum") : code;
}

#else /* the toolkit has come without NCCL */
#include "compute/cuda/kernel.cuh"
extern "C" {
#include "compute/collective.h"
}
#define AQM_NO_COLLECTIVE "this build has no NCCL"
#include "compute/no_collective.h"
#endif
