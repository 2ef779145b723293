/* SPDX-License-Identifier: BSD-2-Clause */
#include "distill/network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/random.h"
#include "base/size.h"
#include "base/thread.h"
#include "distill/loss.h"
#include "train/optimizer.h"

struct aqm_network_parts aqm_network_parts_of(const aqm_student *s)
{
	const struct aqm_student_network *n = &s->network;
	struct aqm_network_parts p = {0};
	size_t encoded = s->count * n->units;

	p.encoder_bias = p.encoder + 2 * s->values * n->units;
	p.dense = p.encoder_bias + encoded;
	p.dense_bias = p.dense + n->hidden * encoded;
	p.head = p.dense_bias + n->hidden;
	p.head_bias = p.head + (size_t)n->outputs * n->hidden;
	p.count = p.head_bias + n->outputs;
	return p;
}

/* ---- scales ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Mean and deviation of x[rows], between the quantiles of 0.5 and 99.5 % where that leaves any: a counter that jumped back, as
 * where a log has a gap, must not stretch the scale. Sorts x. A deviation becomes about 1. */
static struct aqm_student_scale fit_scale(double *x, size_t rows)
{
	double mean = 0, deviation = 0;

	qsort(x, rows, sizeof *x, compare);
	for (int whole = 0; whole < 2 && !(deviation > 1e-9 * mean); whole++) {
		size_t cut = whole ? 0 : rows / 200;
		double sum = 0, squares = 0, count = (double)(rows - 2 * cut);

		for (size_t i = cut; i < rows - cut; i++)
			sum += x[i];
		mean = sum / count;
		for (size_t i = cut; i < rows - cut; i++)
			squares += (x[i] - mean) * (x[i] - mean);
		deviation = sqrt(squares / count);
	}
	double shift = deviation > 1e-9 * mean ? rint(log2(deviation)) - AQM_STUDENT_VALUE_BITS : 0;

	return (struct aqm_student_scale){(uint64_t)fmin(rint(mean), 0x1p62), (int8_t)fmin(fmax(shift, -AQM_STUDENT_VALUE_BITS), 60)};
}

int aqm_network_fit_scales(aqm_student *s, const struct aqm_lesson *lesson)
{
	double *x = aqm_malloc_array(lesson->rows, sizeof *x);

	if (!x)
		return AQM_ERUN;
	for (size_t i = 0; i < s->count; i++) {
		const uint64_t *values = lesson->read + s->inputs[i].first;

		for (size_t r = 0; r < lesson->rows; r++)
			x[r] = aqm_student_log2(values[r * lesson->values]);
		s->inputs[i].log = fit_scale(x, lesson->rows);
		for (size_t r = 0; r < lesson->rows; r++)
			x[r] = (double)values[r * lesson->values];
		s->inputs[i].linear = fit_scale(x, lesson->rows);
	}
	free(x);
	return AQM_OK;
}

/* ---- rounding ---- */

static uint8_t shift_for(const float *weights, size_t count, unsigned least)
{
	float largest = 0;
	uint8_t shift = 10;

	for (size_t i = 0; i < count; i++)
		largest = fmaxf(largest, fabsf(weights[i]));
	while (shift > least && largest * (float)(1 << shift) > 127.49f)
		shift--;
	return shift;
}

static void round_weights(const float *weights, size_t count, unsigned shift, int8_t *out)
{
	for (size_t i = 0; i < count; i++)
		out[i] = (int8_t)fminf(fmaxf(rintf(weights[i] * (float)(1 << shift)), -127), 127);
}

/* one: what 1.0 is in the sums. */
static void round_biases(const float *biases, size_t count, float one, int32_t *out)
{
	static const float most = AQM_STUDENT_BIAS_MAX;

	for (size_t i = 0; i < count; i++)
		out[i] = (int32_t)fminf(fmaxf(rintf(biases[i] * one), -most), most);
}

