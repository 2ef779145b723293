/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper_student.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "../check.h"

static int within(struct aqm_rng *rng, int bound)
{
	return (int)aqm_rng_below(rng, 2 * (uint64_t)bound + 1) - bound;
}

static void fill_network(aqm_student *s, struct aqm_rng *rng, bool extreme)
{
	struct aqm_student_network *n = &s->network;
	size_t encoded = s->count * n->units;
	int bias = extreme ? AQM_STUDENT_BIAS_MAX : 1 << 16;

	for (size_t i = 0; i < s->count; i++) {
		s->inputs[i].log = (struct aqm_student_scale){aqm_rng_below(rng, 40 << AQM_STUDENT_LOG_BITS), (int8_t)aqm_rng_below(rng, 5)};
		s->inputs[i].linear = (struct aqm_student_scale){1ull << aqm_rng_below(rng, extreme ? 63 : 34),
		                                                 (int8_t)(within(rng, 10) + (extreme ? 0 : 10))};
	}
	for (size_t v = 0; v < 2 * s->values; v++)
		for (size_t u = 0; u < n->units; u++)
			n->encoder[v][u] = (int8_t)(extreme ? (within(rng, 1) >= 0 ? 127 : -127) : within(rng, 127));
	for (size_t i = 0; i < encoded; i++)
		n->encoder_bias[i] = within(rng, i % 4 ? 1 << 16 : bias); /* the largest hide all else */
	for (size_t j = 0; j < n->hidden; j++) {
		for (size_t i = 0; i < encoded; i++)
			n->dense[j][i] = (int8_t)(extreme ? (within(rng, 1) >= 0 ? 127 : -127) : within(rng, 60));
		n->dense_bias[j] = within(rng, 1 << 16);
	}
	for (size_t o = 0; o < n->outputs; o++) {
		for (size_t j = 0; j < n->hidden; j++)
			n->head[o][j] = (int8_t)(extreme ? (within(rng, 1) >= 0 ? 127 : -127) : within(rng, 127));
		n->head_bias[o] = within(rng, 1 << 10);
	}
	n->encoder_shift = (uint8_t)(extreme ? 0 : 5);
	n->dense_shift = (uint8_t)(extreme ? 0 : 5);
	n->head_shift = s->control == AQM_CONTROL_UPDATE ? 10 : 6;
}

/* A whole tree of random comparisons, five deep, and one long branch. */
static void fill_tree(aqm_student *s, struct aqm_rng *rng)
{
	enum { FORKS = 31, BRANCH = 6 };
	size_t count = 2 * (FORKS + BRANCH) + 1, next = 1;

	s->nodes = calloc(count, sizeof *s->nodes);
	assert_non_null(s->nodes);
	s->node_count = count;
	for (size_t i = 0, forks = 0; i < count; i++) {
		struct aqm_student_node *node = &s->nodes[i];
		bool fork = forks < FORKS || (forks < FORKS + BRANCH && i + 1 == next);

		if (!fork) {
			node->label = (uint8_t)aqm_rng_below(rng, AQM_ACTIONS);
			node->share[node->label] = 255;
			continue;
		}
		forks++;
		node->value = (uint8_t)aqm_rng_below(rng, s->values);
		node->threshold = aqm_rng_u32(rng) >> aqm_rng_below(rng, 32);
		node->low = (uint16_t)next++;
		node->high = (uint16_t)next++;
	}
	assert_int_equal(next, count);
}

