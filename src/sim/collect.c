/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Pools of many short runs. What a run is like is a function of (seed, number of the run); runs are simulated side by
 * side in batches, and written in their order.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/size.h"
#include "base/thread.h"
#include "pool/table.h"
#include "sim/qdisc.h"

struct row {
	double time;
	uint64_t fields[AQM_LOG_FIELDS];
	uint8_t action;
};

struct episode {
	struct row *rows; /* owned */
	size_t count, capacity;
	char name[256], behaviour[192];
	char sha256[65]; /* of the scenario */
	int code;
	char message[256];
};

/* ---- what a run is like ---- */

static double between(struct aqm_rng *rng, double low, double high)
{
	return low + (high - low) * (aqm_rng_u32(rng) * 0x1p-32);
}

/* Evenly on a logarithmic scale. */
static double around(struct aqm_rng *rng, double low, double high)
{
	return low * pow(high / low, aqm_rng_u32(rng) * 0x1p-32);
}

static bool chance(struct aqm_rng *rng, double probability)
{
	return aqm_rng_u32(rng) * 0x1p-32 < probability;
}

static int draw_flows(struct aqm_scenario *s, struct aqm_rng *rng)
{
	static const struct {
		const char *cc;
		double likely;
	} kinds[] = {{"prague", 0.5}, {"dctcp", 0.3}, {"cubic", 0.7}, {"reno", 0.5}};
	double common = around(rng, 5, 100);

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds || s->flow_count == 0; i++) {
		size_t kind = i % (sizeof kinds / sizeof *kinds);
		bool takes_part = chance(rng, kinds[kind].likely), ect0 = chance(rng, 0.3), own = chance(rng, 0.3);
		int64_t count = 1 + (int64_t)aqm_rng_below(rng, 4);
		double rtt = around(rng, 5, 100), start = chance(rng, 0.3) ? between(rng, 0, s->seconds / 2) : 0;

		if (!takes_part)
			continue;
		struct aqm_flow_settings *f = aqm_scenario_add_flows(s, kinds[kind].cc, count, own ? rtt : common);
		if (!f)
			return AQM_ERUN;
		f->start = start;
		if (kind >= 2 && ect0)
			f->ecn = AQM_ECN_ECT0;
	}
	if (chance(rng, 0.15)) {
		struct aqm_flow_settings *f = aqm_scenario_add_flows(s, "udp", 1, 10);

		if (!f)
			return AQM_ERUN;
		f->rate = s->link.rate * between(rng, 0.1, 1.3);
		f->ecn = chance(rng, 0.5) ? AQM_ECN_ECT1 : AQM_ECN_OFF;
		f->on = f->off = chance(rng, 0.5) ? between(rng, 5, 200) : 0;
	}
	if (chance(rng, 0.2)) {
		struct aqm_flow_settings *f = aqm_scenario_add_flows(s, "cubic", 1, common);

		if (!f)
			return AQM_ERUN;
		f->arrivals = s->link.rate / 4 * between(rng, 0.2, 1);
	}
	return AQM_OK;
}

/* Settings around the defaults of DualPI2 and PIE, good ones and bad ones. */
static void draw_settings(struct aqm_aqm_settings *a, struct aqm_rng *rng)
{
	bool freebsd = strcmp(a->kind, "freebsd-l4s") == 0;

	a->target = 15 * around(rng, 0.25, 4);
	a->tupdate = 15 * around(rng, 0.5, 2);
	a->alpha = (freebsd ? 0.125 : 0.15) * around(rng, 0.2, 5);
	a->beta = (freebsd ? 1.25 : 3) * around(rng, 0.2, 5);
	if (freebsd) {
		a->max_burst = 150 * around(rng, 0.1, 1);
		a->max_ecnth = around(rng, 0.02, 0.5);
		a->tick = chance(rng, 0.5) ? 10 : 1;
	} else {
		a->coupling = around(rng, 1, 4);
		a->step = around(rng, 0.3, 3);
	}
}

static const char *const recorded[] = {"freebsd-l4s", "dualpi2", "dualpi2-linux"};

static int draw_scenario(const struct aqm_collect_options *o, uint64_t run, struct aqm_scenario *s, double *epsilon)
{
	struct aqm_rng rng;
	size_t kinds = o->aqms ? o->aqm_count : sizeof recorded / sizeof *recorded;

	aqm_rng_init(&rng, o->seed, AQM_STREAM_COLLECT, (uint32_t)run);
	aqm_scenario_init(s);
	s->seconds = o->seconds > 0 ? o->seconds : 10;
	s->seed = (uint64_t)aqm_rng_u32(&rng) << 32 | aqm_rng_u32(&rng);
	s->link.rate = around(&rng, 4, 100);
	s->link.acks = chance(&rng, 0.25) ? AQM_ACKS_SHARED : AQM_ACKS_FREE;
	snprintf(s->aqm.kind, sizeof s->aqm.kind, "%s", (o->aqms ? o->aqms : recorded)[run % kinds]);
	if (o->randomise)
		draw_settings(&s->aqm, &rng);
	*epsilon = chance(&rng, 0.5) ? between(&rng, 0, o->epsilon) : 0;
	if (chance(&rng, 0.2)) {
		s->link.changes = aqm_malloc_array(2, sizeof *s->link.changes);
		if (!s->link.changes)
			return AQM_ERUN;
		s->link.change_count = 2;
		s->link.changes[0] = (struct aqm_rate_change){s->seconds / 3, s->link.rate * around(&rng, 0.2, 2)};
		s->link.changes[1] = (struct aqm_rate_change){s->seconds * 2 / 3, s->link.rate};
	}
	return draw_flows(s, &rng);
}

