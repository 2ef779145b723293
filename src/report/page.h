/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The page under way, and its sections: one function each, in the order in which they stand there (page.c). A section
 * without anything to show writes nothing.
 */
#ifndef AQM_REPORT_PAGE_H
#define AQM_REPORT_PAGE_H

#include <stdio.h>

#include "aqmtrain/report.h"
#include "report/figure.h"
#include "report/run.h"

struct aqm_page {
	FILE *out;
	const struct aqm_report_options *options;
	struct aqm_report_run *runs;
	size_t run_count;
	bool plotless; /* there is no gnuplot: the tables must do */
	unsigned plots; /* drawn so far */
};

/* The whole page. Only what stops it altogether is an error; a plot that fails is said in its place. */
int aqm_page_write(struct aqm_page *page);

/* A figure with its legend, its figures as a table, and its source; nothing when it has no points. Releases it. */
int aqm_page_figure(struct aqm_page *page, struct aqm_figure *figure);
/* Figures stand in a grid. */
void aqm_page_figures_begin(struct aqm_page *page);
void aqm_page_figures_end(struct aqm_page *page);
/* <h2 id="id">. */
void aqm_page_heading(struct aqm_page *page, const char *id, const char *title);
/* Colour of a run: 1 to AQM_FIGURE_COLOURS - 1. */
int aqm_page_colour(size_t place);

int aqm_page_verdict(struct aqm_page *page);     /* verdict.c: the trivial baselines, then ours */
int aqm_page_confusion(struct aqm_page *page);   /* verdict.c */
int aqm_page_closed_loop(struct aqm_page *page); /* closed_loop.c */
int aqm_page_training(struct aqm_page *page);    /* training.c */
int aqm_page_paper(struct aqm_page *page);       /* paper_page.c: published values and ours */
int aqm_page_inputs(struct aqm_page *page);      /* inputs.c: what was run */

#endif
