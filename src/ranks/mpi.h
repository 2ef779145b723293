/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The calls of MPI that are used, with our errors. Only ranks/ includes this.
 */
#ifndef AQM_RANKS_MPI_H
#define AQM_RANKS_MPI_H

#include <stdbool.h>
#include <stddef.h>

int aqm_mpi_join(int *rank, int *size, int *local_rank, int *local_size);
void aqm_mpi_leave(void);
/* Threads other than the first may call MPI too. */
bool aqm_mpi_has_threads(void);

/* mine, first: two ints, whether it is good and the rank. The first rank that is not good; a good one if all are. */
int aqm_mpi_first_bad(const void *mine, void *first);
int aqm_mpi_broadcast(void *data, size_t bytes, int from);
int aqm_mpi_sum_doubles(double *values, size_t count);
int aqm_mpi_sum_floats(float *values, size_t count);
int aqm_mpi_sum_begin(float *values, size_t count, void **request);
int aqm_mpi_test(void **requests, size_t count);
int aqm_mpi_wait(void **requests, size_t count);

/* Turns: the others ask rank 0 for a number. */
int aqm_mpi_ask(size_t *number);
/* One question, if there is one: *who asks; else -1. */
int aqm_mpi_asked(int *who);
int aqm_mpi_answer(int who, size_t number);

#endif