static void name_episode(const struct aqm_scenario *s, uint64_t run, double epsilon, struct episode *e)
{
	const struct aqm_aqm_settings *a = &s->aqm;
	size_t at = (size_t)snprintf(e->name, sizeof e->name, "sim run %llu: %.3g Mb/s%s,", (unsigned long long)run,
	                             s->link.rate, s->link.acks == AQM_ACKS_SHARED ? ", shared acks" : "");

	for (size_t i = 0; i < s->flow_count && at < sizeof e->name; i++)
		at += (size_t)snprintf(e->name + at, sizeof e->name - at, " %lld %s %.3g ms", (long long)s->flows[i].count,
		                       s->flows[i].cc, s->flows[i].rtt);
	at = (size_t)snprintf(e->behaviour, sizeof e->behaviour, "%s", a->kind);
	if (a->target == a->target)
		at += (size_t)snprintf(e->behaviour + at, sizeof e->behaviour - at,
		                       " target=%.3g tupdate=%.3g alpha=%.3g beta=%.3g", a->target, a->tupdate, a->alpha,
		                       a->beta);
	if (epsilon > 0)
		snprintf(e->behaviour + at, sizeof e->behaviour - at, " epsilon=%.3g", epsilon);
}

/* The scenario's digest stands in the pool where a log's would. */
static int digest(const struct aqm_scenario *s, char hex[65])
{
	aqm_sha256 *hash;
	char *yaml;
	int code = aqm_scenario_dump(s, &yaml);

	if (code != AQM_OK)
		return code;
	code = aqm_sha256_new(&hash);
	if (code == AQM_OK) {
		aqm_sha256_update(hash, yaml, strlen(yaml));
		aqm_sha256_finish(hash, hex);
	}
	free(yaml);
	return code;
}

/* ---- runs ---- */

static int keep(void *context, double time, const uint64_t *fields, enum aqm_action action, enum aqm_action logged)
{
	struct episode *e = context;

	(void)logged;
	if (e->count == e->capacity) {
		size_t capacity = e->capacity ? 2 * e->capacity : 4096;
		struct row *grown = aqm_realloc_array(e->rows, capacity, sizeof *grown);

		if (!grown)
			return AQM_ERUN;
		e->rows = grown;
		e->capacity = capacity;
	}
	struct row *row = &e->rows[e->count++];
	row->time = time;
	row->action = (uint8_t)action;
	memcpy(row->fields, fields, sizeof row->fields);
	return AQM_OK;
}

static void simulate(const struct aqm_collect_options *o, uint64_t run, struct episode *e)
{
	struct aqm_scenario scenario;
	struct aqm_sim_result result = {0};
	struct aqm_sim_sink sink = {e, keep};
	struct aqm_sim_hook hook = {0};
	struct aqm_sim_options options = {.sink = &sink};
	struct aqm_epsilon *random = NULL;
	double epsilon = 0;

	e->count = 0;
	e->code = draw_scenario(o, run, &scenario, &epsilon);
	name_episode(&scenario, run, epsilon, e);
	if (e->code == AQM_OK)
		e->code = digest(&scenario, e->sha256);
	if (e->code == AQM_OK && epsilon > 0) {
		e->code = aqm_epsilon_new(&random, &hook, epsilon, scenario.seed);
		options.hook = &hook;
	}
	if (e->code == AQM_OK)
		e->code = aqm_sim_run(&scenario, &options, &result);
	if (e->code != AQM_OK)
		snprintf(e->message, sizeof e->message, "run %llu: %s", (unsigned long long)run, aqm_error_message());
	aqm_epsilon_free(random);
	aqm_sim_result_release(&result);
	aqm_scenario_release(&scenario);
}

/* ---- the pool ---- */

static int open_pool(struct aqm_pool_writer *writer, const char *path, int threads)
{
	const struct aqm_column_type *types = aqm_pool_column_types();
	struct aqm_table_column columns[AQM_POOL_COLUMNS];

	for (size_t i = 0; i < AQM_POOL_COLUMNS; i++) {
		columns[i] = (struct aqm_table_column){
			.unit = types[i].unit, .description = types[i].description, .kind = types[i].kind, .used = true};
		snprintf(columns[i].name, sizeof columns[i].name, "%s", types[i].name);
	}
	return aqm_pool_writer_open(writer, path, columns, AQM_POOL_COLUMNS, -1, threads);
}

