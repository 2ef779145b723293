/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the runs say together: means with intervals, differences on the same seeds, and the summary as JSON.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "eval/closed.h"
#include "train/journal.h"

/* ---- figures ---- */

static const struct aqm_closed_run *run_at(const struct aqm_closed_plan *plan, size_t cell, size_t seed, size_t arm)
{
	return &plan->results->runs[plan->runs[aqm_closed_place(plan, cell, seed, arm)]];
}

static double value_at(const struct aqm_closed_plan *plan, size_t cell, size_t seed, size_t arm, enum aqm_figure figure)
{
	return run_at(plan, cell, seed, arm)->figures[figure];
}

/* Which cells a mean is taken over: one; all; or those that were, or were not, trained on. */
enum choice { ONE, ALL, TRAINED, UNTRAINED };

/* A value a seed: the mean over the chosen cells that have one; less that of `from`, unless it is SIZE_MAX. */
static struct aqm_estimate estimate(const struct aqm_closed_plan *plan, enum choice choice, size_t one, size_t arm,
                                    size_t from, enum aqm_figure figure)
{
	size_t seeds = plan->options->seed_count;
	double *values = aqm_malloc_array(seeds, sizeof *values);
	struct aqm_estimate result = {(double)NAN, (double)NAN, 0};

	if (!values)
		return result;
	for (size_t s = 0; s < seeds; s++) {
		size_t count = 0;

		values[s] = 0;
		for (size_t c = 0; c < plan->cell_count; c++) {
			if ((choice == ONE && c != one) || (choice == TRAINED && !plan->cells[c].trained) ||
			    (choice == UNTRAINED && plan->cells[c].trained))
				continue;
			double value = value_at(plan, c, s, arm, figure);
			value -= from == SIZE_MAX ? 0 : value_at(plan, c, s, from, figure);
			if (isfinite(value)) {
				values[s] += value;
				count++;
			}
		}
		values[s] = count ? values[s] / (double)count : (double)NAN;
	}
	result = aqm_estimate(values, seeds);
	free(values);
	return result;
}

struct aqm_estimate aqm_closed_figure(const struct aqm_closed_plan *plan, int64_t cell, size_t arm,
                                      enum aqm_figure figure)
{
	return estimate(plan, cell == AQM_ALL_CELLS ? ALL : ONE, (size_t)cell, arm, SIZE_MAX, figure);
}

struct aqm_estimate aqm_closed_difference(const struct aqm_closed_plan *plan, int64_t cell, size_t arm, size_t from,
                                          enum aqm_figure figure)
{
	return estimate(plan, cell == AQM_ALL_CELLS ? ALL : ONE, (size_t)cell, arm, from, figure);
}

struct aqm_estimate aqm_closed_transfer(const struct aqm_closed_plan *plan, size_t arm, bool trained)
{
	return estimate(plan, trained ? TRAINED : UNTRAINED, 0, arm, plan->baseline, AQM_FIGURE_UTILITY);
}

/* ---- the response to the return asked for ---- */

/* Arms that differ from `first` in the target only. */
static bool is_sibling(const struct aqm_arm *first, const struct aqm_arm *other)
{
	return other->kind == AQM_ARM_POLICY && isfinite(other->target) && other->every == first->every &&
	       other->delay == first->delay && other->context == first->context;
}

struct aqm_estimate aqm_closed_response(const struct aqm_closed_plan *plan, enum aqm_figure figure)
{
	size_t seeds = plan->options->seed_count, arms = plan->arm_count;
	double *asked = aqm_malloc_array(2 * arms, sizeof *asked), *obtained = asked + arms;
	double *values = aqm_malloc_array(seeds, sizeof *values);
	struct aqm_estimate result = {(double)NAN, (double)NAN, 0};

