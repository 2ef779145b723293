/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reports: runs, their figures and what they were made from, as one HTML file that needs nothing else.
 */
#ifndef AQMTRAIN_REPORT_H
#define AQMTRAIN_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "aqmtrain/error.h"

enum { AQM_REPORT_RUNS_MAX = 64 };

struct aqm_report_options {
	const char *const *run_paths; /* folders of runs, in the order of the columns */
	size_t run_count;             /* 1 to AQM_REPORT_RUNS_MAX */
	const char *output;           /* the HTML file */
	const char *png_folder;       /* the plots there too, as PNG; NULL: no */
	const char *title;            /* NULL: made of the runs' names */
	const char *command;          /* the command line that asked for it, for the footnote; NULL: not said */
	const char *cell;             /* of grids: the cell whose delay distributions and series are drawn; NULL: the first */
	bool paper;                   /* the paper's figures too, with the published values beside ours */
};

/* Write the report. Only files are read: in each run config.yaml, run.json, metrics.jsonl, eval*.json, replay*.json,
 * bench*.json, closed-loop*.json, and *.json in closed-loop/ and replay/. A file that is missing or damaged is no error:
 * the report says so. Plots are drawn by the gnuplot on PATH; without one (*plotted is false) there are the tables.
 * 0; AQM_EDATA for a folder that holds no run; AQM_EUSAGE where no evaluation has the cell, a run is named twice or the
 * page would go into a file of a run; AQM_ERUN. */
int aqm_report_write(const struct aqm_report_options *options, bool *plotted);

#endif
