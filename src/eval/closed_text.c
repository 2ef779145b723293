/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The closed loop for people: a table a cell, one over all, what returns asked for brought, where it was trained.
 */
#include <math.h>
#include <string.h>

#include "eval/closed.h"

enum { LINES_MAX = 60 }; /* of the tables of cells; where there would be more, only utilities are listed */

static void put(FILE *out, int width, const char *format, double value)
{
	if (isfinite(value))
		fprintf(out, format, width, value);
	else
		fprintf(out, "%*s", width, "-");
}

/* "97.31 +- 0.42" */
static void put_estimate(FILE *out, int width, int digits, double scale, struct aqm_estimate e)
{
	char text[64] = "-";

	if (isfinite(e.mean) && isfinite(e.half))
		snprintf(text, sizeof text, "%.*f +- %.*f", digits, scale * e.mean, digits, scale * e.half);
	else if (isfinite(e.mean))
		snprintf(text, sizeof text, "%.*f", digits, scale * e.mean);
	fprintf(out, "%*s", width, text);
}

static int label_width(const struct aqm_closed_plan *plan)
{
	size_t width = 14;

	for (size_t a = 0; a < plan->arm_count; a++)
		width = strlen(plan->arms[a].label) > width ? strlen(plan->arms[a].label) : width;
	return (int)width;
}

static double mean_of(const struct aqm_closed_plan *plan, int64_t cell, size_t arm, enum aqm_figure figure)
{
	return aqm_closed_figure(plan, cell, arm, figure).mean;
}

static void print_table(const struct aqm_closed_plan *plan, int64_t cell, FILE *out)
{
	int width = label_width(plan);
	bool web = false;

	for (size_t a = 0; a < plan->arm_count; a++)
		web = web || isfinite(mean_of(plan, cell, a, AQM_FIGURE_FCT_MEAN));
	fprintf(out, "%-*s %8s %17s %17s %7s %6s %8s %8s%s %20s %20s\n", width, "", "util. %", "L ms: mean/P99",
	        "C ms: mean/P99", "ratio", "Jain", "L mark %", "C drop %", web ? "  short s" : "", "utility",
	        "less the baseline's");
	for (size_t a = 0; a < plan->arm_count; a++) {
		fprintf(out, "%-*s ", width, plan->arms[a].label);
		put(out, 8, "%*.2f", 100 * mean_of(plan, cell, a, AQM_FIGURE_UTILISATION));
		put(out, 9, "%*.3f", mean_of(plan, cell, a, AQM_FIGURE_L_MEAN));
		put(out, 9, "%*.3f", mean_of(plan, cell, a, AQM_FIGURE_L_P99));
		put(out, 9, "%*.2f", mean_of(plan, cell, a, AQM_FIGURE_C_MEAN));
		put(out, 9, "%*.2f", mean_of(plan, cell, a, AQM_FIGURE_C_P99));
		put(out, 8, "%*.3f", mean_of(plan, cell, a, AQM_FIGURE_RATIO));
		put(out, 7, "%*.3f", mean_of(plan, cell, a, AQM_FIGURE_JAIN));
		put(out, 9, "%*.3f", 100 * mean_of(plan, cell, a, AQM_FIGURE_L_MARK));
		put(out, 9, "%*.3f", 100 * mean_of(plan, cell, a, AQM_FIGURE_C_DROP));
		if (web)
			put(out, 9, "%*.3f", mean_of(plan, cell, a, AQM_FIGURE_FCT_MEAN));
		put_estimate(out, 21, 2, 1, aqm_closed_figure(plan, cell, a, AQM_FIGURE_UTILITY));
		if (a == plan->baseline)
			fprintf(out, "%21s", "baseline");
		else
			put_estimate(out, 21, 2, 1, aqm_closed_difference(plan, cell, a, plan->baseline, AQM_FIGURE_UTILITY));
		fputc('\n', out);
	}
	fputc('\n', out);
}

/* A line a cell: the utility of the baseline and of the policies. */
static void print_cells(const struct aqm_closed_plan *plan, FILE *out)
{
	size_t width = 4;

	for (size_t c = 0; c < plan->cell_count; c++)
		width = strlen(plan->cells[c].name) > width ? strlen(plan->cells[c].name) : width;
	for (size_t a = 0; a < plan->arm_count; a++) {
		if (!aqm_closed_learned(&plan->arms[a]) && plan->policy_path)
			continue;
		if (a == plan->baseline)
			continue;
		fprintf(out, "%s, cell by cell%s\n", plan->arms[a].label, plan->knows_cells ? " (* it was trained there)" : "");
		fprintf(out, "  %-*s %20s %20s %20s\n", (int)width, "", "utility", plan->arms[plan->baseline].label,
		        "difference");
		for (size_t c = 0; c < plan->cell_count; c++) {
			fprintf(out, "%c %-*s", plan->knows_cells && plan->cells[c].trained ? '*' : ' ', (int)width,
			        plan->cells[c].name);
			put_estimate(out, 21, 2, 1, aqm_closed_figure(plan, (int64_t)c, a, AQM_FIGURE_UTILITY));
			put_estimate(out, 21, 2, 1, aqm_closed_figure(plan, (int64_t)c, plan->baseline, AQM_FIGURE_UTILITY));
			put_estimate(out, 21, 2, 1, aqm_closed_difference(plan, (int64_t)c, a, plan->baseline, AQM_FIGURE_UTILITY));
			fputc('\n', out);
		}
		if (plan->knows_cells && aqm_closed_learned(&plan->arms[a])) {
			fprintf(out, "  difference, mean over cells it was trained on");
			put_estimate(out, 20, 2, 1, aqm_closed_transfer(plan, a, true));
			fprintf(out, "\n  difference, mean over the others            ");
			put_estimate(out, 20, 2, 1, aqm_closed_transfer(plan, a, false));
			fputc('\n', out);
		}
		fputc('\n', out);
	}
}

