/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Students learn: the gradient that goes straight through rounding, networks and trees on rules that can be told, the same from run to run.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "../helper_policy.h"
#include "base/random.h"
#include "distill/grow.h"
#include "distill/network.h"

enum { LEARN_ROWS = 4000 };

static const struct aqm_student_source inputs[] = {
	{.name = "queue_type"}, {.name = "current_qdelay", .length = 3}, {.name = "drop_prob"}, {.name = "drops", .delta = true}};

/* A rule with a threshold in a large number, a past and a counter: what the real ones have. */
static int rule(bool l4s, double delay, double before, double probability, bool dropped)
{
	if (l4s)
		return delay > 1000 ? AQM_MARK : AQM_ENQUEUE;
	if (probability > 0.9 * 0x1p31 && !dropped)
		return AQM_DROP;
	return delay > 15000 && before > 15000 ? AQM_MARK : AQM_ENQUEUE;
}

/* A pool of rows that the rule has answered, and the answers as logits. */
static aqm_pool *make_ruled(uint32_t seed, float **logits, uint8_t **labels)
{
	static const char *const names[] = {"queue_type", "current_qdelay", "drop_prob", "drops"};
	double *columns[4];
	struct aqm_rng rng;
	aqm_pool *pool;
	double before[2] = {0, 0}, drops[2] = {0, 0};
	bool dropped[2] = {false, false};

	*logits = calloc(LEARN_ROWS * 3, sizeof **logits);
	*labels = calloc(LEARN_ROWS, 1);
	for (int c = 0; c < 4; c++)
		columns[c] = calloc(LEARN_ROWS, sizeof(double));
	aqm_rng_init(&rng, seed, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < LEARN_ROWS; i++) {
		size_t l4s = aqm_rng_u32(&rng) & 1;

		columns[0][i] = (double)l4s;
		columns[1][i] = floor((l4s ? 3000 : 40000) * (double)aqm_rng_uniform(&rng));
		columns[2][i] = floor(0x1p31 * (double)aqm_rng_uniform(&rng));
		columns[3][i] = drops[l4s];
		int answer = rule(l4s, columns[1][i], before[l4s], columns[2][i], dropped[l4s]);

		before[l4s] = columns[1][i];
		dropped[l4s] = aqm_rng_uniform(&rng) < 0.5f;
		drops[l4s] += dropped[l4s];
		(*labels)[i] = (uint8_t)answer;
		for (int a = 0; a < 3; a++)
			(*logits)[3 * i + (size_t)a] = a == answer ? 4 : -2;
	}
	CHECK_OK(aqm_pool_from_columns(&pool, LEARN_ROWS, 4, names, (const double *const *)columns, *labels, *labels, 0, NULL));
	for (int c = 0; c < 4; c++)
		free(columns[c]);
	return pool;
}

static aqm_student *new_student(enum aqm_student_kind kind)
{
	aqm_student *s;

	CHECK_OK(aqm_student_new(&s, AQM_CONTROL_PACKET, kind, 4, inputs));
	s->network.units = 4;
	s->network.hidden = 12;
	s->network.leaky = true;
	return s;
}

static double fidelity(const aqm_student *s, const struct aqm_lesson *lesson)
{
	size_t same = 0;

	for (size_t i = 0; i < lesson->rows; i++) {
		const uint64_t *values = lesson->read + i * lesson->values;
		int16_t numbers[2 * AQM_STUDENT_VALUES_MAX];
		float logits[3];

		if (s->kind == AQM_STUDENT_TREE) {
			same += aqm_student_leaf(s, values)->label == lesson->answers[i];
			continue;
		}
		aqm_student_numbers(s, values, numbers);
		aqm_network_forward(s, numbers, logits);
		same += aqm_lesson_answer(logits) == lesson->answers[i];
	}
	return (double)same / (double)lesson->rows;
}

static void make_lesson(struct aqm_lesson *lesson, const aqm_student *s, uint32_t seed)
{
	uint8_t *labels;
	float *logits;
	aqm_pool *pool = make_ruled(seed, &logits, &labels);

	*lesson = (struct aqm_lesson){0};
	CHECK_OK(aqm_lesson_add(lesson, s, pool, logits, labels));
	assert_int_equal(lesson->rows, LEARN_ROWS);
	aqm_pool_free(pool);
	free(logits);
	free(labels);
}

static void test_network(void **state)
{
	struct aqm_config config;
	struct aqm_lesson lesson, other;
	aqm_student *s = new_student(AQM_STUDENT_NETWORK), *again = new_student(AQM_STUDENT_NETWORK);

	(void)state;
	CHECK_OK(aqm_config_init(&config));
	config.distill.epochs = 60;
	config.distill.correlation = 0.1;
	make_lesson(&lesson, s, 1);
	make_lesson(&other, s, 2);
	CHECK_OK(aqm_network_train(s, &lesson, &config));
	double seen = fidelity(s, &lesson), unseen = fidelity(s, &other);

	print_message("network: %.4f of the rows it learned from, %.4f of others\n", seen, unseen);
	assert_true(seen > 0.97 && unseen > 0.96);
	CHECK_OK(aqm_network_train(again, &lesson, &config));
	assert_memory_equal(&again->network, &s->network, sizeof s->network);
	aqm_lesson_release(&lesson);
	aqm_lesson_release(&other);
	aqm_student_free(s);
	aqm_student_free(again);
	aqm_config_release(&config);
}

