/* SPDX-License-Identifier: BSD-2-Clause */
#include "distill/rounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/utility.h"
#include "base/size.h"
#include "distill/student.h"
#include "sim/updates.h"

enum { PACKET_COLUMNS = AQM_LOG_FIELDS, /* time and all fields but the logged action */ EXTRA = 2 };

/* Rows of several runs, column by column once they are all there. */
struct table {
	size_t columns, rows, capacity;
	double *cells;    /* (rows, columns) */
	uint8_t *actions; /* (rows) */
	size_t *starts;   /* episodes */
	size_t episodes;
};

static double *add_row(struct table *t, uint8_t action)
{
	if (t->rows == t->capacity) {
		size_t capacity = t->capacity ? 2 * t->capacity : 4096;
		double *cells = aqm_realloc_array(t->cells, capacity, t->columns * sizeof *cells);

		t->cells = cells ? cells : t->cells;
		uint8_t *actions = aqm_realloc_array(t->actions, capacity, 1);
		t->actions = actions ? actions : t->actions;
		if (!cells || !actions)
			return NULL;
		t->capacity = capacity;
	}
	t->actions[t->rows] = action;
	return t->cells + t->rows++ * t->columns;
}

static int begin_episode(struct table *t)
{
	if (t->episodes && t->starts[t->episodes - 1] == t->rows)
		return AQM_OK;
	size_t *starts = aqm_realloc_array(t->starts, t->episodes + 1, sizeof *starts);

	if (!starts)
		return AQM_ERUN;
	t->starts = starts;
	t->starts[t->episodes++] = t->rows;
	return AQM_OK;
}

static int make_pool(struct table *t, const char *const *names, aqm_pool **pool)
{
	const double *columns[AQM_UPDATES_COLUMNS + EXTRA];
	double *turned = aqm_malloc_array(t->rows, t->columns * sizeof *turned);

	if (!turned)
		return AQM_ERUN;
	for (size_t c = 0; c < t->columns; c++) {
		columns[c] = turned + c * t->rows;
		for (size_t r = 0; r < t->rows; r++)
			turned[c * t->rows + r] = t->cells[r * t->columns + c];
	}
	if (t->episodes && t->starts[t->episodes - 1] == t->rows)
		t->episodes--; /* nothing came */
	int code = t->rows ? aqm_pool_from_columns(pool, t->rows, t->columns, names, columns, t->actions, t->actions, t->episodes, t->starts)
	                   : aqm_error_set(AQM_EDATA, "the student met no packet in the simulator");
	free(turned);
	return code;
}

/* ---- a run ---- */

struct run {
	struct aqm_sim_hook student;
	struct table *table;
};

/* Pass the decision on, and write down what was decided on. */
static int decide(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	struct run *run = context;
	int code = run->student.decide(run->student.context, decision, action);
	double *row = code == AQM_OK ? add_row(run->table, (uint8_t)*action) : NULL;

	if (!row)
		return code == AQM_OK ? AQM_ERUN : code;
	row[0] = decision->time;
	for (size_t i = 0; i < AQM_FIELD_ACTION_LOGGED; i++)
		row[1 + i] = (double)decision->fields[i];
	return AQM_OK;
}

static int take_updates(struct table *t, const struct aqm_updates *updates)
{
	int code = AQM_OK;

	for (size_t c = 0; c < AQM_QUEUES && code == AQM_OK; c++) {
		code = begin_episode(t);
		for (size_t i = 0; i < updates->of[c].count && code == AQM_OK; i++) {
			double *row = add_row(t, 0);

			if (!row)
				return AQM_ERUN;
			memcpy(row, updates->of[c].rows[i], sizeof updates->of[c].rows[i]);
			row[AQM_UPDATES_COLUMNS] = row[AQM_UPDATES_COLUMNS + 1] = 1; /* as good as any: the teacher is told its target */
		}
	}
	return code;
}

static int simulate(const struct aqm_scenario *scenario, const aqm_student *student, struct table *table, size_t utility, double *worth)
{
	struct aqm_sim_result result = {0};
	struct aqm_sim_student *own = NULL;
	struct aqm_updates updates = {0};
	struct run run = {.table = table};
	bool packets = student->control == AQM_CONTROL_PACKET;
	int code = aqm_sim_student_new(&own, &run.student, student);
	struct aqm_sim_hook hook = run.student;

	if (code == AQM_OK && table && packets) {
		hook = (struct aqm_sim_hook){&run, decide, NULL, 0};
		code = begin_episode(table);
	} else if (code == AQM_OK && table) {
		aqm_updates_init(&updates, &hook);
	}
	if (code == AQM_OK)
		code = aqm_sim_run(scenario, &(struct aqm_sim_options){.hook = &hook}, &result);
	if (code == AQM_OK)
		*worth = aqm_utility(utility, &result);
	if (code == AQM_OK && table && !packets)
		code = take_updates(table, &updates);
	if (table && !packets)
		aqm_updates_release(&updates);
	aqm_sim_result_release(&result);
	aqm_sim_student_free(own);
	return code;
}

static int load(struct aqm_scenario *scenario, const struct aqm_config *config, size_t index, uint64_t seed)
{
	char assignment[64];
	int code;

	aqm_scenario_init(scenario);
	code = aqm_scenario_read(scenario, config->distill.scenarios.items[index]);
	if (code == AQM_OK) {
		snprintf(assignment, sizeof assignment, "seconds=%.17g", config->distill.seconds);
		code = aqm_scenario_set(scenario, assignment);
	}
	if (code == AQM_OK && strlen(config->distill.host) >= sizeof scenario->aqm.kind)
		code = aqm_error_set(AQM_EUSAGE, "no AQM '%s'", config->distill.host);
	if (code != AQM_OK)
		return code;
	snprintf(scenario->aqm.kind, sizeof scenario->aqm.kind, "%s", config->distill.host);
	scenario->seed += seed;
	return aqm_scenario_check(scenario);
}

int aqm_student_rounds(const aqm_student *student, const struct aqm_config *config, uint64_t seed, aqm_pool **pool, double *utility)
{
	bool packets = student->control == AQM_CONTROL_PACKET;
	struct table table = {.columns = packets ? PACKET_COLUMNS : AQM_UPDATES_COLUMNS + EXTRA};
	const char *names[AQM_UPDATES_COLUMNS + EXTRA];
	size_t of = 0, count = config->distill.scenarios.count;
	double sum = 0;
	int code = aqm_utility_find(config->distill.utility, &of);

	names[0] = "time";
	for (size_t i = 0; packets && i < AQM_FIELD_ACTION_LOGGED; i++)
		names[1 + i] = aqm_fields(NULL)[i].name;
	for (size_t i = 0; !packets && i < AQM_UPDATES_COLUMNS; i++)
		names[i] = aqm_updates_columns[i];
	if (!packets) {
		names[AQM_UPDATES_COLUMNS] = "utility";
		names[AQM_UPDATES_COLUMNS + 1] = "utility_rank";
	}
	for (size_t i = 0; i < count && code == AQM_OK; i++) {
		struct aqm_scenario scenario;
		double worth = 0;

		code = load(&scenario, config, i, seed);
		if (code == AQM_OK)
			code = simulate(&scenario, student, pool ? &table : NULL, of, &worth);
		sum += worth;
		aqm_scenario_release(&scenario);
	}
	if (code == AQM_OK && pool)
		code = make_pool(&table, names, pool);
	if (utility)
		*utility = count ? sum / (double)count : (double)NAN;
	free(table.cells);
	free(table.actions);
	free(table.starts);
	return code;
}
