/* SPDX-License-Identifier: BSD-2-Clause */
#ifdef AQM_HAVE_MPI
#include "ranks/mpi.h"

#include <limits.h>
#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "aqmtrain/error.h"
#include "base/size.h"

enum { TAG_TELL = 1, TAG_DATA, TAG_ANSWER };

static bool threads;

static int check(int status, const char *what)
{
	char reason[MPI_MAX_ERROR_STRING] = "";
	int length = 0;

	if (status == MPI_SUCCESS)
		return AQM_OK;
	MPI_Error_string(status, reason, &length);
	return aqm_error_set(AQM_ERUN, "MPI cannot %s: %s", what, reason);
}

int aqm_mpi_join(int *rank, int *size, int *local_rank, int *local_size)
{
	MPI_Comm host;
	int provided;
	int code = check(MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided), "start");

	if (code != AQM_OK)
		return code;
	threads = provided == MPI_THREAD_MULTIPLE;
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	MPI_Comm_rank(MPI_COMM_WORLD, rank);
	MPI_Comm_size(MPI_COMM_WORLD, size);
	code = check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, *rank, MPI_INFO_NULL, &host),
	             "find the ranks of a host");
	if (code != AQM_OK)
		return code;
	MPI_Comm_rank(host, local_rank);
	MPI_Comm_size(host, local_size);
	MPI_Comm_free(&host);
	return AQM_OK;
}

void aqm_mpi_leave(void)
{
	int running = 0;

	MPI_Initialized(&running);
	if (running)
		MPI_Finalize();
}

bool aqm_mpi_has_threads(void)
{
	return threads;
}

int aqm_mpi_barrier(void)
{
	const struct timespec pause = {.tv_nsec = AQM_MPI_PAUSE};
	MPI_Request request;
	int done = 0;
	int code = check(MPI_Ibarrier(MPI_COMM_WORLD, &request), "wait for the others");

	while (code == AQM_OK && !done) {
		code = check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "wait for the others");
		if (!done)
			nanosleep(&pause, NULL);
	}
	return code;
}

int aqm_mpi_first_bad(const void *mine, void *first)
{
	return check(MPI_Allreduce(mine, first, 1, MPI_2INT, MPI_MINLOC, MPI_COMM_WORLD), "compare ranks");
}

int aqm_mpi_broadcast(void *data, size_t bytes, int from)
{
	char *at = data;
	int code = AQM_OK;

	for (size_t done = 0; code == AQM_OK && done < bytes;) {
		int n = bytes - done < INT_MAX ? (int)(bytes - done) : INT_MAX;

		code = check(MPI_Bcast(at + done, n, MPI_BYTE, from, MPI_COMM_WORLD), "broadcast");
		done += (size_t)n;
	}
	return code;
}

static int sum(void *values, size_t count, size_t width, MPI_Datatype type)
{
	char *at = values;
	int code = AQM_OK;

	for (size_t done = 0; code == AQM_OK && done < count;) {
		int n = count - done < INT_MAX ? (int)(count - done) : INT_MAX;

		code = check(MPI_Allreduce(MPI_IN_PLACE, at + done * width, n, type, MPI_SUM, MPI_COMM_WORLD), "sum");
		done += (size_t)n;
	}
	return code;
}

int aqm_mpi_sum_doubles(double *values, size_t count)
{
	return sum(values, count, sizeof *values, MPI_DOUBLE);
}

int aqm_mpi_sum_floats(float *values, size_t count)
{
	return sum(values, count, sizeof *values, MPI_FLOAT);
}

int aqm_mpi_sum_begin(float *values, size_t count, void **request)
{
	MPI_Request *made = aqm_calloc_array(1, sizeof *made);

	if (!made)
		return AQM_ERUN;
	if (count > INT_MAX) {
		free(made);
		return aqm_error_set(AQM_ERUN, "%zu numbers are too many for one sum", count);
	}
	int code =
		check(MPI_Iallreduce(MPI_IN_PLACE, values, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD, made), "begin a sum");
	*request = made;
	return code;
}

int aqm_mpi_test(void **requests, size_t count)
{
	int code = AQM_OK;

	for (size_t i = 0; code == AQM_OK && i < count; i++) {
		int done;

		code = check(MPI_Test(requests[i], &done, MPI_STATUS_IGNORE), "sum");
	}
	return code;
}

int aqm_mpi_wait(void **requests, size_t count)
{
	int code = AQM_OK;

	for (size_t i = 0; i < count; i++) {
		int result = check(MPI_Wait(requests[i], MPI_STATUS_IGNORE), "sum");

		code = code == AQM_OK ? result : code;
		free(requests[i]);
	}
	return code;
}

/* ---- turns ---- */

int aqm_mpi_tell(enum aqm_mpi_kind kind, uint64_t number, const void *data, size_t bytes)
{
	uint64_t head[3] = {kind, number, bytes};

	if (bytes > INT_MAX)
		return aqm_error_set(AQM_ERUN, "a result of %zu bytes is too large for a message", bytes);
	int code = check(MPI_Send(head, 3, MPI_UINT64_T, 0, TAG_TELL, MPI_COMM_WORLD), "talk to rank 0");

	return code == AQM_OK && bytes
	           ? check(MPI_Send(data, (int)bytes, MPI_BYTE, 0, TAG_DATA, MPI_COMM_WORLD), "talk to rank 0")
	           : code;
}

int aqm_mpi_answer(int who, uint64_t number)
{
	return check(MPI_Send(&number, 1, MPI_UINT64_T, who, TAG_ANSWER, MPI_COMM_WORLD), "hand out work");
}

int aqm_mpi_await_answer(uint64_t *number)
{
	const struct timespec pause = {.tv_nsec = AQM_MPI_PAUSE};
	int there = 0;
	int code = check(MPI_Iprobe(0, TAG_ANSWER, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE), "get work");

	while (code == AQM_OK && !there) {
		nanosleep(&pause, NULL);
		code = check(MPI_Iprobe(0, TAG_ANSWER, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE), "get work");
	}
	return code == AQM_OK ? check(MPI_Recv(number, 1, MPI_UINT64_T, 0, TAG_ANSWER, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
	                              "get work")
	                      : code;
}

int aqm_mpi_hear(int *who, enum aqm_mpi_kind *kind, uint64_t *number, void **data, size_t *bytes)
{
	MPI_Status status;
	uint64_t head[3];
	int there = 0;
	int code = check(MPI_Iprobe(MPI_ANY_SOURCE, TAG_TELL, MPI_COMM_WORLD, &there, &status), "listen");

	*who = -1;
	*data = NULL;
	if (code != AQM_OK || !there)
		return code;
	int from = status.MPI_SOURCE;

	code = check(MPI_Recv(head, 3, MPI_UINT64_T, from, TAG_TELL, MPI_COMM_WORLD, MPI_STATUS_IGNORE), "listen");
	if (code != AQM_OK)
		return code;
	if (head[2] && !(*data = aqm_malloc_array((size_t)head[2], 1)))
		return AQM_ERUN;
	if (head[2])
		code = check(MPI_Recv(*data, (int)head[2], MPI_BYTE, from, TAG_DATA, MPI_COMM_WORLD, MPI_STATUS_IGNORE), "listen");
	*who = from;
	*kind = (enum aqm_mpi_kind)head[0];
	*number = head[1];
	*bytes = (size_t)head[2];
	return code;
}
#endif