aqm_student *make_student(enum made_kind kind)
{
	static const struct aqm_student_source packets[] = {
		{.name = "queue_type"},     {.name = "burst_allowance"}, {.name = "drop_prob"},
		{.name = "current_qdelay", .length = 4},                 {.name = "accu_prob"},
		{.name = "tot_bytes", .delta = true},                    {.name = "drops", .delta = true},
		{.name = "len_bytes", .length = 2},                      {.name = "measurement_start", .delta = true, .length = 3},
		{.name = "pkt_len"},        {.name = "flags"},           {.name = "tot_pkts"},
	};
	static const struct aqm_student_source updates[] = {
		{.name = "drop_prob", .length = 4}, {.name = "qdelay_end", .length = 4}, {.name = "packets"}, {.name = "accu_prob", .delta = true}};
	struct aqm_rng rng;
	aqm_student *s;
	size_t count = kind == MADE_UPDATE ? 4 : kind == MADE_DEFAULT ? 7 : 12;

	aqm_rng_init(&rng, 5, AQM_STREAM_TEST, (uint32_t)kind);
	CHECK_OK(aqm_student_new(&s, kind == MADE_UPDATE ? AQM_CONTROL_UPDATE : AQM_CONTROL_PACKET,
	                         kind == MADE_TREE ? AQM_STUDENT_TREE : AQM_STUDENT_NETWORK, count, kind == MADE_UPDATE ? updates : packets));
	s->network.units = kind == MADE_LARGE ? 8 : kind == MADE_ODD ? 3 : kind == MADE_EXTREME ? 5 : 2;
	s->network.hidden = kind == MADE_LARGE ? 64 : kind == MADE_ODD ? 9 : kind == MADE_EXTREME ? 7 : 8;
	s->network.leaky = kind != MADE_ODD;
	if (kind == MADE_TREE)
		fill_tree(s, &rng);
	else
		fill_network(s, &rng, kind == MADE_EXTREME);
	strcpy(s->origin.teacher, "made up */ #define");
	CHECK_OK(aqm_student_check(s, "made"));
	return s;
}

/* Word `index` of state `at`. */
static uint64_t word(uint64_t at, uint32_t index, int bits)
{
	uint32_t x[4];
	uint64_t all = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;

	aqm_philox(9, AQM_STREAM_TEST, index, at, x);
	uint64_t random = ((uint64_t)x[0] << 32 | x[1]) & all;

	switch (at % 16) { /* most states are mixed; some are all of one kind */
	case 0:
		return 0;
	case 1:
		return all;
	case 2:
		return 1;
	case 3:
		return 1ull << x[2] % (uint32_t)bits;
	case 4:
		return (1ull << x[2] % (uint32_t)bits) - 1;
	case 5: /* counters that go up in steps, and wrap around all together */
	case 6:
		return ((all - 5000) + 1500 * (at / 16)) & all;
	default:
		return random >> x[2] % (uint32_t)bits;
	}
}

void make_record(uint64_t at, struct aqm_record *r)
{
	*r = (struct aqm_record){
		.queue_type = (uint32_t)word(at, 0, 32),
		.qdelay_ref = (uint32_t)word(at, 1, 32),
		.tupdate = (uint32_t)word(at, 2, 32),
		.max_burst = (uint32_t)word(at, 3, 32),
		.max_ecnth = (uint32_t)word(at, 4, 32),
		.alpha = (uint32_t)word(at, 5, 32),
		.beta = (uint32_t)word(at, 6, 32),
		.flags = (uint32_t)word(at, 7, 32),
		.burst_allowance = (uint32_t)word(at, 8, 32),
		.drop_prob = (uint32_t)word(at, 9, 32),
		.current_qdelay = (uint32_t)word(at, 10, 32),
		.qdelay_old = (uint32_t)word(at, 11, 32),
		.accu_prob = word(at, 12, 64),
		.measurement_start = (uint32_t)word(at, 13, 32),
		.avg_dq_time = (uint32_t)word(at, 14, 32),
		.dq_count = (uint32_t)word(at, 15, 32),
		.sflags = (uint32_t)word(at, 16, 32),
		.tot_pkts = word(at, 17, 64),
		.tot_bytes = word(at, 18, 64),
		.length = (uint32_t)word(at, 19, 32),
		.len_bytes = (uint32_t)word(at, 20, 32),
		.drops = (uint32_t)word(at, 21, 32),
		.pkt_len = word(at, 22, 64),
	};
}

void make_interval(uint64_t at, size_t count, uint64_t *features)
{
	for (size_t i = 0; i < count; i++)
		features[i] = word(at, 30 + (uint32_t)i, 64);
}

uint32_t make_probability(uint64_t at)
{
	return (uint32_t)word(at, 60, 32);
}