void aqm_network_round(aqm_student *s, const float *x)
{
	struct aqm_student_network *n = &s->network;
	const struct aqm_network_parts p = aqm_network_parts_of(s);
	size_t encoded = s->count * n->units;

	n->encoder_shift = shift_for(x + p.encoder, p.encoder_bias - p.encoder, 0);
	n->dense_shift = shift_for(x + p.dense, p.dense_bias - p.dense, 0);
	n->head_shift = shift_for(x + p.head, p.head_bias - p.head, s->control == AQM_CONTROL_UPDATE ? 2 : 0);
	for (size_t v = 0; v < 2 * s->values; v++)
		round_weights(x + p.encoder + v * n->units, n->units, n->encoder_shift, n->encoder[v]);
	round_biases(x + p.encoder_bias, encoded, ldexpf(1, AQM_STUDENT_VALUE_BITS + n->encoder_shift), n->encoder_bias);
	for (size_t j = 0; j < n->hidden; j++)
		round_weights(x + p.dense + j * encoded, encoded, n->dense_shift, n->dense[j]);
	round_biases(x + p.dense_bias, n->hidden, ldexpf(1, AQM_STUDENT_ONE_BITS + n->dense_shift), n->dense_bias);
	for (size_t o = 0; o < n->outputs; o++)
		round_weights(x + p.head + o * n->hidden, n->hidden, n->head_shift, n->head[o]);
	round_biases(x + p.head_bias, n->outputs, ldexpf(1, AQM_STUDENT_ONE_BITS + n->head_shift), n->head_bias);
}

/* ---- passes ---- */

void aqm_network_forward(const aqm_student *s, const int16_t *numbers, float *logits)
{
	int32_t outputs[AQM_ACTIONS];

	aqm_student_network_run(s, numbers, NULL, NULL, outputs);
	for (size_t o = 0; o < s->network.outputs; o++)
		logits[o] = ldexpf((float)outputs[o], -AQM_STUDENT_ONE_BITS - s->network.head_shift);
}

/* The activation's slope, told from what came of it. */
static float slope(int16_t x, bool leaky)
{
	if (x > 0)
		return x < AQM_STUDENT_CLAMP ? 1 : 0;
	if (!leaky || x <= (-AQM_STUDENT_CLAMP >> AQM_STUDENT_LEAK))
		return 0;
	return x < 0 ? 1.0f / (1 << AQM_STUDENT_LEAK) : 1;
}

void aqm_network_backward(const aqm_student *s, const int16_t *numbers, const float *dlogits, float *gradient)
{
	const struct aqm_student_network *n = &s->network;
	const struct aqm_network_parts p = aqm_network_parts_of(s);
	static const float one = 1.0f / AQM_STUDENT_ONE;
	int16_t encoded[AQM_STUDENT_ENCODED_MAX], hidden[AQM_STUDENT_HIDDEN_MAX];
	float dencoded[AQM_STUDENT_ENCODED_MAX] = {0};
	size_t width = s->count * n->units;
	int32_t outputs[AQM_ACTIONS];

	aqm_student_network_run(s, numbers, encoded, hidden, outputs);
	for (size_t o = 0; o < n->outputs; o++) {
		for (size_t j = 0; j < n->hidden; j++)
			gradient[p.head + o * n->hidden + j] += dlogits[o] * one * (float)hidden[j];
		gradient[p.head_bias + o] += dlogits[o];
	}
	for (size_t j = 0; j < n->hidden; j++) {
		float d = 0, scale = ldexpf(1, -n->dense_shift);

		for (size_t o = 0; o < n->outputs; o++)
			d += dlogits[o] * (float)n->head[o][j];
		d *= ldexpf(slope(hidden[j], n->leaky), -n->head_shift);
		if (d == 0)
			continue;
		for (size_t i = 0; i < width; i++) {
			gradient[p.dense + j * width + i] += d * one * (float)encoded[i];
			dencoded[i] += d * scale * (float)n->dense[j][i];
		}
		gradient[p.dense_bias + j] += d;
	}
	for (size_t i = 0; i < s->count; i++)
		for (size_t u = 0; u < n->units; u++) {
			size_t at = i * n->units + u;
			float d = dencoded[at] * slope(encoded[at], n->leaky);

			for (size_t v = 2u * s->inputs[i].first; v < 2u * (s->inputs[i].first + s->inputs[i].length); v++)
				gradient[p.encoder + v * n->units + u] += ldexpf(d * (float)numbers[v], -AQM_STUDENT_VALUE_BITS);
			gradient[p.encoder_bias + at] += d;
		}
}

/* ---- training ---- */

struct training {
	aqm_student *student;
	const struct aqm_lesson *lesson;
	const struct aqm_config *config;
	struct aqm_config schedule; /* the learning rate's, in the words of aqm_learning_rate() */
	struct aqm_network_parts parts;
	int16_t *numbers; /* (rows, 2 values) */
	float *x, *gradient, *m, *v;                       /* parameters and AdamW's moments */
	float *logits, *teacher, *dlogits, *weights, *room; /* of a batch */
	uint8_t *labels;
	float class_weight[AQM_ACTIONS];
	size_t *order;
	uint64_t step, steps;
};

