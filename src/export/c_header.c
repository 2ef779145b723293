/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A student as one C header, for kernels: what distill/student.c computes, with the numbers written in.
 *
 * Weights stand in pairs: one 64-bit word holds those of two neurons, the second times 2^32, so that one multiplication does two. The
 * lower sum may be negative and borrow from the upper one, which gets it back when both are taken apart.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "distill/student.h"
#include "pool/fields.h"

static const char prologue[] =
	"#ifndef AQM_STUDENT_H\n"
	"#define AQM_STUDENT_H\n"
	"\n"
	"/* uint32_t and its like: of the kernel, of <stdint.h>, or, with AQM_STUDENT_TYPES defined, of whoever includes this. */\n"
	"#if defined(AQM_STUDENT_TYPES)\n"
	"#elif defined(__KERNEL__)\n"
	"#include <linux/types.h>\n"
	"#elif defined(_KERNEL)\n"
	"#include <sys/types.h>\n"
	"#else\n"
	"#include <stdint.h>\n"
	"#endif\n"
	"\n"
	"#define AQM_STUDENT_INLINE static inline __attribute__((always_inline))\n"
	"\n"
	"/* Answers. */\n"
	"enum { AQM_STUDENT_ENQUEUE, AQM_STUDENT_DROP, AQM_STUDENT_MARK };\n"
	"\n"
	"/* Right shifts of negative numbers round down. */\n"
	"typedef char aqm_student_shifts_round_down[(-3 >> 1) == -2 ? 1 : -1];\n"
	"\n";

static const char arithmetic[] =
	"/* 0 of 0; else 1 + log2 x with 10 bits of fraction, that of a line between powers of two. */\n"
	"AQM_STUDENT_INLINE int32_t aqm_student_log2(uint64_t x)\n"
	"{\n"
	"\tint32_t exponent = 0;\n"
	"\n"
	"\tif (x == 0)\n"
	"\t\treturn 0;\n"
	"#if defined(__x86_64__) || defined(__aarch64__)\n"
	"\texponent = 63 - __builtin_clzll(x);\n"
	"\tx <<= 63 - exponent;\n"
	"#else\n"
	"\texponent = 63;\n"
	"\tif (!(x >> 32)) { x <<= 32; exponent -= 32; }\n"
	"\tif (!(x >> 48)) { x <<= 16; exponent -= 16; }\n"
	"\tif (!(x >> 56)) { x <<= 8; exponent -= 8; }\n"
	"\tif (!(x >> 60)) { x <<= 4; exponent -= 4; }\n"
	"\tif (!(x >> 62)) { x <<= 2; exponent -= 2; }\n"
	"\tif (!(x >> 63)) { x <<= 1; exponent -= 1; }\n"
	"#endif\n"
	"\treturn ((exponent + 1) << 10) + (int32_t)((x >> 53) & 1023);\n"
	"}\n"
	"\n"
	"AQM_STUDENT_INLINE int16_t aqm_student_clamp(int32_t x)\n"
	"{\n"
	"\treturn (int16_t)(x > 8191 ? 8191 : x < -8191 ? -8191 : x);\n"
	"}\n"
	"\n"
	"/* The distance from a center, divided by 2^down, times 2^up, with its sign. */\n"
	"AQM_STUDENT_INLINE int16_t aqm_student_scale(uint64_t x, uint64_t center, uint32_t up, uint32_t down)\n"
	"{\n"
	"\tuint64_t distance = (x >= center ? x - center : center - x) >> down;\n"
	"\tint32_t size = (int32_t)((distance < 8191 ? distance : 8191) << up);\n"
	"\n"
	"\treturn aqm_student_clamp(x >= center ? size : -size);\n"
	"}\n"
	"\n"
	"/* A sequence of numbers in pairs, the latest first: behind the present pair those of the past, of which the state keeps `count` in all. */\n"
	"AQM_STUDENT_INLINE void aqm_student_remember(int16_t *x, int16_t *past, uint32_t count, uint32_t begun)\n"
	"{\n"
	"\tuint32_t i;\n"
	"\n"
	"\tfor (i = 0; i < count; i++)\n"
	"\t\tx[i + 2] = begun ? past[i] : x[i & 1];\n"
	"\tfor (i = 0; i < count; i++)\n"
	"\t\tpast[i] = x[i];\n"
	"}\n"
	"\n"
	"/* Sums of products, unrolled: not every compiler does it. */\n"
	"AQM_STUDENT_INLINE uint64_t aqm_student_dot2(const uint64_t *w, const int16_t *x)\n"
	"{\n"
	"\treturn w[0] * (uint64_t)(int64_t)x[0] + w[1] * (uint64_t)(int64_t)x[1];\n"
	"}\n"
	"\n"
	"AQM_STUDENT_INLINE uint64_t aqm_student_dot4(const uint64_t *w, const int16_t *x)\n"
	"{\n"
	"\treturn aqm_student_dot2(w, x) + aqm_student_dot2(w + 2, x + 2);\n"
	"}\n"
	"\n"
	"/* Two sums of products: w has both biases, then both weights of each of x[count]. */\n"
	"AQM_STUDENT_INLINE void aqm_student_pair(int32_t sums[2], const uint64_t *w, const int16_t *x, uint32_t count)\n"
	"{\n"
	"\tuint64_t both = *w++;\n"
	"\tuint32_t i;\n"
	"\n"
	"\tfor (i = 0; i + 8 <= count; i += 8)\n"
	"\t\tboth += aqm_student_dot4(w + i, x + i) + aqm_student_dot4(w + i + 4, x + i + 4);\n"
	"\tif (count & 4)\n"
	"\t\tboth += aqm_student_dot4(w + (count & ~7u), x + (count & ~7u));\n"
	"\tif (count & 2)\n"
	"\t\tboth += aqm_student_dot2(w + (count & ~3u), x + (count & ~3u));\n"
	"\tif (count & 1)\n"
	"\t\tboth += w[count - 1] * (uint64_t)(int64_t)x[count - 1];\n"
	"\tsums[0] = (int32_t)(uint32_t)both;\n"
	"\tsums[1] = (int32_t)(uint32_t)((both - (uint64_t)(int64_t)sums[0]) >> 32);\n"
	"}\n"
	"\n";

