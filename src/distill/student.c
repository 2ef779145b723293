/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a student says: the reference of every other place where students run.
 */
#include "distill/student.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "pool/fields.h"

/* ---- making and freeing ---- */

static int place_input(aqm_student *s, size_t index, const struct aqm_student_source *wanted)
{
	struct aqm_student_source *input = &s->inputs[index];
	const struct aqm_field *field = s->control == AQM_CONTROL_PACKET ? aqm_field_find(wanted->name) : NULL;

	*input = *wanted;
	input->length = wanted->length ? wanted->length : 1;
	if (s->control == AQM_CONTROL_PACKET && (!field || strcmp(field->name, "action_logged") == 0))
		return aqm_error_set(AQM_EUSAGE, "a student of packets cannot read '%s': it is no field of a record", wanted->name);
	if (input->length > AQM_STUDENT_LENGTH_MAX)
		return aqm_error_set(AQM_EUSAGE, "'%s': a sequence has at most %d values", wanted->name, AQM_STUDENT_LENGTH_MAX);
	input->place = (uint8_t)(field ? (size_t)(field - aqm_fields(NULL)) : index);
	input->bits = field && field->bits <= 32 ? 32 : 64;
	input->first = (uint8_t)s->values;
	input->past = (uint8_t)s->past;
	s->values += input->length;
	s->past += input->length - 1u;
	if (s->values > AQM_STUDENT_VALUES_MAX || s->past > AQM_STUDENT_PAST_MAX)
		return aqm_error_set(AQM_EUSAGE, "a student reads at most %d values", AQM_STUDENT_VALUES_MAX);
	return AQM_OK;
}

int aqm_student_new(aqm_student **out, enum aqm_control control, enum aqm_student_kind kind, size_t count,
                    const struct aqm_student_source *inputs)
{
	*out = NULL;
	if (count == 0 || count > AQM_STUDENT_INPUTS_MAX)
		return aqm_error_set(AQM_EUSAGE, "a student has 1 to %d inputs, not %zu", AQM_STUDENT_INPUTS_MAX, count);
	aqm_student *s = aqm_calloc_array(1, sizeof *s);
	if (!s)
		return AQM_ERUN;
	s->control = control;
	s->kind = kind;
	s->count = count;
	s->network.outputs = control == AQM_CONTROL_PACKET ? AQM_ACTIONS : 1;
	for (size_t i = 0; i < count; i++) {
		int code = place_input(s, i, &inputs[i]);

		if (code != AQM_OK) {
			aqm_student_free(s);
			return code;
		}
	}
	*out = s;
	return AQM_OK;
}

void aqm_student_free(aqm_student *student)
{
	if (!student)
		return;
	free(student->nodes);
	free(student);
}

enum aqm_control aqm_student_control(const aqm_student *student)
{
	return student->control;
}

enum aqm_change_from aqm_student_from(const aqm_student *student)
{
	return student->from;
}

size_t aqm_student_inputs(const aqm_student *student)
{
	return student->count;
}

const char *aqm_student_input(const aqm_student *student, size_t index)
{
	return student->inputs[index].name;
}

size_t aqm_student_bytes(const aqm_student *s)
{
	const struct aqm_student_network *n = &s->network;
	size_t encoded = s->count * n->units;

	if (s->kind == AQM_STUDENT_TREE)
		return s->node_count * 8; /* code: a comparison and a jump each */
	/* Weights lie in pairs, 8 bytes each. */
	return 8 * (2 * s->values * ((n->units + 1u) / 2) + encoded * ((n->hidden + 1u) / 2) + n->hidden * ((n->outputs + 1u) / 2)) +
	       4 * (encoded + n->hidden + n->outputs);
}

/* ---- bounds ---- */

static int wrong(const char *name, const char *what)
{
	return aqm_error_set(AQM_EDATA, "cannot use '%s': %s out of bounds", name, what);
}

