/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the benches of models share.
 */
#ifndef AQM_CLI_BENCH_MODEL_H
#define AQM_CLI_BENCH_MODEL_H

#include "aqmtrain/gguf.h"
#include "cli/bench.h"
#include "compute/device.h"
#include "policy/policy.h"

struct aqm_bench_base {
	char *path;     /* of the GGUF; owned */
	bool temporary; /* made for the bench, removed afterwards */
};
/* The base that --model names, or a synthetic one of the preset's shape in the folder for temporary files. */
int aqm_bench_base(struct aqm_bench_base *base, const struct aqm_bench *bench, const char *preset, enum aqm_dtype type);
void aqm_bench_base_release(struct aqm_bench_base *base);

/* The configuration of steps and decisions: defaults, small ones when quick, and what --set says. To be released. */
int aqm_bench_configure(const struct aqm_bench *bench, struct aqm_config *config);
/* As if fitted on rows that are standardised already. */
void aqm_bench_fit(struct aqm_fit *fit, const struct aqm_config *config);

/* Between start and end every op of the device is timed; end prints the table on stderr, for `runs` runs of `seconds`
 * together. */
void aqm_bench_profile_start(aqm_device *device);
void aqm_bench_profile_end(aqm_device *device, double seconds, int runs);

#endif