static const char layer[] =
	"AQM_STUDENT_INLINE void aqm_student_layer(int16_t *out, uint32_t pairs, int32_t shift, const uint64_t *w, const int16_t *x,\n"
	"                                          uint32_t count)\n"
	"{\n"
	"\tuint32_t p;\n"
	"\n"
	"\tfor (p = 0; p < pairs; p++) {\n"
	"\t\tint32_t sums[2];\n"
	"\n"
	"#ifdef __bpf__\n"
	"\t\t__asm__ volatile(\"\" : : : \"memory\"); /* x is read again: there is no stack to keep it widened */\n"
	"#endif\n"
	"\t\taqm_student_pair(sums, w + p * (count + 1), x, count);\n"
	"\t\tout[2 * p] = aqm_student_activate(sums[0] >> shift);\n"
	"\t\tout[2 * p + 1] = aqm_student_activate(sums[1] >> shift);\n"
	"\t}\n"
	"}\n"
	"\n";

static const char move[] =
	"/* p' moved by a change of its log2. */\n"
	"AQM_STUDENT_INLINE uint32_t aqm_student_move(uint32_t now, int32_t change)\n"
	"{\n"
	"\tint32_t l = aqm_student_log2(now > 4295u ? now : 4295u);\n"
	"\n"
	"\tl += change > 33792 ? 33792 : change < -33792 ? -33792 : change;\n"
	"\tif (l <= aqm_student_log2(4295u))\n"
	"\t\treturn 0;\n"
	"\tif (l >= 33792)\n"
	"\t\treturn 0xffffffffu;\n"
	"\treturn (uint32_t)(((uint64_t)(1024 + (l & 1023)) << ((l >> 10) - 1)) >> 10);\n"
	"}\n"
	"\n";

/* ---- words ---- */

/* Text that cannot end the comment it stands in. */
static void print_text(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc(*text >= ' ' && *text <= '~' && *text != '*' ? *text : '?', out);
}