static bool biases_good(const int32_t *bias, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bias[i] > AQM_STUDENT_BIAS_MAX || bias[i] < -AQM_STUDENT_BIAS_MAX)
			return false;
	return true;
}

static bool scale_good(const struct aqm_student_scale *scale)
{
	return scale->center <= AQM_STUDENT_CENTER_MAX && scale->shift >= -AQM_STUDENT_VALUE_BITS && scale->shift <= 60;
}

static int check_network(const aqm_student *s, const char *name)
{
	const struct aqm_student_network *n = &s->network;
	unsigned least = s->control == AQM_CONTROL_UPDATE ? 2 : 0;

	for (size_t i = 0; i < s->count; i++)
		if (!scale_good(&s->inputs[i].log) || !scale_good(&s->inputs[i].linear))
			return wrong(name, "an input's scale");
	if (n->units < 1 || n->units > AQM_STUDENT_UNITS_MAX || n->hidden < 1 || n->hidden > AQM_STUDENT_HIDDEN_MAX ||
	    n->outputs != (s->control == AQM_CONTROL_PACKET ? AQM_ACTIONS : 1))
		return wrong(name, "a layer's size");
	if (n->encoder_shift > 15 || n->dense_shift > 15 || n->head_shift > 15 || n->head_shift < least)
		return wrong(name, "a layer's shift");
	if (!biases_good(n->encoder_bias, s->count * n->units) || !biases_good(n->dense_bias, n->hidden) ||
	    !biases_good(n->head_bias, n->outputs))
		return wrong(name, "a bias");
	return AQM_OK;
}

/* Children lie behind their parents, so every way ends; and it ends within the depth. */
static int check_tree(aqm_student *s, const char *name)
{
	static const unsigned none = AQM_STUDENT_DEPTH_MAX + 1;
	unsigned char *depth = aqm_calloc_array(s->node_count + 1, 1);
	int code = AQM_OK;

	if (!depth)
		return AQM_ERUN;
	if (s->control != AQM_CONTROL_PACKET || s->node_count < 1 || s->node_count > AQM_STUDENT_NODES_MAX)
		code = wrong(name, "the tree's size");
	s->depth = 0;
	for (size_t i = 0; code == AQM_OK && i < s->node_count; i++) {
		const struct aqm_student_node *node = &s->nodes[i];

		if (node->low == 0 && node->high == 0) {
			if (node->label >= AQM_ACTIONS)
				code = wrong(name, "a leaf's action");
			continue;
		}
		if (node->low <= i || node->high <= i || node->low >= s->node_count || node->high >= s->node_count ||
		    node->low == node->high || node->value >= s->values || depth[i] + 1u >= none) {
			code = wrong(name, "a node of the tree");
			continue;
		}
		unsigned char below = (unsigned char)(depth[i] + 1);

		depth[node->low] = below > depth[node->low] ? below : depth[node->low];
		depth[node->high] = below > depth[node->high] ? below : depth[node->high];
		s->depth = below > s->depth ? below : s->depth;
	}
	free(depth);
	return code;
}

int aqm_student_check(const aqm_student *student, const char *name)
{
	return student->kind == AQM_STUDENT_TREE ? check_tree((aqm_student *)(uintptr_t)student, name)
	                                         : check_network(student, name);
}

/* ---- values ---- */

void aqm_student_observe(const aqm_student *student, struct aqm_student_state *state, const uint64_t *fields, uint64_t *values)
{
	for (size_t i = 0; i < student->count; i++) {
		const struct aqm_student_source *input = &student->inputs[i];
		uint64_t mask = input->bits == 32 ? UINT32_MAX : UINT64_MAX, x = fields[input->place] & mask, now = x;
		uint64_t *past = state->past + input->past, *out = values + input->first;
		size_t length = input->length - 1u;

		if (input->delta) {
			x = state->begun ? (x - state->last[i]) & mask : 0;
			state->last[i] = now;
		}
		out[0] = x;
		for (size_t k = 0; k < length; k++)
			out[k + 1] = state->begun ? past[k] : x;
		for (size_t k = length; k-- > 0;)
			past[k] = out[k];
	}
	state->begun = 1;
}

