/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the paper published ("Distilling Large Language Models for Network Active Queue Management", Satish, Pokhrel,
 * Kua, Walid), as data: paper.c has the table, paper_page.c shows it beside ours.
 */
#ifndef AQM_REPORT_PAPER_H
#define AQM_REPORT_PAPER_H

#include <stddef.h>

enum aqm_paper_base { AQM_PAPER_LLAMA, AQM_PAPER_OPT, AQM_PAPER_GPT2, AQM_PAPER_T5, AQM_PAPER_BASES };

/* One base model: figures 7, 8 and 15 to 18. NAN: not published. */
struct aqm_paper_model {
	const char *name;             /* "Llama-2 7B" */
	const char *architecture;     /* as GGUF calls it: a run on such a base stands beside it */
	double loss_first, loss_last; /* as logged: a 32nd of the loss */
	double accuracy;              /* last epoch */
	double trainable;
	double memory_gb;
	double decision_s;
	double training_h;      /* of 80 epochs, by the authors' data */
	double training_h_said; /* by the paper's text */
};
extern const struct aqm_paper_model aqm_paper_models[AQM_PAPER_BASES];

/* Quantiles of the replay, figures 9 to 14. NAN: not known. */
struct aqm_paper_replay {
	const char *what;
	int interval;                            /* 0: without the policy */
	double median, mean, p75, p90, p95, p99; /* queue delay, ms */
	double throughput_median, throughput_mean;
	double repeated; /* share of rows equal to an earlier one */
};
extern const struct aqm_paper_replay aqm_paper_replays[];
extern const size_t aqm_paper_replay_count;

/* What is known about a figure, for the line below it. `figures` as the page calls the group: "7, 8". */
struct aqm_paper_note {
	const char *figures, *text;
};
extern const struct aqm_paper_note aqm_paper_notes[];
extern const size_t aqm_paper_note_count;

#endif