static void print_origin(FILE *out, const aqm_student *s)
{
	const struct aqm_student_origin *o = &s->origin;
	bool tree = s->kind == AQM_STUDENT_TREE;

	fputs("/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0\n *\n * Generated by `aqmtrain export --c-header`; do not edit.\n *\n"
	      " * A student of a learned queue management policy: ",
	      out);
	if (tree)
		fprintf(out, "a decision tree of %zu nodes, %u deep.\n", s->node_count, s->depth);
	else
		fprintf(out, "a network of 8-bit weights, %zu inputs, %u numbers each, %u hidden.\n", s->count, s->network.units,
		        s->network.hidden);
	fputs(" * Integers only: no division, no call, no loop without a bound. Zero `state` for each queue, then ask it for each ", out);
	fputs(s->control == AQM_CONTROL_PACKET ? "packet\n * before it is queued.\n" : "update\n * interval at its end.\n", out);
	fputs(" *\n * teacher   ", out);
	print_text(out, o->teacher);
	fputs("\n *           SHA-256 ", out);
	print_text(out, o->teacher_digest);
	fputs("\n * base      SHA-256 ", out);
	print_text(out, o->base_digest);
	fputs("\n * pool      SHA-256 ", out);
	print_text(out, o->pool_digest);
	fprintf(out, "\n *           %llu rows; returns: ", (unsigned long long)o->rows);
	print_text(out, o->returns);
	if (isfinite(o->fidelity) && s->control == AQM_CONTROL_PACKET)
		fprintf(out, "\n * fidelity  %.4f (share of decisions that are the teacher's), macro-F1 %.4f; %s rows", o->fidelity, o->macro_f1,
		        o->held_out ? "held-out" : "training");
	else if (isfinite(o->fidelity))
		fprintf(out, "\n * fidelity  %.4f (share of p' within 10 %% of the teacher's); %s rows", o->fidelity,
		        o->held_out ? "held-out" : "training");
	fputs("\n * made by   aqmtrain ", out);
	print_text(out, o->version);
	fputs("\n */\n", out);
}

/* ---- types ---- */

static void print_record(FILE *out)
{
	size_t count;
	const struct aqm_field *fields = aqm_fields(&count);

	fputs("/* The state of a packet's queue before it, as the kernel's log has it; only what the student reads matters. */\n"
	      "#define AQM_STUDENT_PACKET 1\nstruct aqm_student_record {\n",
	      out);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "\tuint%d_t %s; /* %s%s%s */\n", fields[i].bits <= 32 ? 32 : 64, fields[i].name, fields[i].unit,
		        *fields[i].unit ? "; " : "", fields[i].description);
	fputs("};\n\n", out);
}

static void print_interval(FILE *out, const aqm_student *s)
{
	fputs("/* Of the update interval that ends, by the names of pools of update intervals, rounded. */\n"
	      "#define AQM_STUDENT_UPDATE 1\nstruct aqm_student_interval {\n",
	      out);
	for (size_t i = 0; i < s->count; i++) {
		bool twice = false;

		for (size_t k = 0; k < i; k++)
			twice = twice || strcmp(s->inputs[k].name, s->inputs[i].name) == 0;
		if (!twice)
			fprintf(out, "\tuint64_t %s;\n", s->inputs[i].name);
	}
	fputs("};\n\n", out);
}

static const char *suffix(const struct aqm_student_source *input)
{
	return input->delta ? "_delta" : "";
}

static void print_state(FILE *out, const aqm_student *s)
{
	bool tree = s->kind == AQM_STUDENT_TREE;

	fputs("/* What a student knows of a queue's past. Zeros are the start. */\nstruct aqm_student_state {\n", out);
	for (int bits = 64; bits >= 32; bits -= 32)
		for (size_t i = 0; i < s->count; i++) {
			const struct aqm_student_source *input = &s->inputs[i];

			if (input->delta && input->bits == bits)
				fprintf(out, "\tuint%d_t last_%s;\n", bits, input->name);
			if (tree && input->length > 1 && input->bits == bits)
				fprintf(out, "\tuint%d_t past_%s%s[%d];\n", bits, input->name, suffix(input), input->length - 1);
		}
	fputs("\tuint32_t begun;\n", out);
	for (size_t i = 0; !tree && i < s->count; i++)
		if (s->inputs[i].length > 1)
			fprintf(out, "\tint16_t past_%s%s[%d];\n", s->inputs[i].name, suffix(&s->inputs[i]), 2 * (s->inputs[i].length - 1));
	fputs("};\n\n", out);
}

/* ---- tables ---- */

static uint64_t pair(int64_t low, int64_t high)
{
	return (uint64_t)low + ((uint64_t)high << 32);
}

struct table {
	FILE *out;
	size_t count;
};

static void add(struct table *table, int64_t low, int64_t high)
{
	fprintf(table->out, "%s0x%016llxull,", table->count % 5 ? " " : "\n\t", (unsigned long long)pair(low, high));
	table->count++;
}

static void begin_table(struct table *table, const char *name)
{
	fprintf(table->out, "static const uint64_t aqm_student_%s[] = {", name);
	table->count = 0;
}

