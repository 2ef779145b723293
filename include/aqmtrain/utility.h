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

/* Run all cells of a grid into a pool of update intervals, an episode a controller of each run. Beside the columns of
 * update intervals: elapsed (us since the controller was asked last), other_bytes, other_dropped, other_marked,
 * other_qdelay (of the other queue meanwhile), utility (of the run), utility_rank (the share of the group's other runs
 * that were worth less, 0 to 1; a group is the cells that differ only in aqm.* and epsilon). The same grid gives the
 * same pool, whatever the number of threads. AQM_EUSAGE for a discipline that keeps no records. */
int aqm_sim_collect_updates(const struct aqm_grid *grid, size_t utility, int threads, const char *path);

#endif
