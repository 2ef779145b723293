/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sums over the GPUs of several processes, by NCCL. The library is loaded when it is asked for, as cublasLt is.
 */
#ifndef AQM_COMPUTE_COLLECTIVE_H
#define AQM_COMPUTE_COLLECTIVE_H

#include "compute/device.h"

enum { AQM_COLLECTIVE_ID_BYTES = 128 };

typedef struct aqm_collective aqm_collective;

/* One process makes the name of the group, the others are told of it. AQM_ERUN where there is no NCCL. */
int aqm_collective_id(unsigned char id[AQM_COLLECTIVE_ID_BYTES]);
/* What this process needs to be in a group: nothing that another one takes part in. 0 or AQM_ERUN; AQM_EUSAGE for a
 * device without memory of its own. */
int aqm_collective_open(aqm_collective **out, aqm_device *device);
/* All processes of the group, each with its own GPU, once every one of them is known to have opened: they wait for
 * each other. */
int aqm_collective_join(aqm_collective *collective, int rank, int size, const unsigned char id[AQM_COLLECTIVE_ID_BYTES]);
/* Out of the group without the others, who may not be in it, or be gone: sums that are under way end as they are. NULL
 * is fine. */
void aqm_collective_leave(aqm_collective *collective);
/* All that are in the group. NULL is fine. */
void aqm_collective_close(aqm_collective *collective);
/* All: values (device memory) become their sum over the group, behind the work that the device has been given so far
 * and beside what it is given from now on. */
int aqm_collective_sum(aqm_collective *collective, float *values, size_t count);
/* Wait for the sums. AQM_ERUN when this or another process cannot go on, which may be seen by some only: all leave
 * then. */
int aqm_collective_finish(aqm_collective *collective);

#endif