/* Of each input: pairs of units, each with its biases and the weights of all values. */
static void print_encoder(struct table *t, const aqm_student *s)
{
	const struct aqm_student_network *n = &s->network;

	begin_table(t, "encoder");
	for (size_t i = 0; i < s->count; i++)
		for (size_t u = 0; u < n->units; u += 2) {
			const int32_t *bias = n->encoder_bias + i * n->units;
			bool two = u + 1 < n->units;

			add(t, bias[u], two ? bias[u + 1] : 0);
			for (size_t v = 2u * s->inputs[i].first; v < 2u * (s->inputs[i].first + s->inputs[i].length); v++)
				add(t, n->encoder[v][u], two ? n->encoder[v][u + 1] : 0);
		}
	fputs("\n};\n\n", t->out);
}

static void print_linear(struct table *t, const char *name, const int8_t *weights, size_t stride, const int32_t *bias, size_t rows,
                         size_t columns)
{
	begin_table(t, name);
	for (size_t j = 0; j < rows; j += 2) {
		bool two = j + 1 < rows;

		add(t, bias[j], two ? bias[j + 1] : 0);
		for (size_t i = 0; i < columns; i++)
			add(t, weights[j * stride + i], two ? weights[(j + 1) * stride + i] : 0);
	}
	fputs("\n};\n\n", t->out);
}

static void print_tables(FILE *out, const aqm_student *s)
{
	const struct aqm_student_network *n = &s->network;
	struct table table = {out, 0};

	print_encoder(&table, s);
	print_linear(&table, "dense", n->dense[0], AQM_STUDENT_ENCODED_MAX, n->dense_bias, n->hidden, s->count * n->units);
	print_linear(&table, "head", n->head[0], AQM_STUDENT_HIDDEN_MAX, n->head_bias, n->outputs, n->hidden);
}

/* ---- inputs ---- */

/* The input as a number: `from`->name, or how far that has moved. */
static void print_source(FILE *out, const struct aqm_student_source *input, const char *from)
{
	if (input->delta)
		fprintf(out, "state->begun ? %s->%s - state->last_%s : 0", from, input->name, input->name);
	else
		fprintf(out, "%s->%s", from, input->name);
}

static void print_shift(FILE *out, const struct aqm_student_source *input)
{
	if (input->length < 2)
		return;
	for (int k = input->length - 2; k > 0; k--)
		fprintf(out, "\tstate->past_%s%s[%d] = state->past_%s%s[%d];\n", input->name, suffix(input), k, input->name, suffix(input),
		        k - 1);
}

static void print_begin(FILE *out, const struct aqm_student_source *input, const char *now)
{
	fputs("\tif (!state->begun)\n\t\t", out);
	for (int k = 0; k < input->length - 1; k++)
		fprintf(out, "state->past_%s%s[%d] = ", input->name, suffix(input), k);
	fprintf(out, "%s;\n", now);
}

static void print_scale(FILE *out, const struct aqm_student_scale *scale)
{
	fprintf(out, "%lluull, %d, %d);\n", (unsigned long long)scale->center, scale->shift < 0 ? -scale->shift : 0,
	        scale->shift > 0 ? scale->shift : 0);
}

/* An input's numbers, from x on. */
static void print_numbers(FILE *out, const struct aqm_student_source *input, const char *from)
{
	fputs("\tvalue = ", out);
	print_source(out, input, from);
	fputs(";\n", out);
	if (input->delta)
		fprintf(out, "\tstate->last_%s = %s->%s;\n", input->name, from, input->name);
	fputs("\tx[0] = aqm_student_scale((uint64_t)aqm_student_log2(value), ", out);
	print_scale(out, &input->log);
	fputs("\tx[1] = aqm_student_scale(value, ", out);
	print_scale(out, &input->linear);
	if (input->length > 1)
		fprintf(out, "\taqm_student_remember(x, state->past_%s%s, %d, state->begun);\n", input->name, suffix(input),
		        2 * (input->length - 1));
}

/* ---- networks ---- */

