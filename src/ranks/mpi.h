/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The calls of MPI that are used, with our errors. Only ranks/ includes this.
 */
#ifndef AQM_RANKS_MPI_H
#define AQM_RANKS_MPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int aqm_mpi_join(int *rank, int *size, int *local_rank, int *local_size);
void aqm_mpi_leave(void);
/* Threads other than the first may call MPI too. */
bool aqm_mpi_has_threads(void);

enum { AQM_MPI_PAUSE = 200000 }; /* ns between two looks: waiting inside MPI would spin */
/* Asleep between looks. */
int aqm_mpi_barrier(void);
/* mine, first: two ints, whether it is good and the rank. The first rank that is not good; a good one if all are. */
int aqm_mpi_first_bad(const void *mine, void *first);
int aqm_mpi_broadcast(void *data, size_t bytes, int from);
int aqm_mpi_sum_doubles(double *values, size_t count);
int aqm_mpi_sum_floats(float *values, size_t count);
int aqm_mpi_sum_begin(float *values, size_t count, void **request);
int aqm_mpi_test(void **requests, size_t count);
int aqm_mpi_wait(void **requests, size_t count);

/* Turns: the others talk to rank 0, each message with a kind, a number, and bytes behind it. */
enum aqm_mpi_kind { AQM_MPI_ASK, AQM_MPI_RESULT, AQM_MPI_STOP, AQM_MPI_BYE };
int aqm_mpi_tell(enum aqm_mpi_kind kind, uint64_t number, const void *data, size_t bytes);
/* What rank 0 answers to AQM_MPI_ASK. */
int aqm_mpi_answer(int who, uint64_t number);
int aqm_mpi_await_answer(uint64_t *number);
/* On rank 0: one message, if there is one: *who it is from, else -1. *data is the caller's to free. */
int aqm_mpi_hear(int *who, enum aqm_mpi_kind *kind, uint64_t *number, void **data, size_t *bytes);

#endif
