/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rows of update intervals straight from a run: what a policy of updates would have been asked, and the p' that was set
 * instead. Unlike rows made out of packets they know the other queue, and intervals in which p' did not change.
 */
#ifndef AQM_SIM_UPDATES_H
#define AQM_SIM_UPDATES_H

#include "sim/qdisc.h"

enum { AQM_UPDATES_COLUMNS = 37 };
/* Names of the columns in their order; the last one is next_drop_prob, the action. utility and utility_rank are left to
 * who knows them. */
extern const char *const aqm_updates_columns[AQM_UPDATES_COLUMNS];

struct aqm_updates {
	struct aqm_sim_hook inner; /* who sets p'; without an update function the rules do */
	struct aqm_updates_rows {
		double (*rows)[AQM_UPDATES_COLUMNS]; /* owned */
		size_t count, capacity;
	} of[AQM_QUEUES];          /* by controller */
};

/* Put a recorder around the hook. Release it when the run is over. */
void aqm_updates_init(struct aqm_updates *updates, struct aqm_sim_hook *hook);
void aqm_updates_release(struct aqm_updates *updates);

#endif