/* Input by input, so that the numbers of one take little of the stack. */
static void print_network(FILE *out, const aqm_student *s, const char *from)
{
	const struct aqm_student_network *n = &s->network;
	size_t unit_pairs = (n->units + 1u) / 2, hidden_pairs = (n->hidden + 1u) / 2, encoded = s->count * n->units, at = 0, longest = 1;

	for (size_t i = 0; i < s->count; i++)
		longest = s->inputs[i].length > longest ? s->inputs[i].length : longest;
	fprintf(out, "\tint16_t x[%zu], encoded[%zu], hidden[%zu];\n\tuint64_t value;\n\n", 2 * longest, encoded + n->units % 2, 2 * hidden_pairs);
	for (size_t i = 0; i < s->count; i++) {
		const struct aqm_student_source *input = &s->inputs[i];

		print_numbers(out, input, from);
		fprintf(out, "\taqm_student_layer(encoded + %zu, %zu, %u, aqm_student_encoder + %zu, x, %d);\n", i * n->units, unit_pairs,
		        aqm_student_encoder_shift(n), at, 2 * input->length);
		at += unit_pairs * (2u * input->length + 1);
	}
	fputs("\tstate->begun = 1;\n\n", out);
	fprintf(out, "\taqm_student_layer(hidden, %zu, %d, aqm_student_dense, encoded, %zu);\n", hidden_pairs, n->dense_shift, encoded);
	fprintf(out, "\taqm_student_pair(scores, aqm_student_head, hidden, %d);\n", n->hidden);
	if (n->outputs > 1)
		fprintf(out, "\taqm_student_pair(scores + 2, aqm_student_head + %d, hidden, %d);\n", n->hidden + 1, n->hidden);
}

static void print_activate(FILE *out, bool leaky)
{
	fputs("AQM_STUDENT_INLINE int16_t aqm_student_activate(int32_t x)\n{\n", out);
	fprintf(out, "\tx = x >= 0 ? x : %s;\n", leaky ? "aqm_student_clamp(x) >> 3" : "0");
	fputs("\treturn aqm_student_clamp(x);\n}\n\n", out);
}

static void print_network_student(FILE *out, const aqm_student *s)
{
	const struct aqm_student_network *n = &s->network;
	bool packet = s->control == AQM_CONTROL_PACKET;

	print_tables(out, s);
	fputs(arithmetic, out);
	print_activate(out, n->leaky);
	fputs(layer, out);
	if (!packet)
		fputs(move, out);
	fprintf(out,
	        "/* What the answer is read from. */\n"
	        "AQM_STUDENT_INLINE void aqm_student_scores(struct aqm_student_state *state, const struct aqm_student_%s *%s,\n"
	        "                                           int32_t scores[%d])\n{\n",
	        packet ? "record" : "interval", packet ? "record" : "interval", packet ? 4 : 2);
	print_network(out, s, packet ? "record" : "interval");
	fputs("}\n\n", out);
	if (packet)
		fputs("AQM_STUDENT_INLINE int aqm_student_decide(struct aqm_student_state *state, const struct aqm_student_record *record)\n{\n"
		      "\tint32_t scores[4];\n\tint best;\n\n"
		      "\taqm_student_scores(state, record, scores);\n"
		      "\tbest = scores[AQM_STUDENT_DROP] > scores[AQM_STUDENT_ENQUEUE] ? AQM_STUDENT_DROP : AQM_STUDENT_ENQUEUE;\n"
		      "\tif (scores[AQM_STUDENT_MARK] > (best == AQM_STUDENT_DROP ? scores[AQM_STUDENT_DROP] : scores[AQM_STUDENT_ENQUEUE]))\n"
		      "\t\tbest = AQM_STUDENT_MARK;\n"
		      "\treturn best;\n}\n",
		      out);
	else
		fprintf(out,
		        "/* The next p' from the one that %s, both as a fraction of 2^32. */\n"
		        "AQM_STUDENT_INLINE uint32_t aqm_student_update(struct aqm_student_state *state, const struct aqm_student_interval *interval,\n"
		        "                                               uint32_t now)\n{\n"
		        "\tint32_t scores[2];\n\n"
		        "\taqm_student_scores(state, interval, scores);\n"
		        "\treturn aqm_student_move(now, scores[0] >> %d);\n}\n",
		        s->from == AQM_FROM_RULE ? "the rules would set next" : "is in force",
		        n->head_shift + AQM_STUDENT_ONE_BITS - AQM_STUDENT_LOG_BITS);
}

/* ---- trees ---- */

/* "drop_prob", "drops_delta_2": value k of an input. */
static void print_name(FILE *out, const struct aqm_student_source *input, int k)
{
	fprintf(out, "%s%s", input->name, suffix(input));
	if (k)
		fprintf(out, "_%d", k);
}