static void print_response(const struct aqm_closed_plan *plan, FILE *out)
{
	struct aqm_estimate of_return = aqm_closed_response(plan, AQM_FIGURE_RETURN),
						of_utility = aqm_closed_response(plan, AQM_FIGURE_UTILITY);

	if (of_utility.count == 0)
		return;
	/* A policy that is rewarded by the run's utility sees no reward on the way. */
	const struct aqm_estimate *verdict = of_return.count ? &of_return : &of_utility;

	fprintf(out, "return asked for: %-22s %20s %20s\n", "", "return obtained", "utility");
	for (size_t a = 0; a < plan->arm_count; a++)
		if (plan->arms[a].kind == AQM_ARM_POLICY && isfinite(plan->arms[a].target)) {
			fprintf(out, "%-40s", plan->arms[a].label);
			put_estimate(out, 21, 4, 1, aqm_closed_figure(plan, AQM_ALL_CELLS, a, AQM_FIGURE_RETURN));
			put_estimate(out, 21, 2, 1, aqm_closed_figure(plan, AQM_ALL_CELLS, a, AQM_FIGURE_UTILITY));
			fputc('\n', out);
		}
	fprintf(out, "rank correlation of asked and obtained: return ");
	put_estimate(out, 0, 2, 1, of_return);
	fprintf(out, ", utility ");
	put_estimate(out, 0, 2, 1, of_utility);
	fprintf(out, "\n%s\n\n",
	        verdict->count < 2                  ? "One seed does not tell whether asking for more gives more."
	        : verdict->mean - verdict->half > 0 ? "Asking for more gives more."
	        : verdict->mean + verdict->half < 0
	            ? "Asking for more gives less."
	            : "Asking for more does not change what is obtained, as far as these seeds show.");
}

static void print_verdicts(const struct aqm_closed_plan *plan, FILE *out)
{
	for (size_t a = 0; a < plan->arm_count; a++) {
		if (!aqm_closed_learned(&plan->arms[a]) || a == plan->baseline)
			continue;
		struct aqm_estimate d = aqm_closed_difference(plan, AQM_ALL_CELLS, a, plan->baseline, AQM_FIGURE_UTILITY);
		bool better = d.mean - d.half > 0, worse = d.mean + d.half < 0;

		if (d.count < 2) { /* no interval, no verdict */
			fprintf(out, "%s: %.2f from %s on one seed, which says nothing of others.\n", plan->arms[a].label, d.mean,
			        plan->arms[plan->baseline].label);
			continue;
		}
		fprintf(out, "%s: %s %s (%.2f +- %.2f).\n", plan->arms[a].label,
		        better  ? "better than"
		        : worse ? "worse than"
		                : "not to be told from",
		        plan->arms[plan->baseline].label, d.mean, d.half);
	}
}

void aqm_closed_print(const struct aqm_closed_plan *plan, FILE *out)
{
	const struct aqm_closed_options *o = plan->options;

	fprintf(out,
	        "%s: %zu cell%s, %zu seed%s; mean +- half of the 95 %% interval over seeds (Student's t); differences "
	        "on the same seeds\n",
	        plan->name, plan->cell_count, plan->cell_count == 1 ? "" : "s", o->seed_count,
	        o->seed_count == 1 ? "" : "s");
	fprintf(out, "utility %s: %s\n", plan->utility_name, plan->utility_help);
	if (plan->policy_path && plan->arms[plan->arm_count - 1].kind == AQM_ARM_POLICY)
		fprintf(out, "policy: %s, control: %s, in %s\n", plan->policy_path,
		        aqm_config_word("control", (int)plan->control),
		        aqm_closed_host(plan, &plan->arms[plan->arm_count - 1]));
	if (plan->decision.decisions)
		fprintf(out, "a decision takes %.3f ms here, on one thread: mean; median %.3f, P99 %.3f, of %llu\n",
		        plan->decision.mean, plan->decision.p50, plan->decision.p99,
		        (unsigned long long)plan->decision.decisions);
	if (o->seed_count < 10)
		fprintf(out, "Fewer than 10 seeds: take the intervals for what they are.\n");
	if (plan->seen_seeds)
		fprintf(out,
		        "%zu of these seeds were trained on, in cells that are here; others, such as --seeds 1001-1010, say "
		        "more.\n",
		        plan->seen_seeds);
	fputc('\n', out);
	if (plan->cell_count == 1 || plan->cell_count * plan->arm_count <= LINES_MAX)
		for (size_t c = 0; c < plan->cell_count; c++) {
			fprintf(out, "%s%s\n", plan->cells[c].name,
			        plan->knows_cells && plan->cells[c].trained ? " (trained here)" : "");
			print_table(plan, (int64_t)c, out);
		}
	if (plan->cell_count > 1) {
		print_cells(plan, out);
		fprintf(out, "all cells\n");
		print_table(plan, AQM_ALL_CELLS, out);
	}
	print_response(plan, out);
	print_verdicts(plan, out);
}
