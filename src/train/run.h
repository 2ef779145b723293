/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The folder of a run.
 */
#ifndef AQM_TRAIN_RUN_H
#define AQM_TRAIN_RUN_H

#include <stdbool.h>
#include "aqmtrain/config.h"

struct aqm_run {
	const char *path; /* not owned */
	int lock;         /* descriptor of the folder, locked against a second training; -1 */
	bool exists;      /* it held a run when it was opened */
};

/* Make and lock the folder. A run that is there: AQM_EUSAGE unless `resume`; with it, AQM_EUSAGE with the key when
 * the run's configuration differs in what decides the outcome. Removes what a killed process left half-written. */
int aqm_run_open(struct aqm_run *run, const char *path, const struct aqm_config *config, bool resume);
/* Write config.yaml: from now on the folder holds a run. */
int aqm_run_start(struct aqm_run *run, const struct aqm_config *config);
void aqm_run_close(struct aqm_run *run);

#endif
