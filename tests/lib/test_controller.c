/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The API of libaqmtrain: a controller decides as the policy's decider does, looks back at what happened, tells errors
 * apart, and works beside others in threads.
 */
#include "../helper_policy.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/thread.h"
#include "distill/student.h"

static const char bundle[] = "./policy.bundle", base[] = "llama.gguf";

/* A policy of these settings as a file in the scratch folder. */
static void make_bundle(struct fixture *f, const char *const *settings)
{
	fixture_init(f, base, settings, 1, false);
	CHECK_OK(aqm_policy_save_with(f->policy, bundle, "{}"));
}

static double column_value(const aqm_pool *pool, const char *field, size_t row)
{
	double values[ROWS];

	assert_true(aqm_pool_rows(pool) <= ROWS);
	CHECK_OK(aqm_pool_column(pool, field, values));
	return values[row];
}

static struct aqm_record record_of(const aqm_pool *pool, size_t row)
{
	return (struct aqm_record){
		.current_qdelay = (uint32_t)column_value(pool, "current_qdelay", row),
		.drop_prob = (uint32_t)column_value(pool, "drop_prob", row),
		.len_bytes = (uint32_t)column_value(pool, "len_bytes", row),
		.pkt_len = (uint64_t)column_value(pool, "pkt_len", row),
	};
}

static void state_of(const aqm_pool *pool, size_t row, double features[4])
{
	features[0] = column_value(pool, "current_qdelay", row);
	features[1] = column_value(pool, "drop_prob", row);
	features[2] = column_value(pool, "len_bytes", row);
	features[3] = column_value(pool, "pkt_len", row);
}

/* ---- control: packet ---- */

static void test_decides_as_the_policy(void **state)
{
	struct fixture f;
	aqm_controller *controller;
	aqm_decider *decider;

	(void)state;
	make_bundle(&f, NULL);
	CHECK_OK(aqm_controller_open(&controller, bundle, golden_path(base)));
	assert_false(aqm_controller_updates(controller));
	for (int round = 0; round < 3; round++) { /* the policy's target, another one, and a reset */
		double target = round == 0 ? NAN : 2.5 * f.fit.return_quantiles[90] + 1;

		if (round == 1)
			CHECK_OK(aqm_controller_aim(controller, target));
		if (round == 2)
			aqm_controller_reset(controller);
		CHECK_OK(aqm_decider_new(&decider, f.policy, target));
		for (size_t i = 0; i < SECOND_EPISODE; i++) {
			struct aqm_record record = record_of(f.pool, i);
			enum aqm_action action, expected, happened = (enum aqm_action)f.rows.actions[i];
			double features[4], probabilities[AQM_ACTIONS], sum = 0;
			float logits[AQM_ACTIONS];

			state_of(f.pool, i, features);
			CHECK_OK(aqm_decider_decide(decider, features, &expected, logits));
			CHECK_OK(aqm_controller_decide(controller, &record, &action, i % 5 ? probabilities : NULL));
			assert_int_equal(action, expected);
			for (int a = 0; i % 5 && a < AQM_ACTIONS; a++) {
				double ratio = exp((double)logits[a] - (double)logits[expected]);

				assert_true(fabs(probabilities[a] / probabilities[expected] - ratio) < 1e-9);
				sum += probabilities[a];
			}
			assert_true(i % 5 == 0 || fabs(sum - 1) < 1e-12);
			if (i % 3) { /* else: taken to have been carried out */
				CHECK_OK(aqm_controller_observe(controller, happened));
				expected = happened;
			}
			double reward = aqm_pool_reward(&f.config, features[3], features[0]);
			CHECK_OK(aqm_decider_observe(decider, expected, reward));
		}
		aqm_decider_free(decider);
	}
	aqm_controller_close(controller);
	fixture_release(&f);
}

/* ---- control: update ---- */

enum { PACKETS = 3 }; /* an interval */

/* Rows in groups of PACKETS that share drop_prob. */
static aqm_pool *make_intervals(size_t rows)
{
	static const char *const names[] = {"current_qdelay", "drop_prob", "len_bytes", "pkt_len"};
	static double values[4][ROWS];
	const double *const columns[] = {values[0], values[1], values[2], values[3]};
	uint8_t actions[ROWS];
	const size_t start = 0;
	aqm_pool *pool;

	for (size_t i = 0; i < rows; i++) {
		values[0][i] = (double)(i * 7919 % 40000);
		values[1][i] = (double)((i / PACKETS + 1) * 15485863 % 1000000007);
		values[2][i] = (double)(i * 104729 % 90000);
		values[3][i] = i % 4 ? 1500 : 52;
		actions[i] = (uint8_t)(i % 3);
	}
	CHECK_OK(aqm_pool_from_columns(&pool, rows, 4, names, columns, actions, actions, 1, &start));
	return pool;
}

