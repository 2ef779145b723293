/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The part of NCCL that src/compute/cuda/nccl.cu uses, for a machine that has none: names and numbers are those of NCCL 2, what
 * they do is in fake_nccl.cc.
 */
#ifndef AQM_TESTS_NCCL_EMULATED_H
#define AQM_TESTS_NCCL_EMULATED_H

#include <cuda_runtime.h>

#define NCCL_UNIQUE_ID_BYTES 128
typedef struct {
	char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;
typedef struct ncclComm *ncclComm_t;
typedef enum {
	ncclSuccess = 0,
	ncclSystemError = 2,
	ncclInvalidUsage = 5,
	ncclRemoteError = 6,
} ncclResult_t;
typedef enum { ncclFloat32 = 7 } ncclDataType_t;
typedef enum { ncclSum = 0 } ncclRedOp_t;

extern "C" {
ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank);
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error);
ncclResult_t ncclCommAbort(ncclComm_t comm);
ncclResult_t ncclCommDestroy(ncclComm_t comm);
ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream);
const char *ncclGetErrorString(ncclResult_t result);
}

#endif
