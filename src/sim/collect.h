/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Runs of a collection.
 */
#ifndef AQM_SIM_COLLECT_H
#define AQM_SIM_COLLECT_H

#include "aqmtrain/sim.h"

/* A run that is drawn: everything about it comes from (options->seed, run). Release the cell, also after an error. */
int aqm_collect_draw(const struct aqm_collect_options *options, uint64_t run, struct aqm_cell *cell);

#endif