static void print_value_name(FILE *out, const aqm_student *s, unsigned value)
{
	for (size_t i = 0; i < s->count; i++)
		if (value < s->inputs[i].first + (unsigned)s->inputs[i].length) {
			print_name(out, &s->inputs[i], (int)value - s->inputs[i].first);
			return;
		}
}

static void print_indent(FILE *out, unsigned depth)
{
	for (unsigned i = 0; i <= depth; i++)
		fputc('\t', out);
}

static void print_node(FILE *out, const aqm_student *s, size_t index, unsigned depth)
{
	static const char *const answers[] = {"AQM_STUDENT_ENQUEUE", "AQM_STUDENT_DROP", "AQM_STUDENT_MARK"};
	const struct aqm_student_node *node = &s->nodes[index];

	print_indent(out, depth);
	if (!node->low) {
		fprintf(out, "return %s;\n", answers[node->label]);
		return;
	}
	fputs("if (", out);
	print_value_name(out, s, node->value);
	fprintf(out, " <= %lluull) {\n", (unsigned long long)node->threshold);
	print_node(out, s, node->low, depth + 1);
	print_indent(out, depth);
	fputs("} else {\n", out);
	print_node(out, s, node->high, depth + 1);
	print_indent(out, depth);
	fputs("}\n", out);
}

/* Declarations first, for every C; then the state moves on. */
static void print_tree_inputs(FILE *out, const aqm_student *s)
{
	bool used[AQM_STUDENT_VALUES_MAX] = {false};

	for (size_t i = 0; i < s->node_count; i++)
		if (s->nodes[i].low)
			used[s->nodes[i].value] = true;
	for (size_t i = 0; i < s->count; i++) {
		const struct aqm_student_source *input = &s->inputs[i];

		for (int k = 0; k < input->length; k++) {
			if (!used[input->first + k] && (k || input->length == 1))
				continue;
			fprintf(out, "\tconst uint%d_t ", input->bits);
			print_name(out, input, k);
			fputs(" = ", out);
			if (k)
				fprintf(out, "state->begun ? state->past_%s%s[%d] : ", input->name, suffix(input), k - 1);
			if (k)
				print_name(out, input, 0);
			else
				print_source(out, input, "record");
			fputs(";\n", out);
		}
	}
	fputc('\n', out);
	for (size_t i = 0; i < s->count; i++) {
		const struct aqm_student_source *input = &s->inputs[i];

		if (input->delta)
			fprintf(out, "\tstate->last_%s = record->%s;\n", input->name, input->name);
		if (input->length > 1) {
			char now[AQM_STUDENT_NAME_MAX + 8];

			snprintf(now, sizeof now, "%s%s", input->name, suffix(input));
			print_begin(out, input, now);
			print_shift(out, input);
			fprintf(out, "\tstate->past_%s%s[0] = %s;\n", input->name, suffix(input), now);
		}
	}
	fputs("\tstate->begun = 1;\n\n", out);
}

static void print_tree_student(FILE *out, const aqm_student *s)
{
	fputs("AQM_STUDENT_INLINE int aqm_student_decide(struct aqm_student_state *state, const struct aqm_student_record *record)\n{\n", out);
	print_tree_inputs(out, s);
	if (s->node_count == 1)
		fputs("\t(void)record;\n", out);
	print_node(out, s, 0, 0);
	fputs("}\n", out);
}

/* ---- the header ---- */

static void print_header(FILE *out, const aqm_student *s)
{
	print_origin(out, s);
	fputs(prologue, out);
	if (s->control == AQM_CONTROL_PACKET)
		print_record(out);
	else
		print_interval(out, s);
	print_state(out, s);
	fputs("AQM_STUDENT_INLINE void aqm_student_reset(struct aqm_student_state *state)\n{\n", out);
	fputs("\tstate->begun = 0; /* the rest is then not read */\n}\n\n", out);
	if (s->kind == AQM_STUDENT_TREE)
		print_tree_student(out, s);
	else
		print_network_student(out, s);
	fputs("\n#endif\n", out);
}

int aqm_export_c_header(const aqm_student *student, const char *path)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return aqm_error_set(AQM_ERUN, "cannot write '%s': no memory", path);
	print_header(out, student);
	bool whole = !ferror(out);
	whole = fclose(out) == 0 && whole;
	int code = whole ? aqm_file_write(path, text, bytes) : aqm_error_set(AQM_ERUN, "cannot write '%s': no memory", path);
	free(text);
	return code;
}