static void test_updates_as_the_policy(void **state)
{
	static const char *const settings[] = {"control=update", NULL};
	struct fixture f;
	aqm_controller *controller;
	aqm_decider *decider;
	aqm_pool *packets = make_intervals(ROWS - 1), *intervals;
	double next, expected;

	(void)state;
	make_bundle(&f, settings);
	CHECK_OK(aqm_pool_updates(&intervals, packets));
	CHECK_OK(aqm_controller_open(&controller, bundle, golden_path(base)));
	assert_true(aqm_controller_updates(controller));
	CHECK_OK(aqm_decider_new(&decider, f.policy, NAN));
	assert_int_equal(aqm_controller_update(controller, &next), AQM_EUSAGE);
	for (size_t i = 0; i < aqm_pool_rows(intervals); i++) {
		double features[4];

		state_of(intervals, i, features);
		CHECK_OK(aqm_decider_update(decider, features, features[1] * 0x1p-31, &expected));
		for (size_t k = 0; k < PACKETS; k++) {
			struct aqm_record record = record_of(packets, i * PACKETS + k);

			CHECK_OK(aqm_controller_count(controller, &record, (enum aqm_action)(k % AQM_ACTIONS)));
		}
		CHECK_OK(aqm_controller_update(controller, &next));
		assert_true(fabs(next - expected) <= 1e-12);
		double reward = aqm_pool_reward(&f.config, column_value(intervals, "arrived_bytes", i), features[0]);
		CHECK_OK(aqm_decider_observe_update(decider, expected, reward));
	}
	struct aqm_record record = record_of(packets, 0);
	enum aqm_action action;
	assert_int_equal(aqm_controller_decide(controller, &record, &action, NULL), AQM_EUSAGE);
	aqm_decider_free(decider);
	aqm_controller_close(controller);
	aqm_pool_free(intervals);
	aqm_pool_free(packets);
	fixture_release(&f);
}

/* ---- students ---- */

static const char student_path[] = "./student.json";

/* Marks from 12 ms on and drops from 20 ms on. */
static void make_tree(void)
{
	struct aqm_student_node nodes[5] = {
		{.threshold = 11999, .low = 1, .high = 2}, {.label = AQM_ENQUEUE, .share = {250, 2, 3}},
		{.threshold = 19999, .low = 3, .high = 4}, {.label = AQM_MARK, .share = {5, 20, 230}},
		{.label = AQM_DROP, .share = {0, 255, 0}},
	};
	aqm_student tree = {.control = AQM_CONTROL_PACKET,
	                    .kind = AQM_STUDENT_TREE,
	                    .count = 1,
	                    .values = 1,
	                    .nodes = nodes,
	                    .node_count = 5};

	tree.inputs[0] = (struct aqm_student_source){.name = "current_qdelay", .place = 10, .bits = 32, .length = 1};
	tree.depth = 2;
	CHECK_OK(aqm_student_save(&tree, student_path));
}

static void test_decides_as_the_student(void **state)
{
	const uint32_t delays[] = {0, 11999, 12000, 19999, 20000, UINT32_MAX, 5};
	const enum aqm_action actions[] = {AQM_ENQUEUE, AQM_ENQUEUE, AQM_MARK, AQM_MARK, AQM_DROP, AQM_DROP, AQM_ENQUEUE};
	aqm_controller *controller;
	struct aqm_record record = {0};
	enum aqm_action action;
	double probabilities[AQM_ACTIONS], next;

	(void)state;
	make_tree();
	CHECK_OK(aqm_controller_open(&controller, student_path, "./a base that it does not need"));
	assert_false(aqm_controller_updates(controller));
	for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
		record.current_qdelay = delays[i];
		CHECK_OK(aqm_controller_decide(controller, &record, &action, probabilities));
		assert_int_equal(action, actions[i]);
		assert_true(fabs(probabilities[0] + probabilities[1] + probabilities[2] - 1) < 1e-9);
		for (int a = 0; a < AQM_ACTIONS; a++)
			assert_true(probabilities[a] >= 0 && probabilities[a] <= probabilities[action]);
		if (i % 2)
			CHECK_OK(aqm_controller_observe(controller, AQM_DROP));
	}
	aqm_controller_reset(controller);
	assert_int_equal(aqm_controller_observe(controller, AQM_DROP), AQM_EUSAGE);
	assert_int_equal(aqm_controller_aim(controller, 1), AQM_EUSAGE);
	assert_int_equal(aqm_controller_count(controller, &record, AQM_DROP), AQM_EUSAGE);
	assert_int_equal(aqm_controller_update(controller, &next), AQM_EUSAGE);
	aqm_controller_close(controller);
}