/* Weights that keep what passes through at about 1; biases that spread the bends of an input's units over its range. */
static void initialise(struct training *t)
{
	const aqm_student *s = t->student;
	const struct aqm_student_network *n = &s->network;
	const struct aqm_network_parts *p = &t->parts;
	float of_dense = sqrtf(2.0f / (float)(s->count * n->units)), of_head = sqrtf(1.0f / (float)n->hidden);
	struct aqm_rng rng;

	aqm_rng_init(&rng, t->config->seed, AQM_STREAM_DISTILL, 0);
	for (size_t i = 0; i < s->count; i++)
		for (size_t v = 2u * s->inputs[i].first; v < 2u * (s->inputs[i].first + s->inputs[i].length); v++)
			for (size_t u = 0; u < n->units; u++)
				t->x[p->encoder + v * n->units + u] = aqm_rng_normal(&rng) / sqrtf(2 * (float)s->inputs[i].length);
	for (size_t i = p->encoder_bias; i < p->dense; i++)
		t->x[i] = 2 * aqm_rng_uniform(&rng) - 1;
	for (size_t i = p->dense; i < p->dense_bias; i++)
		t->x[i] = of_dense * aqm_rng_normal(&rng);
	for (size_t i = p->head; i < p->head_bias; i++)
		t->x[i] = of_head * aqm_rng_normal(&rng);
}

static void weigh_classes(struct training *t)
{
	double counts[AQM_ACTIONS] = {0};

	for (size_t i = 0; i < t->lesson->rows; i++)
		counts[t->lesson->answers[i]]++;
	for (int a = 0; a < AQM_ACTIONS; a++)
		t->class_weight[a] = t->config->distill.class_weights == AQM_WEIGHTS_BALANCED && counts[a] > 0
		                         ? (float)((double)t->lesson->rows / AQM_ACTIONS / counts[a])
		                         : 1;
}

static int prepare(struct training *t)
{
	const aqm_student *s = t->student;
	const struct aqm_lesson *l = t->lesson;
	size_t batch = (size_t)t->config->distill.batch, rows = l->rows;

	t->numbers = aqm_malloc_array(rows, 2 * s->values * sizeof *t->numbers);
	t->x = aqm_calloc_array(t->parts.count, 4 * sizeof *t->x);
	t->logits = aqm_malloc_array(batch, (3 * AQM_ACTIONS + 1) * sizeof *t->logits);
	t->room = aqm_malloc_array(batch, (2 * AQM_ACTIONS + 1) * sizeof *t->room);
	t->labels = aqm_malloc_array(batch, 1);
	t->order = aqm_malloc_array(rows, sizeof *t->order);
	if (!t->numbers || !t->x || !t->logits || !t->room || !t->labels || !t->order)
		return AQM_ERUN;
	t->gradient = t->x + t->parts.count;
	t->m = t->gradient + t->parts.count;
	t->v = t->m + t->parts.count;
	t->teacher = t->logits + batch * AQM_ACTIONS;
	t->dlogits = t->teacher + batch * AQM_ACTIONS;
	t->weights = t->dlogits + batch * AQM_ACTIONS;
	for (size_t r = 0; r < rows; r++)
		aqm_student_numbers(s, l->read + r * s->values, t->numbers + r * 2 * s->values);
	for (size_t r = 0; r < rows; r++)
		t->order[r] = r;
	return AQM_OK;
}

static void adamw(struct training *t)
{
	const struct aqm_network_parts *p = &t->parts;
	static const float beta1 = 0.9f, beta2 = 0.999f;
	float lr = (float)aqm_learning_rate(&t->schedule, t->step, t->steps), decay = (float)t->config->distill.weight_decay;
	float first = 1 - powf(beta1, (float)(t->step + 1)), second = 1 - powf(beta2, (float)(t->step + 1));

	for (size_t i = 0; i < p->count; i++) {
		bool bias = (i >= p->encoder_bias && i < p->dense) || (i >= p->dense_bias && i < p->head) || i >= p->head_bias;

		t->m[i] = beta1 * t->m[i] + (1 - beta1) * t->gradient[i];
		t->v[i] = beta2 * t->v[i] + (1 - beta2) * t->gradient[i] * t->gradient[i];
		t->x[i] -= lr * (t->m[i] / first / (sqrtf(t->v[i] / second) + 1e-8f) + (bias ? 0 : decay * t->x[i]));
	}
}