	for (size_t s = 0; asked && values && s < seeds; s++) {
		size_t groups = 0;

		values[s] = 0;
		for (size_t c = 0; c < plan->cell_count; c++)
			for (size_t first = 0; first < arms; first++) {
				size_t n = 0, before = 0;

				if (plan->arms[first].kind != AQM_ARM_POLICY || !isfinite(plan->arms[first].target))
					continue;
				for (size_t a = 0; a < arms; a++)
					if (is_sibling(&plan->arms[first], &plan->arms[a])) {
						before += a < first;
						asked[n] = plan->arms[a].target;
						obtained[n++] = value_at(plan, c, s, a, figure);
					}
				if (before || n < 2)
					continue;
				double correlation = aqm_rank_correlation(asked, obtained, n);
				if (isfinite(correlation)) {
					values[s] += correlation;
					groups++;
				}
			}
		values[s] = groups ? values[s] / (double)groups : (double)NAN;
	}
	if (asked && values)
		result = aqm_estimate(values, seeds);
	free(asked);
	free(values);
	return result;
}

/* ---- JSON ---- */

enum { DIGITS = 9 };

static json_t *number(double value)
{
	char text[40];

	if (!isfinite(value))
		return json_null();
	snprintf(text, sizeof text, "%.*g", DIGITS, value);
	return json_real(strtod(text, NULL));
}

static json_t *estimate_json(struct aqm_estimate e)
{
	if (!isfinite(e.mean))
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:I}", "mean", number(e.mean), "low", number(e.mean - e.half), "high",
	                 number(e.mean + e.half), "n", (json_int_t)e.count);
}

/* Put a value at "a.b.c" of the object. */
static void set_nested(json_t *object, const char *path, json_t *value)
{
	const char *dot;

	while ((dot = strchr(path, '.'))) {
		char key[32];

		snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
		json_t *inner = json_object_get(object, key);
		if (!inner) {
			json_object_set_new(object, key, json_object());
			inner = json_object_get(object, key);
		}
		object = inner;
		path = dot + 1;
	}
	json_object_set_new(object, path, value);
}

static void add_figures(json_t *object, const struct aqm_closed_plan *plan, int64_t cell, size_t arm, bool difference)
{
	for (int f = 0; f < AQM_FIGURES; f++) {
		bool of_policy = f == AQM_FIGURE_RETURN || f == AQM_FIGURE_ASKED || f == AQM_FIGURE_DIFFERED;

		if (of_policy && (difference || plan->arms[arm].kind != AQM_ARM_POLICY))
			continue;
		set_nested(object, aqm_figure_name((enum aqm_figure)f),
		           estimate_json(difference ? aqm_closed_difference(plan, cell, arm, plan->baseline, (enum aqm_figure)f)
		                                    : aqm_closed_figure(plan, cell, arm, (enum aqm_figure)f)));
	}
}

static json_t *arm_json(const struct aqm_closed_plan *plan, size_t index)
{
	const struct aqm_arm *arm = &plan->arms[index];
	bool policy = arm->kind == AQM_ARM_POLICY, own_target = policy && isnan(arm->target);
	bool learned = aqm_closed_learned(arm);
	json_t *every = !policy ? json_null() : arm->every ? json_integer(arm->every) : json_string("update");

	return json_pack("{s:o, s:o, s:b, s:b, s:o, s:o, s:b, s:o, s:o, s:o, s:I}", "name", aqm_json_bytes(arm->name),
	                 "label", aqm_json_bytes(arm->label), "policy", learned, "trivial", arm->trivial, "every", every,
	                 "decision_delay_ms", policy ? number(arm->delay) : json_null(), "decision_delay_measured",
	                 arm->measured, "target_return",
	                 policy ? number(own_target ? plan->own_target : arm->target) : json_null(), "context_windows",
	                 policy ? json_integer(arm->context) : json_null(), "host",
	                 arm->kind == AQM_ARM_RULES ? json_null() : json_string(aqm_closed_host(plan, arm)), "seeds",
	                 (json_int_t)plan->options->seed_count);
}