static void put_row(const struct aqm_table *table, size_t at, const struct row *row)
{
	const struct aqm_column_type *types = aqm_pool_column_types();

	((double *)aqm_table_buffer(table, AQM_COLUMN_TIME))[at] = row->time;
	((uint8_t *)aqm_table_buffer(table, AQM_COLUMN_ACTION))[at] = row->action;
	for (size_t f = 0; f < AQM_LOG_FIELDS; f++) {
		size_t column = AQM_COLUMN_FIRST_FIELD + f;
		void *buffer = aqm_table_buffer(table, column);

		if (types[column].kind == AQM_KIND_U8)
			((uint8_t *)buffer)[at] = (uint8_t)row->fields[f];
		else if (types[column].kind == AQM_KIND_U32)
			((uint32_t *)buffer)[at] = (uint32_t)row->fields[f];
		else
			((uint64_t *)buffer)[at] = row->fields[f];
	}
}

static int write_episode(struct aqm_pool_writer *writer, struct aqm_provenance *provenance, const struct episode *e)
{
	aqm_table *table = writer->records;
	int code = AQM_OK;

	if (e->count == 0)
		return AQM_OK;
	code = aqm_pool_writer_episode(writer, aqm_table_rows(table), (uint32_t)provenance->input_count);
	if (code == AQM_OK)
		code = aqm_pool_writer_behaviour(writer, e->behaviour);
	if (code == AQM_OK)
		code = aqm_provenance_add_input(provenance, e->name, 0, e->sha256);
	for (size_t done = 0; done < e->count && code == AQM_OK;) {
		size_t room = aqm_table_room(table), rows = e->count - done < room ? e->count - done : room;
		size_t at = aqm_table_filled(table);

		for (size_t i = 0; i < rows; i++)
			put_row(table, at + i, &e->rows[done + i]);
		code = aqm_table_advance(table, rows);
		done += rows;
	}
	return code;
}

static int collect(const struct aqm_collect_options *o, struct aqm_pool_writer *writer,
                   struct aqm_provenance *provenance, struct episode *episodes, int batch, int threads)
{
	struct aqm_progress progress;
	uint64_t runs = (uint64_t)o->runs;
	int code = AQM_OK;

	aqm_progress_start(&progress, "simulating", runs, 0);
	for (uint64_t first = 0; first < runs && code == AQM_OK; first += (uint64_t)batch) {
		int count = runs - first < (uint64_t)batch ? (int)(runs - first) : batch;

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
		for (int i = 0; i < count; i++)
			simulate(o, first + (uint64_t)i, &episodes[i]);
		for (int i = 0; i < count && code == AQM_OK; i++)
			code = episodes[i].code == AQM_OK ? write_episode(writer, provenance, &episodes[i])
			                                  : aqm_error_set(episodes[i].code, "%s", episodes[i].message);
		aqm_progress_note(&progress, "%llu records", (unsigned long long)aqm_table_rows(writer->records));
		aqm_progress_update(&progress, first + (uint64_t)count);
	}
	aqm_progress_end(&progress);
	if (code == AQM_OK && aqm_table_rows(writer->records) == 0)
		code = aqm_error_set(AQM_ERUN, "no run has made a record");
	return code;
}

int aqm_sim_collect(const struct aqm_collect_options *options)
{
	int threads = options->threads > 0 ? options->threads : aqm_threads(), batch = 2 * threads;
	struct episode *episodes = aqm_calloc_array((size_t)batch, sizeof *episodes);
	struct aqm_provenance provenance = {0};
	struct aqm_pool_writer writer = {.file = -1};
	int code = episodes ? AQM_OK : AQM_ERUN;

	for (size_t i = 0; options->aqms && i < options->aqm_count && code == AQM_OK; i++) {
		const struct aqm_qdisc_type *type = aqm_qdisc_find(options->aqms[i]);

		if (!type || !type->keeps_records)
			code = aqm_error_set(AQM_EUSAGE,
			                     "'%s' is no AQM that keeps records; those are freebsd-l4s, dualpi2, dualpi2-linux",
			                     options->aqms[i]);
	}
	if (code == AQM_OK)
		code = open_pool(&writer, options->output, threads);
	if (code == AQM_OK)
		code = collect(options, &writer, &provenance, episodes, batch, threads);
	if (code == AQM_OK)
		code = aqm_pool_writer_commit(&writer, &provenance);
	aqm_pool_writer_abort(&writer);
	aqm_provenance_release(&provenance);
	for (int i = 0; episodes && i < batch; i++)
		free(episodes[i].rows);
	free(episodes);
	return code;
}