static void test_tree(void **state)
{
	struct aqm_lesson lesson, other;
	aqm_student *s = new_student(AQM_STUDENT_TREE);

	(void)state;
	make_lesson(&lesson, s, 1);
	make_lesson(&other, s, 2);
	CHECK_OK(aqm_tree_grow(s, &lesson, lesson.answers, 10, 255));
	assert_true(fidelity(s, &lesson) > 0.999 && fidelity(s, &other) > 0.99);
	size_t all = s->node_count;

	free(s->nodes);
	s->nodes = NULL;
	CHECK_OK(aqm_tree_grow(s, &lesson, lesson.answers, 10, 5)); /* what tells most stays */
	assert_true(s->node_count <= 5 && s->node_count < all && s->node_count >= 3);
	assert_true(fidelity(s, &lesson) > 0.6);
	aqm_lesson_release(&lesson);
	aqm_lesson_release(&other);
	aqm_student_free(s);
}

/* ---- straight through ---- */

/* The same network in real numbers, without rounding of what it computes. */
static double smooth(const aqm_student *s, const double *x, const struct aqm_network_parts *p, const int16_t *numbers, const float *dlogits)
{
	const struct aqm_student_network *n = &s->network;
	double encoded[AQM_STUDENT_ENCODED_MAX], loss = 0;
	size_t width = s->count * n->units;

	for (size_t i = 0; i < s->count; i++)
		for (size_t u = 0; u < n->units; u++) {
			double sum = x[p->encoder_bias + i * n->units + u];

			for (size_t v = 2u * s->inputs[i].first; v < 2u * (s->inputs[i].first + s->inputs[i].length); v++)
				sum += x[p->encoder + v * n->units + u] * numbers[v] / 1024;
			encoded[i * n->units + u] = sum >= 0 ? sum : sum / 8;
		}
	for (size_t o = 0; o < n->outputs; o++)
		loss += (double)dlogits[o] * x[p->head_bias + o];
	for (size_t j = 0; j < n->hidden; j++) {
		double sum = x[p->dense_bias + j];

		for (size_t i = 0; i < width; i++)
			sum += x[p->dense + j * width + i] * encoded[i];
		sum = sum >= 0 ? sum : sum / 8;
		for (size_t o = 0; o < n->outputs; o++)
			loss += (double)dlogits[o] * x[p->head + o * n->hidden + j] * sum;
	}
	return loss;
}

/* Parameters that rounding leaves as they are: then its gradient is, but for the rounding of activations, that of real numbers. */
static void test_gradient(void **state)
{
	static const float dlogits[3] = {0.7f, -0.4f, 0.3f};
	aqm_student *s = new_student(AQM_STUDENT_NETWORK);
	const struct aqm_network_parts p = aqm_network_parts_of(s);
	float *x = calloc(p.count, sizeof *x), *gradient = calloc(p.count, sizeof *gradient);
	double *real = calloc(p.count, sizeof *real);
	int16_t numbers[2 * AQM_STUDENT_VALUES_MAX];
	struct aqm_rng rng;
	size_t checked = 0;

	(void)state;
	aqm_rng_init(&rng, 3, AQM_STREAM_TEST, 0);
	for (size_t i = 0; i < p.count; i++)
		x[i] = ldexpf((float)((int)(aqm_rng_u32(&rng) % 127) - 63), -5);
	x[p.encoder] = x[p.dense] = x[p.head] = 127.0f / 64; /* the shifts are then 6: halves of 2^-5 are kept */
	aqm_network_round(s, x);
	assert_int_equal(s->network.dense_shift, 6);
	for (size_t i = 0; i < p.count; i++)
		real[i] = (double)x[i];
	for (size_t v = 0; v < 2 * s->values; v++)
		numbers[v] = (int16_t)(aqm_rng_u32(&rng) % 3000 - 1500);
	aqm_network_backward(s, numbers, dlogits, gradient);
	for (size_t i = 0; i < p.count; i++) {
		static const double h = 1e-6;
		double kept = real[i];

		real[i] = kept + h;
		double above = smooth(s, real, &p, numbers, dlogits);
		real[i] = kept - h;
		double below = smooth(s, real, &p, numbers, dlogits);
		real[i] = kept;
		double expected = (above - below) / (2 * h);

		if (fabs((double)gradient[i] - expected) > 0.02 * fabs(expected) + 0.02)
			fail_msg("parameter %zu of %zu: %g, not %g", i, p.count, (double)gradient[i], expected);
		checked += fabs(expected) > 0.1;
	}
	assert_true(checked > p.count / 4);
	float logits[3];
	aqm_network_forward(s, numbers, logits);
	double sum = smooth(s, real, &p, numbers, dlogits), got = 0;
	for (int o = 0; o < 3; o++)
		got += (double)(dlogits[o] * logits[o]);
	assert_true(fabs(sum - got) < 0.05 * (1 + fabs(sum)));
	free(x);
	free(gradient);
	free(real);
	aqm_student_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gradient),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_tree),
	};

	return cmocka_run_group_tests_name("learning", tests, NULL, NULL);
}