/* ---- networks ---- */

static int32_t dot(const int8_t *w, const int16_t *x, size_t count)
{
	int32_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += w[i] * x[i];
	return sum;
}

void aqm_student_numbers(const aqm_student *student, const uint64_t *values, int16_t *numbers)
{
	for (size_t i = 0; i < student->count; i++) {
		const struct aqm_student_source *input = &student->inputs[i];

		for (size_t v = input->first; v < input->first + (size_t)input->length; v++) {
			numbers[2 * v] = aqm_student_scaled((uint64_t)aqm_student_log2(values[v]), &input->log);
			numbers[2 * v + 1] = aqm_student_scaled(values[v], &input->linear);
		}
	}
}

void aqm_student_network_run(const aqm_student *student, const int16_t *numbers, int16_t *encoded, int16_t *hidden, int32_t *outputs)
{
	const struct aqm_student_network *n = &student->network;
	int16_t own_encoded[AQM_STUDENT_ENCODED_MAX], own_hidden[AQM_STUDENT_HIDDEN_MAX];

	encoded = encoded ? encoded : own_encoded;
	hidden = hidden ? hidden : own_hidden;
	for (size_t i = 0; i < student->count; i++) {
		const struct aqm_student_source *input = &student->inputs[i];

		for (size_t u = 0; u < n->units; u++) {
			int32_t sum = n->encoder_bias[i * n->units + u];

			for (size_t v = 2u * input->first; v < 2u * (input->first + input->length); v++)
				sum += n->encoder[v][u] * numbers[v];
			encoded[i * n->units + u] = (int16_t)aqm_student_activate(sum, aqm_student_encoder_shift(n), n->leaky);
		}
	}
	for (size_t j = 0; j < n->hidden; j++)
		hidden[j] = (int16_t)aqm_student_activate(dot(n->dense[j], encoded, student->count * n->units) + n->dense_bias[j],
		                                          n->dense_shift, n->leaky);
	for (size_t o = 0; o < n->outputs; o++)
		outputs[o] = dot(n->head[o], hidden, n->hidden) + n->head_bias[o];
}

static void run_network(const aqm_student *student, const uint64_t *values, int32_t *outputs)
{
	int16_t numbers[2 * AQM_STUDENT_VALUES_MAX];

	aqm_student_numbers(student, values, numbers);
	aqm_student_network_run(student, numbers, NULL, NULL, outputs);
}

/* ---- trees ---- */

const struct aqm_student_node *aqm_student_leaf(const aqm_student *student, const uint64_t *values)
{
	const struct aqm_student_node *node = student->nodes;

	while (node->low)
		node = &student->nodes[values[node->value] <= node->threshold ? node->low : node->high];
	return node;
}

/* ---- decisions ---- */

enum aqm_action aqm_student_decide_fields(const aqm_student *student, struct aqm_student_state *state, const uint64_t *fields,
                                          int32_t scores[AQM_ACTIONS])
{
	uint64_t values[AQM_STUDENT_VALUES_MAX];
	int32_t own[AQM_ACTIONS];
	int best = 0;

	scores = scores ? scores : own;
	aqm_student_observe(student, state, fields, values);
	if (student->kind == AQM_STUDENT_TREE) {
		const struct aqm_student_node *leaf = aqm_student_leaf(student, values);

		for (int a = 0; a < AQM_ACTIONS; a++)
			scores[a] = leaf->share[a] + (a == leaf->label ? 256 : 0);
		return (enum aqm_action)leaf->label;
	}
	run_network(student, values, scores);
	for (int a = 1; a < AQM_ACTIONS; a++)
		best = scores[a] > scores[best] ? a : best;
	return (enum aqm_action)best;
}

