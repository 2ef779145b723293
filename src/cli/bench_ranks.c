/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench ranks, under an MPI launcher: training steps of N ranks beside those of one rank that has all their
 * threads, in turns, for what else runs on a machine changes; and what their sums take.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/progress.h"
#include "base/thread.h"
#include "cli/bench_steps.h"
#include "ranks/ranks.h"

struct comparison {
	struct aqm_bench *bench;
	aqm_ranks *ranks;
	struct aqm_bench_steps steps;
	struct aqm_reduction reduction;
	int size, threads; /* ranks, and threads of each */
	bool has_all;      /* one rank may use the threads of all */
	/* seconds, the best of some rounds; INFINITY: not measured */
	double one_all;    /* a step of one rank with all threads */
	double one;        /* of one rank with its own */
	double shared;     /* of all ranks, each with its share of the windows */
	double each;       /* of all ranks, each with as many windows as one had */
	double sum;        /* the sum of the gradients alone */
	double waited;     /* of `shared`: for sums */
};

static void keep_best(double *best, double seconds)
{
	*best = fmin(*best, seconds);
}

/* Of the first rank only; the others sleep. */
static int time_alone(struct comparison *c, int threads, double *best)
{
	if (aqm_ranks_first(c->ranks)) {
		aqm_threads_set(threads);
		aqm_bench_steps_take(&c->steps, c->steps.config.train.windows);
		double start = aqm_clock_seconds();

		(void)aqm_bench_steps_once(&c->steps);
		keep_best(best, aqm_clock_seconds() - start);
		aqm_threads_set(c->threads);
	}
	return aqm_ranks_pause(c->ranks);
}

static int time_together(struct comparison *c, int64_t windows, double *best, double *waited)
{
	aqm_bench_steps_take(&c->steps, windows);
	c->steps.reduction = &c->reduction;
	c->reduction.waited = 0;
	int code = aqm_ranks_pause(c->ranks);
	double start = aqm_clock_seconds();

	if (code == AQM_OK)
		code = aqm_bench_steps_once(&c->steps);
	double seconds = aqm_clock_seconds() - start;
	if (waited && seconds < *best)
		*waited = c->reduction.waited;
	keep_best(best, seconds);
	c->steps.reduction = NULL;
	return code;
}

static int time_sum(struct comparison *c)
{
	int code = aqm_ranks_pause(c->ranks);
	double start = aqm_clock_seconds();

	aqm_reduction_begin(&c->reduction);
	if (code == AQM_OK)
		code = aqm_reduction_finish(&c->reduction);
	keep_best(&c->sum, aqm_clock_seconds() - start);
	return code;
}

static int measure(struct comparison *c)
{
	int rounds = c->bench->quick ? 1 : 4;
	int64_t windows = c->steps.config.train.windows;
	size_t first = aqm_ranks_share((size_t)windows, aqm_ranks_rank(c->ranks), c->size);
	int64_t share = (int64_t)(aqm_ranks_share((size_t)windows, aqm_ranks_rank(c->ranks) + 1, c->size) - first);
	double nowhere = INFINITY;
	int code = time_together(c, share, &nowhere, NULL); /* memory is touched, buffers are made */

	for (int i = 0; code == AQM_OK && i < rounds; i++) {
		if (c->has_all)
			code = time_alone(c, c->size * c->threads, &c->one_all);
		if (code == AQM_OK)
			code = time_together(c, share, &c->shared, &c->waited);
		if (code == AQM_OK)
			code = time_alone(c, c->threads, &c->one);
		if (code == AQM_OK)
			code = time_together(c, windows, &c->each, NULL);
		for (int k = 0; code == AQM_OK && k < 3; k++)
			code = time_sum(c);
	}
	if (code == AQM_OK && !isfinite(c->steps.loss))
		code = aqm_error_set(AQM_ERUN, "the loss of step %u is not finite", c->steps.number);
	return code;
}

