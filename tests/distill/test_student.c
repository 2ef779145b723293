/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The arithmetic of students, what they remember, and their file.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "../helper_policy.h"
#include "base/file.h"
#include "base/random.h"
#include "distill/student.h"

static void test_logarithm(void **state)
{
	(void)state;
	assert_int_equal(aqm_student_log2(0), 0);
	assert_int_equal(aqm_student_log2(1), 1024);
	assert_int_equal(aqm_student_log2(2), 2048);
	assert_int_equal(aqm_student_log2(3), 2048 + 512);
	assert_int_equal(aqm_student_log2(UINT64_MAX), (64 << 10) + 1023);
	int32_t last = -1;
	for (uint64_t x = 0; x < 1 << 16; x++) { /* never falls, and is near the logarithm */
		int32_t l = aqm_student_log2(x);

		assert_true(l >= last);
		last = l;
		if (x > 0)
			assert_true(fabs((double)l / 1024 - 1 - log2((double)x)) < 0.0871);
	}
	for (int32_t l = 1024; l < 33 << 10; l++) { /* there and back, but for bits that are not kept */
		uint32_t x = aqm_student_exp2(l);
		int32_t back = aqm_student_log2(x);

		assert_true(back <= l && (l >= 11 << 10 ? back == l : back + 1024 > l));
	}
}

static void test_move(void **state)
{
	(void)state;
	assert_int_equal(aqm_student_move(1u << 20, 1024), 1u << 21);
	assert_int_equal(aqm_student_move(1u << 20, -2048), 1u << 18);
	assert_int_equal(aqm_student_move(1u << 20, 0), 1u << 20);
	assert_int_equal(aqm_student_move(1u << 31, 1024), UINT32_MAX);
	assert_int_equal(aqm_student_move(0, 0), 0);
	assert_int_equal(aqm_student_move(5000, -1024), 0);
	assert_true(aqm_student_move(0, 4096) > AQM_STUDENT_LOWEST);
	assert_int_equal(aqm_student_move(UINT32_MAX, INT32_MAX), UINT32_MAX);
	assert_int_equal(aqm_student_move(UINT32_MAX, INT32_MIN), 0);
}

static void test_scale(void **state)
{
	const struct aqm_student_scale down = {1000, 3}, up = {10, -4}, far = {AQM_STUDENT_CENTER_MAX, 0};

	(void)state;
	assert_int_equal(aqm_student_scaled(1000, &down), 0);
	assert_int_equal(aqm_student_scaled(1080, &down), 10);
	assert_int_equal(aqm_student_scaled(920, &down), -10);
	assert_int_equal(aqm_student_scaled(UINT64_MAX, &down), AQM_STUDENT_CLAMP);
	assert_int_equal(aqm_student_scaled(13, &up), 48);
	assert_int_equal(aqm_student_scaled(0, &up), -160);
	assert_int_equal(aqm_student_scaled(UINT64_MAX, &up), AQM_STUDENT_CLAMP);
	assert_int_equal(aqm_student_scaled(0, &far), -AQM_STUDENT_CLAMP);
}

/* Counters are differences modulo their width, sequences have the latest value first; a first record is its own past. */
static void test_past(void **state)
{
	static const struct aqm_student_source inputs[] = {
		{.name = "drops", .delta = true},
		{.name = "tot_bytes", .delta = true},
		{.name = "current_qdelay", .length = 3},
	};
	struct aqm_student_state past = {{0}, {0}, 0};
	uint64_t fields[24] = {0}, values[5];
	aqm_student *s;

	(void)state;
	CHECK_OK(aqm_student_new(&s, AQM_CONTROL_PACKET, AQM_STUDENT_NETWORK, 3, inputs));
	fields[s->inputs[0].place] = UINT32_MAX - 1;
	fields[s->inputs[1].place] = UINT64_MAX;
	fields[s->inputs[2].place] = 7;
	aqm_student_observe(s, &past, fields, values);
	assert_int_equal(values[0], 0);
	assert_int_equal(values[1], 0);
	assert_int_equal(values[2], 7);
	assert_int_equal(values[4], 7);
	fields[s->inputs[0].place] = 3; /* wrapped around */
	fields[s->inputs[1].place] = 1499;
	fields[s->inputs[2].place] = 8;
	aqm_student_observe(s, &past, fields, values);
	assert_int_equal(values[0], 5);
	assert_int_equal(values[1], 1500);
	assert_int_equal(values[2], 8);
	assert_int_equal(values[3], 7);
	fields[s->inputs[2].place] = 9;
	aqm_student_observe(s, &past, fields, values);
	assert_int_equal(values[2], 9);
	assert_int_equal(values[3], 8);
	assert_int_equal(values[4], 7);
	aqm_student_free(s);
}

