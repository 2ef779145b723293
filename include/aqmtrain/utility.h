/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named utilities: what a run of the simulator was worth, as one number, so that queue disciplines and policies can be
 * ranked, and pools can say how good each episode was.
 */
#ifndef AQMTRAIN_UTILITY_H
#define AQMTRAIN_UTILITY_H

#include <stddef.h>
#include "aqmtrain/sim.h"

/* Names in the order of their indices, with a line that says how it is computed; NULL behind the last one. */
const char *aqm_utility_name(size_t index, const char **help);
/* Index of a name. AQM_EUSAGE: there is none such. */
int aqm_utility_find(const char *name, size_t *index);
/* Of a finished run. Terms of what the run did not have (a queue without packets, one class of flows only) are 0. */
double aqm_utility(size_t index, const struct aqm_sim_result *result);

struct aqm_collect_updates {
	const struct aqm_grid *grid;
	size_t utility;
	const char *policy, *base; /* a trained policy that runs beside the cells, and its base model; either may be NULL */
	int64_t policy_runs;       /* of it, a group */
	bool relabel;              /* actions and ranks of other runs of the group */
	int threads;               /* of each rank; 0: all cores */
	struct aqm_ranks *ranks;   /* that collect together, each with these options; NULL: alone */
	const char *output;
};

/* Run all cells of a grid into a pool of update intervals, an episode a controller of each run. Beside the columns of
 * update intervals: elapsed (us since the controller was asked last), other_bytes, other_dropped, other_marked,
 * other_qdelay (of the other queue meanwhile), utility (of the run), utility_rank (the share of the group's other runs
 * that were worth less, 0 to 1; a group is that of aqm_grid_group()). The same grid gives the
 * same pool, whatever the number of threads and ranks. AQM_EUSAGE for a discipline that keeps no records. AQM_EINTERRUPTED
 * leaves the runs that are done in `output`.unfinished, where the same call finds them again.
 *
 * With `relabel`, a row's action is what other runs of its group, about a rank that is drawn for each row, would have
 * done in this row's place (the mean of up to five), and its utility_rank is theirs: rules are a function of what the
 * controller sees. In pools as they were collected, a controller's own doing shows in what it sees (a low target in low
 * delays), and who learns from them repeats what was done instead of choosing by rank. Only dualpi2 and dualpi2-linux
 * can be asked so.
 *
 * A policy (control: update) makes the pool tell what became of its own decisions too: so many runs a group, in the
 * place of the group's first cell, asked for ranks between 0.4 and 1.1. */
int aqm_sim_collect_updates(const struct aqm_collect_updates *options);

#endif
