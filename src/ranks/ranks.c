/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Ranks over MPI; without MPI, or without a launcher, one.
 */
#include "ranks/ranks.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"

#ifdef AQM_HAVE_MPI
#include "ranks/mpi.h"
#endif

struct aqm_ranks {
	int rank, size, local_rank, local_size;
};

/* ---- joining ---- */

int aqm_ranks_launched(void)
{
	static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "PMIX_RANK"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *text = getenv(names[i]);

		if (text && *text)
			return strcmp(names[i], "PMIX_RANK") == 0 ? 1 : atoi(text);
	}
	return 0;
}

int aqm_ranks_join(aqm_ranks **out)
{
	aqm_ranks *ranks = aqm_calloc_array(1, sizeof *ranks);
	int code = AQM_OK, processes = aqm_ranks_launched();

	*out = NULL;
	if (!ranks)
		return AQM_ERUN;
	*ranks = (aqm_ranks){.size = 1, .local_size = 1};
#ifdef AQM_HAVE_MPI
	if (processes)
		code = aqm_mpi_join(&ranks->rank, &ranks->size, &ranks->local_rank, &ranks->local_size);
#else
	if (processes > 1)
		code = aqm_error_set(AQM_ERUN, "an MPI launcher has started %d processes, but this aqmtrain was built without MPI",
		                     processes);
#endif
	if (code != AQM_OK) {
		free(ranks);
		return code;
	}
	*out = ranks;
	return AQM_OK;
}

void aqm_ranks_leave(aqm_ranks *ranks)
{
	if (!ranks)
		return;
#ifdef AQM_HAVE_MPI
	aqm_mpi_leave();
#endif
	free(ranks);
}

int aqm_ranks_rank(const aqm_ranks *ranks)
{
	return ranks ? ranks->rank : 0;
}

int aqm_ranks_size(const aqm_ranks *ranks)
{
	return ranks ? ranks->size : 1;
}

int aqm_ranks_local_rank(const aqm_ranks *ranks)
{
	return ranks ? ranks->local_rank : 0;
}

int aqm_ranks_local_size(const aqm_ranks *ranks)
{
	return ranks ? ranks->local_size : 1;
}

int aqm_ranks_threads(const aqm_ranks *ranks)
{
	long all = sysconf(_SC_NPROCESSORS_ONLN), mine = omp_get_num_procs(), others = aqm_ranks_local_size(ranks);

	return mine < all || mine < others ? (int)mine : (int)(mine / others);
}

/* ---- what all do ---- */

#ifdef AQM_HAVE_MPI

static bool alone(const aqm_ranks *ranks)
{
	return aqm_ranks_size(ranks) == 1;
}

int aqm_ranks_agree(aqm_ranks *ranks, int code)
{
	struct {
		int good, rank;
	} mine = {code == AQM_OK, aqm_ranks_rank(ranks)}, first = {1, 0};
	struct {
		int code;
		char text[1024];
	} fault = {.code = code};
	char host[64] = "?";

	if (alone(ranks))
		return code;
	int status = aqm_mpi_first_bad(&mine, &first);
	if (status != AQM_OK || first.good)
		return status;
	if (first.rank == mine.rank) {
		gethostname(host, sizeof host - 1);
		snprintf(fault.text, sizeof fault.text, "rank %d on '%s': %s", mine.rank, host, aqm_error_message());
	}
	status = aqm_mpi_broadcast(&fault, sizeof fault, first.rank);
	return status == AQM_OK ? aqm_error_set(fault.code, "%s", fault.text) : status;
}

int aqm_ranks_any(aqm_ranks *ranks, bool mine, bool *any)
{
	double sum = mine;
	int code = aqm_ranks_sum(ranks, &sum, 1);

	*any = sum > 0;
	return code;
}

int aqm_ranks_same(aqm_ranks *ranks, const char *what, const char *text)
{
	char first[1024] = "";
	int code = AQM_OK;

	if (alone(ranks))
		return AQM_OK;
	snprintf(first, sizeof first, "%s", text);
	code = aqm_mpi_broadcast(first, sizeof first, 0);
	if (code == AQM_OK && strncmp(first, text, sizeof first - 1) != 0)
		code = aqm_error_set(AQM_EUSAGE, "%s is '%.80s' here, but '%.80s' on rank 0; ranks need the same", what, text,
		                     first);
	return aqm_ranks_agree(ranks, code);
}

int aqm_ranks_pause(aqm_ranks *ranks)
{
	return alone(ranks) ? AQM_OK : aqm_mpi_barrier();
}

int aqm_ranks_broadcast(aqm_ranks *ranks, void *data, size_t bytes)
{
	return alone(ranks) ? AQM_OK : aqm_mpi_broadcast(data, bytes, 0);
}

int aqm_ranks_sum(aqm_ranks *ranks, double *values, size_t count)
{
	return alone(ranks) ? AQM_OK : aqm_mpi_sum_doubles(values, count);
}

int aqm_ranks_sum_floats(aqm_ranks *ranks, float *values, size_t count)
{
	return alone(ranks) ? AQM_OK : aqm_mpi_sum_floats(values, count);
}

int aqm_sums_begin(struct aqm_sums *sums, float *values, size_t count)
{
	if (alone(sums->ranks))
		return AQM_OK;
	if (sums->count == AQM_SUMS_MAX)
		return aqm_mpi_sum_floats(values, count);
	int code = aqm_mpi_sum_begin(values, count, &sums->requests[sums->count]);
	if (code == AQM_OK)
		sums->count++;
	return code;
}

int aqm_sums_progress(struct aqm_sums *sums)
{
	return sums->count ? aqm_mpi_test(sums->requests, sums->count) : AQM_OK;
}

int aqm_sums_finish(struct aqm_sums *sums)
{
	int code = sums->count ? aqm_mpi_wait(sums->requests, sums->count) : AQM_OK;

	sums->count = 0;
	return code;
}

#else /* alone */

int aqm_ranks_agree(aqm_ranks *ranks, int code)
{
	(void)ranks;
	return code;
}

int aqm_ranks_any(aqm_ranks *ranks, bool mine, bool *any)
{
	(void)ranks;
	*any = mine;
	return AQM_OK;
}

int aqm_ranks_same(aqm_ranks *ranks, const char *what, const char *text)
{
	(void)ranks, (void)what, (void)text;
	return AQM_OK;
}

int aqm_ranks_pause(aqm_ranks *ranks)
{
	(void)ranks;
	return AQM_OK;
}

int aqm_ranks_broadcast(aqm_ranks *ranks, void *data, size_t bytes)
{
	(void)ranks, (void)data, (void)bytes;
	return AQM_OK;
}

int aqm_ranks_sum(aqm_ranks *ranks, double *values, size_t count)
{
	(void)ranks, (void)values, (void)count;
	return AQM_OK;
}

int aqm_ranks_sum_floats(aqm_ranks *ranks, float *values, size_t count)
{
	(void)ranks, (void)values, (void)count;
	return AQM_OK;
}

int aqm_sums_begin(struct aqm_sums *sums, float *values, size_t count)
{
	(void)sums, (void)values, (void)count;
	return AQM_OK;
}

int aqm_sums_progress(struct aqm_sums *sums)
{
	(void)sums;
	return AQM_OK;
}

int aqm_sums_finish(struct aqm_sums *sums)
{
	(void)sums;
	return AQM_OK;
}

#endif