static int add(struct comparison *c, const char *preset, const char *what, double value, const char *unit, double limit,
               const char *limit_is)
{
	char name[64];

	snprintf(name, sizeof name, "ranks/%s/%dx%d/%s", preset, c->size, c->threads, what);
	return aqm_bench_add(c->bench, name, value, unit, limit, limit_is);
}

static int tell(struct comparison *c, const char *preset)
{
	double windows = (double)c->steps.config.train.windows, size = c->size;
	double bytes = (double)aqm_policy_params(c->steps.policy)->floats * sizeof(float);
	int code = add(c, preset, "shared", windows / c->shared, "windows/s", c->has_all ? windows / c->one_all : 0,
	               "one rank with all threads");

	if (code == AQM_OK)
		code = add(c, preset, "strong", windows / c->shared, "windows/s", size * windows / c->one,
		           "ranks x one rank alone");
	if (code == AQM_OK)
		code = add(c, preset, "weak", size * windows / c->each, "windows/s", size * windows / c->one,
		           "ranks x one rank alone");
	if (code == AQM_OK)
		code = add(c, preset, "step", c->shared * 1e3, "ms", 0, NULL);
	if (code == AQM_OK)
		code = add(c, preset, "gradients", bytes / 1e6, "MB", 0, NULL);
	if (code == AQM_OK)
		code = add(c, preset, "sum", c->sum * 1e3, "ms", 0, NULL);
	if (code == AQM_OK)
		code = add(c, preset, "sum/rate", bytes / c->sum / 1e6, "MB/s", 0, NULL);
	if (code == AQM_OK)
		code = add(c, preset, "waited", c->waited * 1e3, "ms", c->sum * 1e3, "the sum alone; the rest is hidden");
	return code;
}

static int compare(struct comparison *c, const char *preset)
{
	struct aqm_bench_base base = {0};
	int code = aqm_bench_base(&base, c->bench, preset, AQM_F32);

	if (code == AQM_OK)
		code = aqm_bench_steps_open(&c->steps, c->bench, base.path);
	if (code == AQM_OK && c->steps.config.train.windows < c->size)
		code = aqm_error_set(AQM_EUSAGE, "%" PRId64 " windows are too few for %d ranks", c->steps.config.train.windows,
		                     c->size);
	code = aqm_ranks_agree(c->ranks, code);
	if (code == AQM_OK)
		code = aqm_ranks_agree(c->ranks,
		                       aqm_reduction_init(&c->reduction, c->ranks, aqm_policy_params(c->steps.policy)));
	if (code == AQM_OK)
		code = aqm_ranks_agree(c->ranks, measure(c));
	if (code == AQM_OK && aqm_ranks_first(c->ranks))
		code = tell(c, preset);
	aqm_reduction_release(&c->reduction);
	aqm_bench_steps_close(&c->steps);
	aqm_bench_base_release(&base);
	return code;
}

int aqm_bench_ranks(struct aqm_bench *bench)
{
	struct comparison c = {
		.bench = bench,
		.ranks = bench->ranks,
		.size = aqm_ranks_size(bench->ranks),
		.threads = aqm_threads(),
		.one_all = INFINITY,
		.one = INFINITY,
		.shared = INFINITY,
		.each = INFINITY,
		.sum = INFINITY,
	};
	bool bound;

	if (c.size == 1)
		return aqm_error_set(AQM_EUSAGE, "one rank has nothing to be compared with: mpirun -n 2 aqmtrain bench ranks");
	int code = aqm_ranks_any(c.ranks, aqm_threads_most() < c.size * c.threads, &bound);
	if (code != AQM_OK)
		return code;
	c.has_all = !bound && aqm_ranks_local_size(c.ranks) == c.size;
	if (!bench->json && aqm_ranks_first(c.ranks))
		printf("%d ranks, each %d thread%s%s\n", c.size, c.threads, c.threads == 1 ? "" : "s",
		       c.has_all ? "" : "; one rank cannot have the threads of all (mpirun --bind-to none on one host)");
	return compare(&c, bench->model ? "model" : bench->quick ? "tiny-llama" : "gpt2");
}
