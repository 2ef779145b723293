/* SPDX-License-Identifier: BSD-2-Clause */
/* What a run writes as a kernel log is what a parser reads, record by record; pools that are collected; hooks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "aqmtrain/sim.h"
#include "pool/fields.h"

struct memory {
	uint64_t (*rows)[AQM_LOG_FIELDS];
	uint8_t *actions;
	size_t count, capacity;
};

static int keep(void *context, double time, const uint64_t *fields, enum aqm_action action, enum aqm_action logged)
{
	struct memory *m = context;

	(void)time;
	assert_int_equal(fields[AQM_FIELD_ACTION_LOGGED], logged);
	if (m->count == m->capacity) {
		m->capacity = m->capacity ? 2 * m->capacity : 1024;
		m->rows = realloc(m->rows, m->capacity * sizeof *m->rows);
		m->actions = realloc(m->actions, m->capacity);
	}
	memcpy(m->rows[m->count], fields, sizeof *m->rows);
	m->actions[m->count++] = (uint8_t)action;
	return AQM_OK;
}

static void make(struct aqm_scenario *s, const char *aqm)
{
	aqm_scenario_init(s);
	s->link.rate = 6;
	s->link.acks = AQM_ACKS_SHARED;
	s->seconds = 20;
	snprintf(s->aqm.kind, sizeof s->aqm.kind, "%s", aqm);
	assert_non_null(aqm_scenario_add_flows(s, "cubic", 2, 20));
	assert_non_null(aqm_scenario_add_flows(s, "dctcp", 2, 20));
	s->flows[0].ecn = AQM_ECN_ECT0;
}

static void compare(const struct memory *m, const char *pool_path)
{
	size_t fields;
	const struct aqm_field *names = aqm_fields(&fields);
	double *column = malloc(m->count * sizeof *column);
	uint8_t *actions = malloc(m->count);
	aqm_pool *pool;

	CHECK_OK(aqm_pool_open(&pool, pool_path));
	assert_int_equal(aqm_pool_rows(pool), m->count);
	for (size_t f = 0; f < fields; f++) {
		CHECK_OK(aqm_pool_column(pool, names[f].name, column));
		for (size_t i = 0; i < m->count; i++)
			if (column[i] != (double)m->rows[i][f])
				fail_msg("%s of record %zu: %.0f, not %.0f", names[f].name, i, column[i], (double)m->rows[i][f]);
	}
	CHECK_OK(aqm_pool_actions(pool, AQM_LABELS_EFFECTIVE, actions));
	assert_memory_equal(actions, m->actions, m->count);
	aqm_pool_free(pool);
	free(column);
	free(actions);
}

static void logs_parse_back(void **state)
{
	static const char *const logs[] = {"sim.log", "sim.log.gz", "sim.log.bz2"}, *const kinds[] = {"freebsd-l4s",
	                                                                                              "dualpi2",
	                                                                                              "dualpi2-linux"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct memory m = {0};
		const struct aqm_sim_sink sink = {&m, keep};
		const struct aqm_sim_options options = {.sink = &sink, .log_path = logs[i]};
		struct aqm_parse_options parse;
		struct aqm_scenario s;
		struct aqm_sim_result r;

		make(&s, kinds[i]);
		CHECK_OK(aqm_sim_run(&s, &options, &r));
		assert_int_equal(r.records, m.count);
		assert_true(m.count > 8000);
		aqm_parse_options_init(&parse);
		CHECK_OK(aqm_pool_parse(&logs[i], 1, "sim.h5", &parse));
		compare(&m, "sim.h5");
		unlink(logs[i]);
		unlink("sim.h5");
		free(m.rows);
		free(m.actions);
		aqm_sim_result_release(&r);
		aqm_scenario_release(&s);
	}
}

/* The faults of --chatter lose exactly the records whose lines were torn. */
static void chatter_is_survived(void **state)
{
	const char *log = "chatter.log";
	struct memory m = {0};
	const struct aqm_sim_sink sink = {&m, keep};
	const struct aqm_sim_options options = {.sink = &sink, .log_path = log, .chatter = true};
	struct aqm_parse_options parse;
	struct aqm_scenario s;
	struct aqm_sim_result r;
	aqm_pool *pool;

	(void)state;
	make(&s, "freebsd-l4s");
	CHECK_OK(aqm_sim_run(&s, &options, &r));
	aqm_parse_options_init(&parse);
	CHECK_OK(aqm_pool_parse(&log, 1, "chatter.h5", &parse));
	CHECK_OK(aqm_pool_open(&pool, "chatter.h5"));
	assert_true(aqm_pool_rows(pool) < m.count && aqm_pool_rows(pool) > m.count * 99 / 100);
	aqm_pool_free(pool);
	unlink(log);
	unlink("chatter.h5");
	free(m.rows);
	free(m.actions);
	aqm_sim_result_release(&r);
	aqm_scenario_release(&s);
}

/* A hook's actions are done and logged as such; p' that it sets is in force. */
static int always_mark(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	(*(size_t *)context)++;
	assert_true(decision->rule <= AQM_MARK);
	*action = AQM_MARK;
	return AQM_OK;
}

static int set_tenth(void *context, const struct aqm_update *update, double *next)
{
	(*(size_t *)context)++;
	assert_true(update->packets > 0);
	assert_true(update->feature(update, "packets") == (double)update->packets);
	assert_true(isnan(update->feature(update, "nosuch")));
	assert_true(update->feature(update, "qdelay_peak") >= update->feature(update, "current_qdelay"));
	*next = 0.1;
	return AQM_OK;
}

