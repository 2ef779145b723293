/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench: figures, each beside its limit, which is measured in the same process.
 */
#ifndef AQM_CLI_BENCH_H
#define AQM_CLI_BENCH_H

#include "cli/command.h"

struct aqm_device;

struct aqm_figure {
	char name[64]; /* "step/gpt2/cpu" */
	double value;
	const char *unit;     /* static text */
	double limit;         /* 0: none */
	const char *limit_is; /* static text */
	double ratio;         /* value / limit for rates, that is 1 at best; time / limit for times ("x of ...") */
};

enum { AQM_BENCH_SETTINGS = 16 };

struct aqm_bench {
	struct aqm_figure *figures;
	size_t count, capacity;
	bool json;
	bool quick;        /* smaller and shorter: for tests */
	bool profile;      /* time by op as well */
	int batch;         /* streams that decide together; 0: one */
	bool peer;         /* also say how to run the same elsewhere */
	int threads;       /* 0: all cores */
	const char *model; /* a GGUF instead of synthetic ones; may be NULL */
	const char *student; /* bench decide: measure this student instead; may be NULL */
	const char *settings[AQM_BENCH_SETTINGS]; /* of the configuration of steps, "key=value" */
	size_t setting_count;
	struct aqm_ranks *ranks; /* bench ranks: that take the steps together */
};

/* Add a figure; ratio = value / limit. 0 or AQM_ERUN; AQM_EINTERRUPTED instead of a figure that was not measured to its end. */
int aqm_bench_add(struct aqm_bench *bench, const char *name, double value, const char *unit, double limit,
                  const char *limit_is);

/* The limits of this process. Floating-point operations a second of 2048^3 products: the best one (measured on first
 * use), and the best second of one product after another, for comparison with what takes seconds itself (measured anew:
 * what else runs on the machine changes). Bytes a second of all threads reading memory, measured
 * anew: on a shared machine it is not for long what it was. 0 or AQM_ERUN. */
int aqm_bench_peak_gemm(struct aqm_bench *bench, struct aqm_device *device, double *flops);
int aqm_bench_sustained_gemm(struct aqm_bench *bench, struct aqm_device *device, double *flops);
int aqm_bench_peak_read(struct aqm_bench *bench, double *bytes);
/* Bytes a second that a device reads weights with at best, and what that limit is: host memory is read, a GPU's is copied. */
int aqm_bench_bandwidth(struct aqm_bench *bench, struct aqm_device *device, double *bytes, const char **what);

/* The shortest of several runs of work(context), in seconds: others on the machine only ever make a run longer. At
 * least `runs` runs, and at least 0.3 s of them, unless interrupted. */
double aqm_bench_shortest(const struct aqm_bench *bench, int runs, void (*work)(void *context), void *context);

int aqm_bench_gemm(struct aqm_bench *bench);
int aqm_bench_step(struct aqm_bench *bench);
int aqm_bench_decide(struct aqm_bench *bench);
int aqm_bench_parse(struct aqm_bench *bench);
int aqm_bench_ranks(struct aqm_bench *bench);
int aqm_bench_sim(struct aqm_bench *bench);

#endif