enum aqm_action aqm_student_decide(const aqm_student *student, struct aqm_student_state *state, const struct aqm_record *record,
                                   int32_t scores[AQM_ACTIONS])
{
	const uint64_t fields[AQM_LOG_FIELDS] = {
		[AQM_FIELD_QUEUE_TYPE] = record->queue_type,
		[AQM_FIELD_QDELAY_REF] = record->qdelay_ref,
		[AQM_FIELD_TUPDATE] = record->tupdate,
		[AQM_FIELD_MAX_BURST] = record->max_burst,
		[AQM_FIELD_MAX_ECNTH] = record->max_ecnth,
		[AQM_FIELD_ALPHA] = record->alpha,
		[AQM_FIELD_BETA] = record->beta,
		[AQM_FIELD_FLAGS] = record->flags,
		[AQM_FIELD_BURST_ALLOWANCE] = record->burst_allowance,
		[AQM_FIELD_DROP_PROB] = record->drop_prob,
		[AQM_FIELD_CURRENT_QDELAY] = record->current_qdelay,
		[AQM_FIELD_QDELAY_OLD] = record->qdelay_old,
		[AQM_FIELD_ACCU_PROB] = record->accu_prob,
		[AQM_FIELD_MEASUREMENT_START] = record->measurement_start,
		[AQM_FIELD_AVG_DQ_TIME] = record->avg_dq_time,
		[AQM_FIELD_DQ_COUNT] = record->dq_count,
		[AQM_FIELD_SFLAGS] = record->sflags,
		[AQM_FIELD_TOT_PKTS] = record->tot_pkts,
		[AQM_FIELD_TOT_BYTES] = record->tot_bytes,
		[AQM_FIELD_LENGTH] = record->length,
		[AQM_FIELD_LEN_BYTES] = record->len_bytes,
		[AQM_FIELD_DROPS] = record->drops,
		[AQM_FIELD_PKT_LEN] = record->pkt_len,
	};

	return aqm_student_decide_fields(student, state, fields, scores);
}

void aqm_student_probabilities(const aqm_student *student, const int32_t scores[AQM_ACTIONS], double probabilities[AQM_ACTIONS])
{
	double sum = 0;
	int best = 0;

	for (int a = 1; a < AQM_ACTIONS; a++)
		best = scores[a] > scores[best] ? a : best;
	for (int a = 0; a < AQM_ACTIONS; a++) {
		if (student->kind == AQM_STUDENT_TREE)
			probabilities[a] = (double)(scores[a] & 255) + 1e-9;
		else
			probabilities[a] = exp(ldexp((double)scores[a] - scores[best], -student->network.head_shift - AQM_STUDENT_ONE_BITS));
		sum += probabilities[a];
	}
	for (int a = 0; a < AQM_ACTIONS; a++)
		probabilities[a] /= sum;
}

/* ---- update intervals ---- */

uint32_t aqm_student_move(uint32_t now, int32_t change)
{
	static const int32_t end = 33 << AQM_STUDENT_LOG_BITS;
	int32_t l = aqm_student_log2(now > AQM_STUDENT_LOWEST ? now : AQM_STUDENT_LOWEST);

	l += change > end ? end : change < -end ? -end : change;
	if (l <= aqm_student_log2(AQM_STUDENT_LOWEST))
		return 0;
	return l >= end ? UINT32_MAX : aqm_student_exp2(l);
}

uint32_t aqm_student_update(const aqm_student *student, struct aqm_student_state *state, const uint64_t *features, uint32_t now)
{
	uint64_t values[AQM_STUDENT_VALUES_MAX];
	int32_t change[AQM_ACTIONS];

	aqm_student_observe(student, state, features, values);
	run_network(student, values, change);
	return aqm_student_move(now, change[0] >> (student->network.head_shift + AQM_STUDENT_ONE_BITS - AQM_STUDENT_LOG_BITS));
}