/* The record that a hook sees is the one that is logged, but for what the decision changes. */
struct witness {
	uint64_t fields[AQM_LOG_FIELDS];
	size_t asked, logged;
};

static int see(void *context, const struct aqm_decision *decision, enum aqm_action *action)
{
	struct witness *w = context;

	(void)action;
	memcpy(w->fields, decision->fields, sizeof w->fields);
	assert_int_equal(w->fields[AQM_FIELD_ACTION_LOGGED], 0);
	assert_int_equal(w->fields[AQM_FIELD_QUEUE_TYPE], decision->queue);
	w->asked++;
	return AQM_OK;
}

static int confirm(void *context, double time, const uint64_t *fields, enum aqm_action action, enum aqm_action logged)
{
	struct witness *w = context;

	(void)time;
	(void)action;
	(void)logged;
	for (size_t i = 0; i < AQM_LOG_FIELDS; i++)
		if (i != AQM_FIELD_ACTION_LOGGED && i != AQM_FIELD_ACCU_PROB)
			assert_int_equal(w->fields[i], fields[i]);
	w->logged++;
	return AQM_OK;
}

static void hooks_see_the_record(void **state)
{
	static const char *const names[] = {"freebsd-l4s", "dualpi2", "dualpi2-linux"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct witness w = {0};
		const struct aqm_sim_hook hook = {.context = &w, .decide = see};
		const struct aqm_sim_sink sink = {&w, confirm};
		struct aqm_scenario s;
		struct aqm_sim_result r;

		make(&s, names[i]);
		CHECK_OK(aqm_sim_run(&s, &(struct aqm_sim_options){.hook = &hook, .sink = &sink}, &r));
		assert_true(w.asked > 500);
		assert_int_equal(w.asked, w.logged);
		aqm_sim_result_release(&r);
		aqm_scenario_release(&s);
	}
}

static void hooks_decide(void **state)
{
	size_t asked = 0;
	const struct aqm_sim_hook mark = {.context = &asked, .decide = always_mark},
							  set = {.context = &asked, .update = set_tenth, .delay = 0.02};
	struct aqm_sim_options options = {.hook = &mark};
	struct aqm_scenario s;
	struct aqm_sim_result r;

	(void)state;
	make(&s, "dualpi2");
	CHECK_OK(aqm_sim_run(&s, &options, &r));
	assert_int_equal(asked, r.records);
	assert_true(r.queues[1].mark_probability == 1);
	assert_true(r.queues[0].drop_probability > 0.1); /* acknowledgements cannot be marked: they are dropped */
	aqm_sim_result_release(&r);
	options.hook = &set;
	asked = 0;
	s.seconds = 5;
	s.warmup = 1;
	s.link.acks = AQM_ACKS_FREE;
	CHECK_OK(aqm_sim_run(&s, &options, &r));
	assert_true(asked > 100);
	assert_true(r.series[40].probability[0] == 0.1);
	assert_true(r.queues[1].mark_probability > 0.19); /* k p' and more */
	aqm_sim_result_release(&r);
	snprintf(s.aqm.kind, sizeof s.aqm.kind, "codel");
	assert_int_equal(aqm_sim_run(&s, &options, &r), AQM_EUSAGE);
	aqm_scenario_release(&s);
}

static void collected_pools(void **state)
{
	struct aqm_collect_options options = {
		.output = "one.h5", .runs = 9, .seconds = 1, .epsilon = 0.3, .randomise = true, .threads = 1, .seed = 5};
	aqm_pool *one, *two;
	size_t start, length;

	(void)state;
	CHECK_OK(aqm_sim_collect(&options));
	options.threads = 2;
	options.output = "two.h5";
	CHECK_OK(aqm_sim_collect(&options));
	CHECK_OK(aqm_pool_open(&one, "one.h5"));
	CHECK_OK(aqm_pool_open(&two, "two.h5"));
	assert_string_equal(aqm_pool_digest(one), aqm_pool_digest(two));
	assert_int_equal(aqm_pool_episodes(one), 9);
	for (size_t i = 0; i < 9; i++) {
		aqm_pool_episode(one, i, &start, &length);
		assert_true(length > 0);
	}
	uint8_t *actions = malloc(aqm_pool_rows(one));
	size_t counts[AQM_ACTIONS] = {0};
	CHECK_OK(aqm_pool_actions(one, AQM_LABELS_EFFECTIVE, actions));
	for (size_t i = 0; i < aqm_pool_rows(one); i++)
		counts[actions[i]]++;
	assert_true(counts[AQM_ENQUEUE] && counts[AQM_DROP] && counts[AQM_MARK]);
	free(actions);
	aqm_pool_free(one);
	aqm_pool_free(two);
	unlink("one.h5");
	unlink("two.h5");
	const char *const wrong = "codel";
	options.aqms = &wrong;
	options.aqm_count = 1;
	assert_int_equal(aqm_sim_collect(&options), AQM_EUSAGE);
	assert_int_not_equal(access("two.h5", F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logs_parse_back),
		cmocka_unit_test(chatter_is_survived),
		cmocka_unit_test(hooks_see_the_record), cmocka_unit_test(hooks_decide),
		cmocka_unit_test(collected_pools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