/* A network that raises p' with the delay at the end of an interval. */
static void test_updates_as_the_student(void **state)
{
	aqm_student network = {.control = AQM_CONTROL_UPDATE, .kind = AQM_STUDENT_NETWORK, .count = 1, .values = 1};
	struct aqm_student_state alone = {0};
	aqm_controller *controller;
	aqm_student *loaded;
	enum aqm_action action;
	double next, raised = 0;

	(void)state;
	network.inputs[0] =
		(struct aqm_student_source){.name = "qdelay_end", .bits = 64, .length = 1, .log = {10 << 10, 0}};
	network.network = (struct aqm_student_network){.units = 1,
	                                               .hidden = 1,
	                                               .outputs = 1,
	                                               .encoder = {{64}},
	                                               .encoder_shift = 6,
	                                               .dense = {{64}},
	                                               .dense_shift = 6,
	                                               .head = {{64}},
	                                               .head_shift = 6};
	CHECK_OK(aqm_student_save(&network, student_path));
	CHECK_OK(aqm_student_load(&loaded, student_path));
	CHECK_OK(aqm_controller_open(&controller, student_path, NULL));
	assert_true(aqm_controller_updates(controller));
	for (uint64_t i = 0; i < 20; i++) {
		struct aqm_record record = {.drop_prob = 20000000, .current_qdelay = 7};
		uint64_t end = i * i * 997;

		CHECK_OK(aqm_controller_count(controller, &record, AQM_ENQUEUE));
		record.current_qdelay = (uint32_t)end;
		CHECK_OK(aqm_controller_count(controller, &record, AQM_MARK));
		CHECK_OK(aqm_controller_update(controller, &next));
		assert_true(next == aqm_student_update(loaded, &alone, &end, 40000000) * 0x1p-32);
		raised = fmax(raised, next);
	}
	assert_true(raised > 20000000 * 0x1p-31);
	assert_int_equal(aqm_controller_update(controller, &next), AQM_EUSAGE);
	assert_int_equal(aqm_controller_decide(controller, &(struct aqm_record){0}, &action, NULL), AQM_EUSAGE);
	aqm_controller_close(controller);
	aqm_student_free(loaded);

	/* A mean that only the simulator keeps: no zeros in its place. */
	strcpy(network.inputs[0].name, "slow_delay");
	CHECK_OK(aqm_student_save(&network, student_path));
	assert_int_equal(aqm_controller_open(&controller, student_path, NULL), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "the student wants 'slow_delay'"));
}

/* ---- errors ---- */

static void test_errors(void **state)
{
	struct fixture f;
	struct aqm_record record = {0};
	enum aqm_action action;
	double next;
	aqm_controller *controller = (aqm_controller *)&f;

	(void)state;
	assert_int_equal(aqm_controller_open(&controller, "./nothing.bundle", NULL), AQM_EDATA);
	assert_null(controller);
	assert_non_null(strstr(aqm_error_message(), "nothing.bundle"));
	make_bundle(&f, NULL);
	assert_int_equal(aqm_controller_open(&controller, bundle, golden_path("gpt2.gguf")), AQM_EDATA);
	assert_int_equal(aqm_controller_open(&controller, golden_path(base), NULL), AQM_EDATA); /* not a policy */
	CHECK_OK(aqm_controller_open(&controller, bundle, NULL)); /* the base lies where it did */
	assert_int_equal(aqm_controller_observe(controller, AQM_DROP), AQM_EUSAGE);
	assert_int_equal(aqm_controller_count(controller, &record, AQM_DROP), AQM_EUSAGE);
	assert_int_equal(aqm_controller_update(controller, &next), AQM_EUSAGE);
	assert_int_equal(aqm_controller_aim(controller, INFINITY), AQM_EUSAGE);
	CHECK_OK(aqm_controller_decide(controller, &record, &action, NULL));
	assert_int_equal(aqm_controller_observe(controller, (enum aqm_action)3), AQM_EUSAGE);
	CHECK_OK(aqm_controller_observe(controller, AQM_MARK)); /* the wrong one did not count */
	assert_int_equal(aqm_controller_observe(controller, AQM_MARK), AQM_EUSAGE);
	aqm_controller_close(controller);
	aqm_controller_close(NULL);
	fixture_release(&f);
}

