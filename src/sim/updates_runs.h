/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The runs of a collection of update intervals: simulated side by side, on any rank, and kept when that is interrupted.
 */
#ifndef AQM_SIM_UPDATES_RUNS_H
#define AQM_SIM_UPDATES_RUNS_H

#include "aqmtrain/utility.h"
#include "ranks/ranks.h"
#include "sim/updates.h"

struct aqm_updates_run {
	size_t cell;
	double asked; /* of the policy; NAN: the cell's own discipline acts */
};

struct aqm_updates_episode {
	struct aqm_updates_rows of[AQM_QUEUES]; /* by controller; owned */
	size_t group;
	struct aqm_aqm_settings settings;
	bool by_rules; /* no policy, nothing random */
	double utility, rank;
	char name[AQM_CELL_NAME_MAX + 40]; /* "sim link.rate=4 seed=1: by the rules" */
	char digest[65];                   /* of the scenario */
};

/* All ranks: *episodes, on rank 0, is owned by the caller, one a run; NULL elsewhere. AQM_EINTERRUPTED: what is done lies
 * in `output`.unfinished, where the next call finds it. */
int aqm_updates_simulate(const struct aqm_collect_updates *options, const struct aqm_updates_run *runs, size_t count,
                         struct aqm_updates_episode **episodes);
/* Remove what an interrupted call has left. */
void aqm_updates_forget(const struct aqm_collect_updates *options);
/* NULL is fine. */
void aqm_updates_free(struct aqm_updates_episode *episodes, size_t count);

#endif