/* Quantile by quantile, the mean over the seeds. */
static json_t *cdf_json(const struct aqm_closed_plan *plan, size_t cell, size_t arm, size_t queue)
{
	json_t *list = json_array();

	for (size_t i = 0; i < AQM_CDF_POINTS; i++) {
		double sum = 0;

		for (size_t s = 0; s < plan->options->seed_count; s++)
			sum += run_at(plan, cell, s, arm)->cdf[queue][i];
		if (!isfinite(sum)) {
			json_decref(list);
			return json_null();
		}
		json_array_append_new(
			list, json_pack("[o, o]", number(sum / (double)plan->options->seed_count), number(aqm_cdf_share(i))));
	}
	return list;
}

static json_t *series_json(const struct aqm_closed_run *run)
{
	static const char *const keys[] = {"t", "delay_L_ms", "delay_C_ms", "rate_mbps", "probability"};
	json_t *object = json_object();

	for (size_t k = 0; k < 5; k++) {
		json_t *list = json_array();

		for (size_t i = 0; i < run->points; i++)
			json_array_append_new(list, number(run->series[k][i]));
		json_object_set_new(object, keys[k], list);
	}
	return object;
}

static json_t *arms_json(const struct aqm_closed_plan *plan, int64_t cell)
{
	json_t *list = json_array();

	for (size_t a = 0; a < plan->arm_count; a++) {
		json_t *object = arm_json(plan, a), *difference = json_object();

		add_figures(object, plan, cell, a, false);
		add_figures(difference, plan, cell, a, true);
		json_object_set_new(object, "difference", difference);
		if (cell != AQM_ALL_CELLS) {
			json_object_set_new(object, "cdf",
			                    json_pack("{s:o, s:o}", "L", cdf_json(plan, (size_t)cell, a, 0), "C",
			                              cdf_json(plan, (size_t)cell, a, 1)));
			json_object_set_new(object, "series", series_json(run_at(plan, (size_t)cell, 0, a)));
		}
		json_array_append_new(list, object);
	}
	return list;
}

static json_t *cells_json(const struct aqm_closed_plan *plan)
{
	json_t *list = json_array();

	for (size_t c = 0; c < plan->cell_count; c++) {
		const struct aqm_closed_cell *cell = &plan->cells[c];

		json_array_append_new(list,
		                      json_pack("{s:o, s:s, s:o, s:o, s:o, s:o}", "name", aqm_json_bytes(cell->name),
		                                "scenario", cell->scenario.name, "seconds", number(cell->scenario.seconds),
		                                "link_mbps", number(cell->scenario.link.rate), "trained",
		                                plan->knows_cells ? json_boolean(cell->trained) : json_null(), "aqms",
		                                arms_json(plan, (int64_t)c)));
	}
	return list;
}

/* A point a target, over all cells. */
static void add_sweep(json_t *root, const struct aqm_closed_plan *plan)
{
	struct aqm_estimate of_return = aqm_closed_response(plan, AQM_FIGURE_RETURN),
						of_utility = aqm_closed_response(plan, AQM_FIGURE_UTILITY);
	json_t *list;

	if (of_utility.count == 0)
		return;
	list = json_array();
	for (size_t a = 0; a < plan->arm_count; a++)
		if (plan->arms[a].kind == AQM_ARM_POLICY && isfinite(plan->arms[a].target)) {
			json_t *object = arm_json(plan, a);

			add_figures(object, plan, AQM_ALL_CELLS, a, false);
			json_array_append_new(list, object);
		}
	json_object_set_new(root, "sweep", list);
	json_object_set_new(
		root, "rank_correlation",
		json_pack("{s:o, s:o}", "return", estimate_json(of_return), "utility", estimate_json(of_utility)));
}