/* A policy may have been trained on columns that no record has. */
static void test_features_that_records_lack(void **state)
{
	static const char *const names[] = {"current_qdelay", "length_of_neighbour"};
	const double delays[] = {1, 5, 9, 2, 7, 3, 8, 4}, others[] = {4, 3, 9, 8, 1, 2, 7, 5};
	const double *const columns[] = {delays, others};
	const uint8_t actions[] = {0, 1, 2, 0, 1, 2, 0, 1};
	const size_t start = 0;
	struct aqm_config config;
	struct aqm_fit fit;
	aqm_pool *pool;
	aqm_policy *policy;
	aqm_controller *controller;

	(void)state;
	small_policy_config(&config, (const char *const[]){"policy.sequences=[]",
	                                                   "policy.features=[current_qdelay, length_of_neighbour]",
	                                                   "reward.kind=tradeoff", "reward.delay_weight=0", NULL});
	CHECK_OK(aqm_pool_from_columns(&pool, 8, 2, names, columns, actions, actions, 1, &start));
	memset(&fit, 0, sizeof fit);
	aqm_normaliser_fit(&fit.states, config.policy.normaliser, 2, 8, columns);
	fit.rewards.width = fit.return_scale = 1;
	CHECK_OK(aqm_policy_new(&policy, &config, &fit, golden_path(base), false));
	CHECK_OK(aqm_policy_allocate(policy, 1));
	CHECK_OK(aqm_policy_save(policy, bundle));
	assert_int_equal(aqm_controller_open(&controller, bundle, NULL), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "length_of_neighbour"));
	aqm_policy_free(policy);
	aqm_pool_free(pool);
	aqm_config_release(&config);
}

/* ---- threads ---- */

enum { THREADS = 6, DECISIONS = 24 };

struct worker {
	struct aqm_record records[DECISIONS];
	double probabilities[DECISIONS][AQM_ACTIONS];
	const char *error; /* NULL: none */
	char missing[64];
};

static void decide_all(struct worker *worker, double probabilities[DECISIONS][AQM_ACTIONS])
{
	aqm_controller *controller;
	enum aqm_action action;

	aqm_threads_set(1);
	if (aqm_controller_open(&controller, worker->missing, NULL) == AQM_OK ||
	    !strstr(aqm_error_message(), worker->missing))
		worker->error = "another thread's message";
	if (aqm_controller_open(&controller, bundle, NULL) != AQM_OK) {
		worker->error = "not opened";
		return;
	}
	for (size_t i = 0; i < DECISIONS; i++)
		if (aqm_controller_decide(controller, &worker->records[i], &action, probabilities[i]) != AQM_OK)
			worker->error = "not decided";
	aqm_controller_close(controller);
}

static void *work(void *context)
{
	struct worker *worker = context;

	decide_all(worker, worker->probabilities);
	return NULL;
}

static void test_threads(void **state)
{
	static struct worker workers[THREADS];
	pthread_t threads[THREADS];
	struct fixture f;

	(void)state;
	make_bundle(&f, NULL);
	for (size_t t = 0; t < THREADS; t++) {
		snprintf(workers[t].missing, sizeof workers[t].missing, "./missing-%zu", t);
		for (size_t i = 0; i < DECISIONS; i++)
			workers[t].records[i] = record_of(f.pool, (t * 5 + i) % ROWS);
	}
	for (size_t t = 0; t < THREADS; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, work, &workers[t]), 0);
	for (size_t t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	for (size_t t = 0; t < THREADS; t++) {
		double alone[DECISIONS][AQM_ACTIONS];

		if (workers[t].error)
			fail_msg("thread %zu: %s", t, workers[t].error);
		decide_all(&workers[t], alone);
		assert_null(workers[t].error);
		assert_memory_equal(alone, workers[t].probabilities, sizeof alone);
	}
	fixture_release(&f);
}

static void test_version(void **state)
{
	char expected[32];

	(void)state;
	snprintf(expected, sizeof expected, "%d.%d.%d", AQMTRAIN_VERSION_MAJOR, AQMTRAIN_VERSION_MINOR,
	         AQMTRAIN_VERSION_PATCH);
	assert_string_equal(aqm_version(), expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version),
		cmocka_unit_test_setup_teardown(test_decides_as_the_policy, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_updates_as_the_policy, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_decides_as_the_student, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_updates_as_the_student, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_errors, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_features_that_records_lack, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_threads, scratch_enter, scratch_leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
