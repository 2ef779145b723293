/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_student network|tree OUTPUT.h: the C header of a student of the default size and more, whose numbers were drawn
 * and not learned, for tests of where it is to run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/export.h"
#include "distill/student.h"
#include "pool/fields.h"

static uint32_t draw(void)
{
	static uint64_t state = 88172645463325252ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static void fill(void *numbers, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((int8_t *)numbers)[i] = (int8_t)(draw() % 255 - 127);
}

static void add_input(aqm_student *s, enum aqm_log_field field, bool delta, uint8_t length)
{
	const struct aqm_field *f = &aqm_fields(NULL)[field];
	struct aqm_student_source *input = &s->inputs[s->count++];

	snprintf(input->name, sizeof input->name, "%s", f->name);
	input->place = (uint8_t)field;
	input->bits = f->bits == 64 ? 64 : 32;
	input->delta = delta;
	input->length = length;
	input->first = (uint8_t)s->values;
	input->past = (uint8_t)s->past;
	input->log = (struct aqm_student_scale){.center = draw() % (16 << AQM_STUDENT_LOG_BITS), .shift = 2};
	input->linear = (struct aqm_student_scale){.center = draw() % 100000, .shift = 8};
	s->values += length;
	s->past += length - 1u;
}

/* A whole tree of this depth, node i above 2 i + 1 and 2 i + 2. */
static struct aqm_student_node *make_tree(aqm_student *s, unsigned depth)
{
	size_t inner = (1u << depth) - 1;
	struct aqm_student_node *nodes = calloc(2 * inner + 1, sizeof *nodes);

	for (size_t i = 0; nodes && i < 2 * inner + 1; i++) {
		nodes[i].label = (uint8_t)(draw() % AQM_ACTIONS);
		if (i >= inner)
			continue;
		nodes[i].value = (uint8_t)(draw() % s->values);
		nodes[i].threshold = draw() >> draw() % 32;
		nodes[i].low = (uint16_t)(2 * i + 1);
		nodes[i].high = (uint16_t)(2 * i + 2);
	}
	s->node_count = 2 * inner + 1;
	s->depth = depth;
	return nodes;
}

int main(int argc, char **argv)
{
	static aqm_student student = {.control = AQM_CONTROL_PACKET};
	struct aqm_student_network *n = &student.network;

	if (argc != 3)
		return 2;
	student.kind = strcmp(argv[1], "tree") == 0 ? AQM_STUDENT_TREE : AQM_STUDENT_NETWORK;
	add_input(&student, AQM_FIELD_QUEUE_TYPE, false, 1);
	add_input(&student, AQM_FIELD_BURST_ALLOWANCE, false, 1);
	add_input(&student, AQM_FIELD_DROP_PROB, false, 1);
	add_input(&student, AQM_FIELD_CURRENT_QDELAY, false, 4);
	add_input(&student, AQM_FIELD_ACCU_PROB, false, 1);
	add_input(&student, AQM_FIELD_LEN_BYTES, false, 4);
	add_input(&student, AQM_FIELD_DROPS, true, 1);
	add_input(&student, AQM_FIELD_PKT_LEN, false, 1);
	*n = (struct aqm_student_network){.units = 4,
	                                  .hidden = 32,
	                                  .outputs = AQM_ACTIONS,
	                                  .leaky = true,
	                                  .encoder_shift = 6,
	                                  .dense_shift = 7,
	                                  .head_shift = 7};
	fill(n->encoder, sizeof n->encoder);
	fill(n->dense, sizeof n->dense);
	fill(n->head, sizeof n->head);
	student.nodes = make_tree(&student, 8);
	int code = student.nodes ? aqm_export_c_header(&student, argv[2]) : AQM_ERUN;
	if (code != AQM_OK)
		fprintf(stderr, "make_student: %s\n", student.nodes ? aqm_error_message() : "no memory");
	free(student.nodes);
	return code != AQM_OK;
}