static void add_generalisation(json_t *root, const struct aqm_closed_plan *plan)
{
	json_t *trained = json_array(), *policies = json_array();

	if (!plan->knows_cells) {
		json_decref(trained);
		json_decref(policies);
		return;
	}
	for (size_t c = 0; c < plan->cell_count; c++)
		if (plan->cells[c].trained)
			json_array_append_new(trained, aqm_json_bytes(plan->cells[c].name));
	for (size_t a = 0; a < plan->arm_count; a++) {
		json_t *cells;

		if (!aqm_closed_learned(&plan->arms[a]))
			continue;
		cells = json_array();
		for (size_t c = 0; c < plan->cell_count; c++)
			json_array_append_new(
				cells,
				json_pack(
					"{s:o, s:b, s:o, s:o}", "name", aqm_json_bytes(plan->cells[c].name), "trained",
					plan->cells[c].trained, "utility",
					estimate_json(aqm_closed_figure(plan, (int64_t)c, a, AQM_FIGURE_UTILITY)), "difference",
					estimate_json(aqm_closed_difference(plan, (int64_t)c, a, plan->baseline, AQM_FIGURE_UTILITY))));
		json_array_append_new(policies,
		                      json_pack("{s:o, s:o, s:o, s:o}", "aqm", aqm_json_bytes(plan->arms[a].label), "inside",
		                                estimate_json(aqm_closed_transfer(plan, a, true)), "outside",
		                                estimate_json(aqm_closed_transfer(plan, a, false)), "cells", cells));
	}
	json_object_set_new(root, "generalisation", json_pack("{s:o, s:o}", "trained", trained, "policies", policies));
}

static json_t *policy_json(const struct aqm_closed_plan *plan)
{
	if (!plan->policy_path)
		return json_null();
	return json_pack("{s:o, s:s, s:s, s:o}", "path", aqm_json_bytes(plan->policy_path), "sha256", plan->policy_digest,
	                 "control", aqm_config_word("control", (int)plan->control), "target_return",
	                 number(plan->own_target));
}

static json_t *decision_json(const struct aqm_decision_time *d)
{
	if (!d->decisions)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:I, s:i}", "mean", number(d->mean), "p50", number(d->p50), "p99", number(d->p99),
	                 "decisions", (json_int_t)d->decisions, "threads", 1);
}

json_t *aqm_closed_summary(const struct aqm_closed_plan *plan)
{
	const struct aqm_closed_options *o = plan->options;
	json_t *seeds = json_array(), *root;

	for (size_t i = 0; i < o->seed_count; i++)
		json_array_append_new(seeds, json_integer((json_int_t)o->seeds[i]));
	root = json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:{s:f, s:s}, s:{s:s, s:s}, s:o, s:o, s:o, s:{s:o}}", "kind",
	                 "closed-loop", "version", AQM_VERSION, "program", plan->program, "command",
	                 aqm_json_bytes(o->command ? o->command : ""), "name", plan->name, "seeds", seeds, "baseline",
	                 aqm_json_bytes(plan->arms[plan->baseline].label), "confidence", "level", 0.95, "method",
	                 "over seeds, mean +- t s / sqrt(n) with Student's t; differences are paired by seed; over several "
	                 "cells, of each "
	                 "seed's mean over them",
	                 "utility", "name", plan->utility_name, "definition", plan->utility_help, "policy",
	                 policy_json(plan), "decision_delay_ms", decision_json(&plan->decision), "cells", cells_json(plan),
	                 "overall", "aqms", arms_json(plan, AQM_ALL_CELLS));
	if (root && plan->policy_path) {
		json_object_set_new(root, "seeds_trained_on",
		                    plan->knows_cells ? json_integer((json_int_t)plan->seen_seeds) : json_null());
		json_object_set_new(root, "control", json_string(aqm_config_word("control", (int)plan->control)));
		add_sweep(root, plan);
		add_generalisation(root, plan);
	}
	return root;
}