static double batch_loss(struct training *t, size_t count)
{
	const struct aqm_config *c = t->config;
	double each = 1 / (double)count, hard = c->distill.label_weight, total;

	memset(t->dlogits, 0, count * AQM_ACTIONS * sizeof *t->dlogits);
	if (t->student->control == AQM_CONTROL_UPDATE)
		return aqm_loss_square(count, t->logits, t->teacher, each, t->dlogits);
	total = aqm_loss_divergence(count, t->logits, t->teacher, t->weights, c->distill.temperature, (1 - hard) * each, t->dlogits);
	total += aqm_loss_labels(count, t->logits, t->labels, t->weights, hard * each, t->dlogits);
	if (c->distill.correlation > 0)
		total += aqm_loss_correlation(count, t->logits, t->teacher, c->distill.correlation, t->dlogits, t->room);
	return total;
}

static double train_batch(struct training *t, const size_t *rows, size_t count)
{
	size_t outputs = t->student->network.outputs, numbers = 2 * t->student->values;

	aqm_network_round(t->student, t->x);
	for (size_t b = 0; b < count; b++) {
		aqm_network_forward(t->student, t->numbers + rows[b] * numbers, t->logits + b * outputs);
		memcpy(t->teacher + b * outputs, t->lesson->teacher + rows[b] * outputs, outputs * sizeof(float));
		t->labels[b] = t->lesson->labels[rows[b]];
		t->weights[b] = t->class_weight[t->lesson->answers[rows[b]]];
	}
	double loss = batch_loss(t, count);
	memset(t->gradient, 0, t->parts.count * sizeof *t->gradient);
	for (size_t b = 0; b < count; b++)
		aqm_network_backward(t->student, t->numbers + rows[b] * numbers, t->dlogits + b * outputs, t->gradient);
	adamw(t);
	t->step++;
	return loss;
}

static int train_epochs(struct training *t)
{
	size_t rows = t->lesson->rows, batch = (size_t)t->config->distill.batch;
	uint64_t epochs = (uint64_t)t->config->distill.epochs;
	struct aqm_progress progress;
	int code = AQM_OK;

	aqm_progress_start(&progress, "distilling", epochs, 0);
	for (uint64_t epoch = 0; code == AQM_OK && epoch < epochs; epoch++) {
		struct aqm_rng rng;
		double loss = 0;

		aqm_rng_init(&rng, t->config->seed, AQM_STREAM_DISTILL, 1 + (uint32_t)epoch);
		aqm_rng_shuffle(&rng, t->order, rows);
		for (size_t at = 0; at < rows; at += batch)
			loss += train_batch(t, t->order + at, rows - at < batch ? rows - at : batch);
		if (!isfinite(loss))
			code = aqm_error_set(AQM_ERUN, "the student's loss is not finite in epoch %llu (distill.lr %g)",
			                     (unsigned long long)epoch + 1, t->config->distill.lr);
		else if (aqm_interrupted())
			code = aqm_error_set(AQM_EINTERRUPTED, "interrupted while the student learned");
		aqm_progress_note(&progress, "loss %.5f", loss / ceil((double)rows / (double)batch));
		aqm_progress_update(&progress, epoch + 1);
	}
	aqm_progress_end(&progress);
	return code;
}

int aqm_network_train(aqm_student *student, const struct aqm_lesson *lesson, const struct aqm_config *config)
{
	struct training t = {.student = student, .lesson = lesson, .config = config};
	size_t batch = (size_t)config->distill.batch;

	if (lesson->rows == 0)
		return aqm_error_set(AQM_EDATA, "no rows to learn from");
	int code = aqm_network_fit_scales(student, lesson);
	t.schedule.train.lr = config->distill.lr;
	t.schedule.train.warmup = 0.05;
	t.schedule.train.schedule = AQM_SCHEDULE_COSINE;
	t.schedule.train.lr_min = 0.01;
	t.steps = (uint64_t)config->distill.epochs * ((lesson->rows + batch - 1) / batch);
	t.parts = aqm_network_parts_of(student);
	if (code == AQM_OK)
		code = prepare(&t);
	if (code == AQM_OK) {
		initialise(&t);
		weigh_classes(&t);
		code = train_epochs(&t);
	}
	if (code == AQM_OK) {
		aqm_network_round(student, t.x);
		code = aqm_student_check(student, "(trained)");
	}
	free(t.numbers);
	free(t.x);
	free(t.logits);
	free(t.room);
	free(t.labels);
	free(t.order);
	return code;
}
