/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inside of a student.
 *
 *   field x  ── x, or x less what it was at the decision before (modulo 2^bits)
 *      │ of a sequence also what it was at the decisions before; trees read this
 *      │ L(x): integer log2 with AQM_STUDENT_LOG_BITS bits of fraction
 *      │ two numbers a value, of L(x) and of x: (. - center) / 2^shift, deviations in units of 2^-AQM_STUDENT_VALUE_BITS: the first tells zero from
 *      │ small, the second resolves large ones near a threshold
 *      ▼
 *   encoder of each input: act(W numbers + b), `units` results (one value: FC; a sequence: Conv1d over all it has)
 *      ▼
 *   dense: act(W h + b), `hidden` numbers
 *      ▼
 *   head: W h + b: a score an action; or the change of L(p')
 *
 * Weights have 8 bits, sums 32, activations 14; 1.0 of an activation is AQM_STUDENT_ONE, 1.0 of a layer's weights 2^shift. Division by
 * 2^n rounds down, but for that of values, which rounds towards 0.
 */
#ifndef AQM_DISTILL_STUDENT_H
#define AQM_DISTILL_STUDENT_H

#include <stdbool.h>

#include "aqmtrain/student.h"

enum {
	AQM_STUDENT_LOG_BITS = 10,
	AQM_STUDENT_ONE_BITS = 8,
	AQM_STUDENT_ONE = 1 << AQM_STUDENT_ONE_BITS,
	AQM_STUDENT_VALUE_BITS = 10, /* a value's 1.0: its deviation */
	AQM_STUDENT_CLAMP = 8191,    /* activations and values lie within +- this */
	AQM_STUDENT_LENGTH_MAX = 8, /* values of a sequence */
	AQM_STUDENT_VALUES_MAX = 64,
	AQM_STUDENT_UNITS_MAX = 8,
	AQM_STUDENT_HIDDEN_MAX = 64,
	AQM_STUDENT_ENCODED_MAX = AQM_STUDENT_INPUTS_MAX * AQM_STUDENT_UNITS_MAX,
	AQM_STUDENT_NODES_MAX = 8191,
	AQM_STUDENT_DEPTH_MAX = 16,
	AQM_STUDENT_BIAS_MAX = 1 << 28,
	AQM_STUDENT_LEAK = 3, /* a leaky ReLU divides what is negative by 2^3 */
};
/* p' of about 1e-6, as a fraction of 2^32: smaller ones are 0, as aqm_update_level() has it. */
#define AQM_STUDENT_LOWEST 4295u
#define AQM_STUDENT_CENTER_MAX (UINT64_C(1) << 62)

struct aqm_student_source {
	char name[AQM_STUDENT_NAME_MAX];
	uint8_t place;  /* in the log; of intervals, among the inputs */
	uint8_t bits;   /* 32 or 64: where the counter wraps around */
	bool delta;
	uint8_t length; /* values: 1, or those of a sequence, the latest first */
	uint8_t first;  /* value; they stand together */
	uint8_t past;   /* place of the first in the state's past, of length - 1 */
	struct aqm_student_scale {
		uint64_t center;
		int8_t shift;  /* negative: times 2^-shift */
	} log, linear;     /* networks only */
};

struct aqm_student_network {
	uint8_t units, hidden, outputs;
	bool leaky;
	uint8_t encoder_shift, dense_shift, head_shift;
	int8_t encoder[2 * AQM_STUDENT_VALUES_MAX][AQM_STUDENT_UNITS_MAX]; /* of each value: of its logarithm, of itself */
	int32_t encoder_bias[AQM_STUDENT_ENCODED_MAX]; /* input by input */
	int8_t dense[AQM_STUDENT_HIDDEN_MAX][AQM_STUDENT_ENCODED_MAX];
	int32_t dense_bias[AQM_STUDENT_HIDDEN_MAX];
	int8_t head[AQM_ACTIONS][AQM_STUDENT_HIDDEN_MAX];
	int32_t head_bias[AQM_ACTIONS];
};

/* Values up to the threshold go to `low`, others to `high`; both lie behind the node. */
struct aqm_student_node {
	uint64_t threshold;
	uint16_t low, high;      /* 0: a leaf */
	uint8_t value;
	uint8_t label;           /* of a leaf */
	uint8_t share[AQM_ACTIONS]; /* of a leaf: of its training rows, in 255ths */
};

enum aqm_student_kind { AQM_STUDENT_NETWORK, AQM_STUDENT_TREE };

/* Where a student comes from, for people. */
struct aqm_student_origin {
	char version[32];
	char teacher[256];       /* as it was named */
	char teacher_digest[65]; /* SHA-256 of the policy's file */
	char base_digest[65];
	char pool_digest[65];    /* of the training rows */
	char returns[32];        /* what the teacher was told: "target 2394.2", "logged" */
	double fidelity, macro_f1; /* on the held-out rows, or the training rows where there are none; NAN: none */
	bool held_out;
	uint64_t rows;           /* it learned from */
};

struct aqm_student {
	enum aqm_control control;
	enum aqm_change_from from; /* control: update: which p' it moves */
	enum aqm_student_kind kind;
	struct aqm_student_source inputs[AQM_STUDENT_INPUTS_MAX];
	size_t count, values, past;
	struct aqm_student_network network;
	struct aqm_student_node *nodes; /* owned; a tree's */
	size_t node_count;
	unsigned depth;                 /* of the tree: comparisons on the longest way */
	struct aqm_student_origin origin;
};

/* 0 of 0; else 1 + log2 x, its fraction that of a line between powers of two. */
static inline int32_t aqm_student_log2(uint64_t x)
{
	if (x == 0)
		return 0;
	int exponent = 63 - __builtin_clzll(x);
	uint64_t fraction = exponent >= AQM_STUDENT_LOG_BITS ? x >> (exponent - AQM_STUDENT_LOG_BITS)
	                                                     : x << (AQM_STUDENT_LOG_BITS - exponent);

	return ((exponent + 1) << AQM_STUDENT_LOG_BITS) + (int32_t)(fraction & ((1 << AQM_STUDENT_LOG_BITS) - 1));
}

/* The largest x with aqm_student_log2(x) <= l, rounded down to bits that it keeps; l < 33 << AQM_STUDENT_LOG_BITS. */
static inline uint32_t aqm_student_exp2(int32_t l)
{
	if (l < 1 << AQM_STUDENT_LOG_BITS)
		return 0;
	int exponent = (l >> AQM_STUDENT_LOG_BITS) - 1;
	uint64_t whole = (1u << AQM_STUDENT_LOG_BITS) + (uint32_t)(l & ((1 << AQM_STUDENT_LOG_BITS) - 1));

	return (uint32_t)(whole << exponent >> AQM_STUDENT_LOG_BITS);
}

static inline int32_t aqm_student_clamp(int32_t x)
{
	return x > AQM_STUDENT_CLAMP ? AQM_STUDENT_CLAMP : x < -AQM_STUDENT_CLAMP ? -AQM_STUDENT_CLAMP : x;
}

static inline int16_t aqm_student_scaled(uint64_t x, const struct aqm_student_scale *scale)
{
	int up = scale->shift < 0 ? -scale->shift : 0, down = scale->shift > 0 ? scale->shift : 0;
	uint64_t distance = (x >= scale->center ? x - scale->center : scale->center - x) >> down;
	int32_t size = aqm_student_clamp((distance < AQM_STUDENT_CLAMP ? (int32_t)distance : AQM_STUDENT_CLAMP) << up);

	return (int16_t)(x >= scale->center ? size : -size);
}

/* From a sum of products of numbers to an activation. */
static inline unsigned aqm_student_encoder_shift(const struct aqm_student_network *network)
{
	return network->encoder_shift + AQM_STUDENT_VALUE_BITS - AQM_STUDENT_ONE_BITS;
}

static inline int32_t aqm_student_activate(int32_t sum, unsigned shift, bool leaky)
{
	int32_t x = aqm_student_clamp(sum >> shift);

	return x >= 0 ? x : leaky ? x >> AQM_STUDENT_LEAK : 0;
}

/* ---- student_file.c ---- */

/* What aqm_student_save() writes, one line; owned by the caller. */
int aqm_student_print(const aqm_student *student, char **text);

/* ---- student.c ---- */

/* An empty student with inputs as given: name, delta and length are set, the rest is filled in here. AQM_EUSAGE for a name that nothing
 * has, and for too many values. */
int aqm_student_new(aqm_student **out, enum aqm_control control, enum aqm_student_kind kind, size_t count,
                    const struct aqm_student_source *inputs);
/* Take in a record: values[student->values]. fields: 24 in log order, or an
 * interval's in the order of the inputs. */
void aqm_student_observe(const aqm_student *student, struct aqm_student_state *state, const uint64_t *fields, uint64_t *values);
/* What a network reads of values: numbers[2 values]. */
void aqm_student_numbers(const aqm_student *student, const uint64_t *values, int16_t *numbers);
/* What it makes of them: scores (3), or the change of L(p') in outputs[0]. What encoders and dense layer say, where wanted (not NULL). */
void aqm_student_network_run(const aqm_student *student, const int16_t *numbers, int16_t *encoded, int16_t *hidden, int32_t *outputs);
const struct aqm_student_node *aqm_student_leaf(const aqm_student *student, const uint64_t *values);
/* p' moved by a change of L. */
uint32_t aqm_student_move(uint32_t now, int32_t change);
/* Whether every number is within its bounds, as of a student that was trained. AQM_EDATA names the first that is not. */
int aqm_student_check(const aqm_student *student, const char *name);

#endif