/* A network that can be followed by hand: mark from a delay of 1000 on, else enqueue. */
static aqm_student *by_hand(void)
{
	static const struct aqm_student_source inputs[] = {{.name = "current_qdelay"}};
	aqm_student *s;

	CHECK_OK(aqm_student_new(&s, AQM_CONTROL_PACKET, AQM_STUDENT_NETWORK, 1, inputs));
	s->network.units = s->network.hidden = 1;
	s->inputs[0].linear = (struct aqm_student_scale){1000, 0};
	s->network.encoder[1][0] = 4; /* four units of 2^-10 are one of 2^-8 */
	s->network.dense[0][0] = 1;
	s->network.head[AQM_MARK][0] = 1;
	return s;
}

static void test_decide(void **state)
{
	aqm_student *s = by_hand();
	struct aqm_student_state past = {{0}, {0}, 0};
	struct aqm_record record = {.current_qdelay = 1000};
	int32_t scores[AQM_ACTIONS];
	double p[AQM_ACTIONS];

	(void)state;
	assert_int_equal(aqm_student_decide(s, &past, &record, scores), AQM_ENQUEUE); /* the first of equals */
	record.current_qdelay = 1256;
	assert_int_equal(aqm_student_decide(s, &past, &record, scores), AQM_MARK);
	assert_int_equal(scores[AQM_MARK], 256); /* 1.0 */
	aqm_student_probabilities(s, scores, p);
	assert_true(fabs(p[AQM_MARK] - exp(1) / (exp(1) + 2)) < 1e-12);
	assert_true(fabs(p[0] + p[1] + p[2] - 1) < 1e-12);
	record.current_qdelay = 0; /* negative sums do not pass the activation */
	assert_int_equal(aqm_student_decide(s, &past, &record, scores), AQM_ENQUEUE);
	assert_int_equal(scores[AQM_MARK], 0);
	aqm_student_free(s);
}

static void test_file(void **state)
{
	aqm_student *s = by_hand(), *back;
	char *text;
	size_t bytes;

	(void)state;
	strcpy(s->origin.teacher, "a \"run\"");
	s->origin.fidelity = 0.5;
	s->origin.macro_f1 = (double)NAN;
	CHECK_OK(aqm_student_save(s, "student.json"));
	assert_true(aqm_student_is("student.json"));
	CHECK_OK(aqm_student_load(&back, "."));
	assert_memory_equal(&back->network, &s->network, sizeof s->network);
	assert_memory_equal(&back->inputs, &s->inputs, sizeof s->inputs);
	assert_string_equal(back->origin.teacher, "a \"run\"");
	assert_true(back->origin.fidelity == 0.5 && isnan(back->origin.macro_f1));
	aqm_student_free(back);
	CHECK_OK(aqm_file_read("student.json", 1 << 20, &text, &bytes));
	for (size_t i = 0; i < bytes; i += 7) { /* no changed byte passes for a student, but in what is not of it: spaces */
		char kept = text[i];

		text[i] = (char)(kept ^ 1);
		assert_int_equal(aqm_student_parse(&back, "damaged", text, bytes), AQM_EDATA);
		assert_null(back);
		text[i] = kept;
	}
	for (size_t i = 0; i < bytes; i += 5)
		assert_int_equal(aqm_student_parse(&back, "cut", text, i), AQM_EDATA);
	CHECK_OK(aqm_student_parse(&back, "whole", text, bytes));
	aqm_student_free(back);
	free(text);
	aqm_student_free(s);
}

static aqm_student *small_tree(void)
{
	static const struct aqm_student_source inputs[] = {{.name = "current_qdelay"}};
	aqm_student *s;

	CHECK_OK(aqm_student_new(&s, AQM_CONTROL_PACKET, AQM_STUDENT_TREE, 1, inputs));
	s->nodes = calloc(3, sizeof *s->nodes);
	assert_non_null(s->nodes);
	s->node_count = 3;
	s->nodes[0] = (struct aqm_student_node){.threshold = UINT64_MAX - 1, .low = 1, .high = 2};
	s->nodes[1] = (struct aqm_student_node){.label = AQM_ENQUEUE, .share = {200, 30, 25}};
	s->nodes[2] = (struct aqm_student_node){.label = AQM_DROP, .share = {0, 255, 0}};
	return s;
}

/* A sealed file whose numbers are out of bounds is refused all the same. */
static void test_bounds(void **state)
{
	aqm_student *s = small_tree(), *back;
	struct aqm_student_state past = {{0}, {0}, 0};
	int32_t scores[AQM_ACTIONS];
	double p[AQM_ACTIONS];

	(void)state;
	CHECK_OK(aqm_student_save(s, "tree.json"));
	CHECK_OK(aqm_student_load(&back, "tree.json"));
	assert_memory_equal(back->nodes, s->nodes, 3 * sizeof *s->nodes);
	assert_int_equal(back->depth, 1);
	assert_int_equal(aqm_student_decide(back, &past, &(struct aqm_record){.current_qdelay = 5}, scores), AQM_ENQUEUE);
	aqm_student_probabilities(back, scores, p);
	assert_true(fabs(p[AQM_DROP] - 30 / 255.0) < 1e-6);
	aqm_student_free(back);

	s->nodes[0].high = 1; /* both ways to one node */
	CHECK_OK(aqm_student_save(s, "tree.json"));
	assert_int_equal(aqm_student_load(&back, "tree.json"), AQM_EDATA);
	s->nodes[0].high = 3; /* behind the end */
	CHECK_OK(aqm_student_save(s, "tree.json"));
	assert_int_equal(aqm_student_load(&back, "tree.json"), AQM_EDATA);
	s->nodes[0].high = 2;
	s->nodes[2] = (struct aqm_student_node){.low = 1, .high = 2}; /* round and round */
	CHECK_OK(aqm_student_save(s, "tree.json"));
	assert_int_equal(aqm_student_load(&back, "tree.json"), AQM_EDATA);
	s->nodes[2] = (struct aqm_student_node){.label = 3};
	CHECK_OK(aqm_student_save(s, "tree.json"));
	assert_int_equal(aqm_student_load(&back, "tree.json"), AQM_EDATA);
	aqm_student_free(s);

	s = by_hand();
	s->network.dense_bias[0] = AQM_STUDENT_BIAS_MAX + 1;
	CHECK_OK(aqm_student_save(s, "student.json"));
	assert_int_equal(aqm_student_load(&back, "student.json"), AQM_EDATA);
	aqm_student_free(s);
}

static void test_inputs(void **state)
{
	const struct aqm_student_source none = {.name = "nosuch"}, own = {.name = "action_logged"}, long_one = {.name = "drops", .length = 9};
	struct aqm_student_source many[AQM_STUDENT_INPUTS_MAX];
	aqm_student *s;

	(void)state;
	assert_int_equal(aqm_student_new(&s, AQM_CONTROL_PACKET, AQM_STUDENT_NETWORK, 1, &none), AQM_EUSAGE);
	assert_int_equal(aqm_student_new(&s, AQM_CONTROL_PACKET, AQM_STUDENT_NETWORK, 1, &own), AQM_EUSAGE);
	assert_int_equal(aqm_student_new(&s, AQM_CONTROL_PACKET, AQM_STUDENT_NETWORK, 1, &long_one), AQM_EUSAGE);
	assert_int_equal(aqm_student_new(&s, AQM_CONTROL_PACKET, AQM_STUDENT_NETWORK, 0, &none), AQM_EUSAGE);
	for (size_t i = 0; i < AQM_STUDENT_INPUTS_MAX; i++)
		many[i] = (struct aqm_student_source){.name = "feature_x", .length = 8};
	assert_int_equal(aqm_student_new(&s, AQM_CONTROL_UPDATE, AQM_STUDENT_NETWORK, AQM_STUDENT_INPUTS_MAX, many), AQM_EUSAGE);
	assert_null(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logarithm),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_scale),
		cmocka_unit_test(test_past),
		cmocka_unit_test(test_decide),
		cmocka_unit_test_setup_teardown(test_file, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_bounds, scratch_enter, scratch_leave),
		cmocka_unit_test(test_inputs),
	};

	return cmocka_run_group_tests_name("student", tests, NULL, NULL);
}
