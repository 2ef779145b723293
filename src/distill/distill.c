/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Distilling: the teacher's answers, one student or a sweep of them, rounds in the simulator, and what came of it.
 */
#include "aqmtrain/distill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "distill/grow.h"
#include "distill/network.h"
#include "distill/rounds.h"
#include "distill/sweep.h"
#include "distill/teacher.h"

/* Rows that the teacher has answered. */
struct answered {
	aqm_pool *pool;   /* owned; NULL: none */
	float *answers;   /* owned */
	uint8_t *labels;  /* owned; the pool's; NULL for updates */
};

struct distilling {
	const struct aqm_config *config;
	aqm_ranks *ranks;
	struct aqm_teacher teacher;
	struct answered train, held_out;
	struct answered *met; /* owned: of rounds in the simulator */
	size_t met_count;
	struct aqm_distill_result *result;
	double began;
};

/* ---- rows ---- */

/* All. */
static int open_rows(struct distilling *d, const char *path, const char *digest_of, struct answered *rows)
{
	enum aqm_control control = d->teacher.config->control;
	bool known;
	int code = aqm_ranks_agree(d->ranks, aqm_pool_open_for(&rows->pool, path, control));

	if (code == AQM_OK)
		code = aqm_ranks_same(d->ranks, digest_of, aqm_pool_digest(rows->pool));
	if (code == AQM_OK)
		code = aqm_teacher_answers(&d->teacher, d->ranks, rows->pool, &rows->answers, &known);
	if (code != AQM_OK)
		return code;
	d->result->answers_known = d->result->answers_known && known;
	if (control == AQM_CONTROL_UPDATE)
		return AQM_OK;
	rows->labels = aqm_malloc_array(aqm_pool_rows(rows->pool), 1);
	return aqm_ranks_agree(d->ranks, rows->labels ? aqm_pool_actions(rows->pool, d->teacher.config->pool.labels, rows->labels) : AQM_ERUN);
}

static void release_rows(struct answered *rows)
{
	aqm_pool_free(rows->pool);
	free(rows->answers);
	free(rows->labels);
	*rows = (struct answered){0};
}

/* ---- what a student reads ---- */

static bool holds(const struct aqm_strings *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], name) == 0)
			return true;
	return false;
}

static int new_student(struct distilling *d, const struct aqm_config *config, aqm_student **out)
{
	const struct aqm_config *teacher = d->teacher.config;
	const struct aqm_strings *features = config->distill.features.count ? &config->distill.features : &teacher->policy.features;
	const struct aqm_strings *sequences = config->distill.sequences.count ? &config->distill.sequences : &teacher->policy.sequences;
	struct aqm_student_source inputs[AQM_STUDENT_INPUTS_MAX] = {0};
	bool tree = config->distill.student == AQM_DISTILL_TREE;
	size_t count = 0;

	if (tree && teacher->control == AQM_CONTROL_UPDATE)
		return aqm_error_set(AQM_EUSAGE, "a tree has no answer to update intervals: distill.student wants to be network");
	for (size_t i = 0; i < features->count; i++) {
		const char *name = features->items[i];

		if (strcmp(name, "time") == 0)
			continue; /* a kernel has no such clock, and what it tells is when the log was made */
		if (count == AQM_STUDENT_INPUTS_MAX || strlen(name) >= AQM_STUDENT_NAME_MAX)
			return aqm_error_set(AQM_EUSAGE, "a student reads at most %d features with names under %d bytes",
			                     AQM_STUDENT_INPUTS_MAX, AQM_STUDENT_NAME_MAX);
		struct aqm_student_source *input = &inputs[count++];
		strcpy(input->name, name);
		input->delta = holds(&config->distill.counters, name);
		input->length = (uint8_t)(holds(sequences, name) ? config->distill.history : 1);
	}
	int code = aqm_student_new(out, teacher->control, tree ? AQM_STUDENT_TREE : AQM_STUDENT_NETWORK, count, inputs);
	if (code != AQM_OK)
		return code;
	(*out)->from = teacher->control == AQM_CONTROL_UPDATE ? teacher->policy.from : AQM_FROM_NOW;
	(*out)->network.units = (uint8_t)config->distill.units;
	(*out)->network.hidden = (uint8_t)config->distill.hidden;
	(*out)->network.leaky = config->distill.activation == AQM_DISTILL_LEAKY;
	return AQM_OK;
}

static void tell_origin(struct distilling *d, aqm_student *student, uint64_t rows, const struct aqm_fidelity *measured)
{
	struct aqm_student_origin *o = &student->origin;

	snprintf(o->version, sizeof o->version, "%s", AQM_VERSION);
	snprintf(o->teacher, sizeof o->teacher, "%s", d->config->distill.teacher);
	snprintf(o->teacher_digest, sizeof o->teacher_digest, "%s", d->teacher.digest);
	snprintf(o->base_digest, sizeof o->base_digest, "%s", d->teacher.base_digest);
	snprintf(o->pool_digest, sizeof o->pool_digest, "%s", aqm_pool_digest(d->train.pool));
	snprintf(o->returns, sizeof o->returns, "%s", d->teacher.returns);
	o->fidelity = measured->fidelity;
	o->macro_f1 = measured->metrics.macro_f1;
	o->held_out = d->held_out.pool != NULL;
	o->rows = rows;
}

/* ---- measuring ---- */

static void measure_packets(struct aqm_fidelity *f, size_t rows, const uint8_t *answers, const uint8_t *teacher, const uint8_t *labels)
{
	size_t same = 0;

	for (size_t i = 0; i < rows; i++)
		same += answers[i] == teacher[i];
	*f = (struct aqm_fidelity){.rows = rows, .fidelity = rows ? (double)same / (double)rows : (double)NAN};
	aqm_metrics_compute(&f->metrics, rows, labels, NULL, answers);
}

/* changes: of log2 p' in steps of AQM_STUDENT_LOG_BITS; NULL: none. */
static void measure_updates(struct aqm_fidelity *f, const struct aqm_lesson *lesson, const int32_t *changes)
{
	double squares = 0;
	size_t within = 0;

	for (size_t i = 0; i < lesson->rows; i++) {
		int32_t wanted = (int32_t)lrintf(ldexpf(lesson->teacher[i], AQM_STUDENT_LOG_BITS));
		double to = fmax(aqm_student_move(lesson->now[i], wanted), AQM_STUDENT_LOWEST);
		double got = fmax(aqm_student_move(lesson->now[i], changes ? changes[i] : 0), AQM_STUDENT_LOWEST);

		squares += log(got / to) * log(got / to);
		within += got <= 1.1 * to && got >= 0.9 * to;
	}
	*f = (struct aqm_fidelity){.rows = lesson->rows,
	                           .fidelity = (double)within / (double)lesson->rows,
	                           .log_rmse = sqrt(squares / (double)lesson->rows)};
}

/* Answers of a student to a lesson: actions, or changes. */
static int answer(const aqm_student *student, const struct aqm_lesson *lesson, uint8_t *actions, int32_t *changes)
{
	const struct aqm_student_network *n = &student->network;
	int16_t numbers[2 * AQM_STUDENT_VALUES_MAX];
	int32_t outputs[AQM_ACTIONS];

	for (size_t r = 0; r < lesson->rows; r++) {
		const uint64_t *values = lesson->read + r * lesson->values;

		if (student->kind == AQM_STUDENT_TREE) {
			actions[r] = aqm_student_leaf(student, values)->label;
			continue;
		}
		aqm_student_numbers(student, values, numbers);
		aqm_student_network_run(student, numbers, NULL, NULL, outputs);
		if (changes) {
			changes[r] = outputs[0] >> (n->head_shift + AQM_STUDENT_ONE_BITS - AQM_STUDENT_LOG_BITS);
			continue;
		}
		actions[r] = outputs[1] > outputs[0];
		if (outputs[2] > outputs[actions[r]])
			actions[r] = 2;
	}
	return AQM_OK;
}

static int measure(const aqm_student *student, const struct aqm_lesson *lesson, const uint8_t *labels, struct aqm_fidelity *f)
{
	bool updates = student->control == AQM_CONTROL_UPDATE;
	uint8_t *actions = aqm_malloc_array(lesson->rows, 1);
	int32_t *changes = updates ? aqm_malloc_array(lesson->rows, sizeof *changes) : NULL;
	int code = actions && (changes || !updates) ? answer(student, lesson, actions, changes) : AQM_ERUN;

	if (code == AQM_OK && updates)
		measure_updates(f, lesson, changes);
	else if (code == AQM_OK)
		measure_packets(f, lesson->rows, actions, lesson->answers, labels);
	free(actions);
	free(changes);
	return code;
}

/* Measure on rows that the student reads anew. */
static int measure_on(const aqm_student *student, const struct answered *rows, struct aqm_fidelity *f)
{
	struct aqm_lesson lesson = {0};
	int code = rows->pool ? aqm_lesson_add(&lesson, student, rows->pool, rows->answers, rows->labels) : AQM_OK;

	if (code == AQM_OK && rows->pool)
		code = measure(student, &lesson, rows->labels, f);
	aqm_lesson_release(&lesson);
	return code;
}

/* ---- baselines ---- */

static int raw_tree(struct distilling *d)
{
	struct aqm_config config = *d->config; /* the same inputs, as a tree reads them */
	const struct answered *rows = d->held_out.pool ? &d->held_out : &d->train;
	struct aqm_lesson lesson = {0};
	aqm_student *tree = NULL;

	config.distill.student = AQM_DISTILL_TREE;
	int code = new_student(d, &config, &tree);
	if (code == AQM_OK)
		code = aqm_lesson_add(&lesson, tree, d->train.pool, d->train.answers, d->train.labels);
	if (code == AQM_OK)
		code = aqm_tree_grow(tree, &lesson, d->train.labels, (unsigned)config.distill.depth, (size_t)config.distill.nodes);
	if (code == AQM_OK) {
		d->result->raw_tree_nodes = tree->node_count;
		code = measure_on(tree, rows, &d->result->raw_tree);
	}
	aqm_lesson_release(&lesson);
	aqm_student_free(tree);
	return code;
}

static int trivial_packets(struct distilling *d, const struct answered *rows)
{
	size_t count = aqm_pool_rows(rows->pool), seen[AQM_ACTIONS] = {0};
	uint8_t *teacher = aqm_malloc_array(count, 1), *always = aqm_malloc_array(count, 1);
	int common = 0;

	if (!teacher || !always) {
		free(teacher);
		free(always);
		return AQM_ERUN;
	}
	for (size_t i = 0; i < aqm_pool_rows(d->train.pool); i++)
		seen[aqm_lesson_answer(d->train.answers + i * AQM_ACTIONS)]++;
	for (int a = 1; a < AQM_ACTIONS; a++)
		common = seen[a] > seen[common] ? a : common;
	for (size_t i = 0; i < count; i++)
		teacher[i] = aqm_lesson_answer(rows->answers + i * AQM_ACTIONS);
	memset(always, common, count);
	measure_packets(&d->result->teacher, count, teacher, teacher, rows->labels);
	measure_packets(&d->result->trivial, count, always, teacher, rows->labels);
	free(teacher);
	free(always);
	return AQM_OK;
}

static int trivial_updates(struct distilling *d, const struct answered *rows)
{
	struct aqm_lesson lesson = {0};
	aqm_student *any = NULL;
	int code = new_student(d, d->config, &any);

	if (code == AQM_OK)
		code = aqm_lesson_add(&lesson, any, rows->pool, rows->answers, NULL);
	if (code == AQM_OK) {
		measure_updates(&d->result->trivial, &lesson, NULL);
		d->result->teacher = (struct aqm_fidelity){.rows = lesson.rows, .fidelity = 1};
	}
	aqm_lesson_release(&lesson);
	aqm_student_free(any);
	return code;
}

static int baselines(struct distilling *d)
{
	const struct answered *rows = d->held_out.pool ? &d->held_out : &d->train;

	d->result->held_out = d->held_out.pool != NULL;
	if (d->teacher.config->control == AQM_CONTROL_UPDATE)
		return trivial_updates(d, rows);
	int code = trivial_packets(d, rows);
	return code == AQM_OK ? raw_tree(d) : code;
}

/* ---- students ---- */

static int learn(const struct aqm_config *config, aqm_student *student, const struct aqm_lesson *lesson)
{
	if (student->kind == AQM_STUDENT_NETWORK)
		return aqm_network_train(student, lesson, config);
	free(student->nodes);
	student->nodes = NULL;
	return aqm_tree_grow(student, lesson, lesson->answers, (unsigned)config->distill.depth, (size_t)config->distill.nodes);
}

/* Let the student act, and the teacher say what it would have done. */
static int meet(struct distilling *d, const aqm_student *student, uint64_t round)
{
	struct answered *grown = aqm_realloc_array(d->met, d->met_count + 1, sizeof *grown);

	if (!grown)
		return AQM_ERUN;
	d->met = grown;
	struct answered *rows = &d->met[d->met_count];
	*rows = (struct answered){0};
	int code = aqm_student_rounds(student, d->config, round, &rows->pool, NULL);
	if (code == AQM_OK)
		code = aqm_teacher_answers(&d->teacher, NULL, rows->pool, &rows->answers, NULL);
	if (code != AQM_OK) {
		release_rows(rows);
		return code;
	}
	d->met_count++;
	return AQM_OK;
}

static int learn_in_rounds(struct distilling *d, const struct aqm_config *config, aqm_student *student, uint64_t *rows)
{
	struct aqm_lesson lesson = {0};
	size_t first = d->met_count;
	int code = aqm_lesson_add(&lesson, student, d->train.pool, d->train.answers, d->train.labels);

	if (code == AQM_OK)
		code = learn(config, student, &lesson);
	for (int64_t round = 1; round <= config->distill.rounds && code == AQM_OK; round++) {
		code = meet(d, student, 1000 * (uint64_t)round);
		if (code != AQM_OK)
			break;
		const struct answered *met = &d->met[d->met_count - 1];

		code = aqm_lesson_add(&lesson, student, met->pool, met->answers, NULL);
		if (code == AQM_OK)
			aqm_log_info("round %lld: %zu decisions of its own, %zu rows", (long long)round, aqm_pool_rows(met->pool), lesson.rows);
		if (code == AQM_OK)
			code = learn(config, student, &lesson);
	}
	*rows = lesson.rows;
	for (; d->met_count > first; d->met_count--)
		release_rows(&d->met[d->met_count - 1]);
	aqm_lesson_release(&lesson);
	return code;
}

/* A student, on any rank: what is measured on rows comes later. */
static int make_student(void *context, const struct aqm_config *config, struct aqm_distilled *out)
{
	struct distilling *d = context;
	double began = aqm_clock_seconds();

	*out = (struct aqm_distilled){.utility = (double)NAN, .ranks = 1};
	int code = new_student(d, config, &out->student);
	if (code == AQM_OK)
		code = learn_in_rounds(d, config, out->student, &out->rows);
	out->seconds = aqm_clock_seconds() - began;
	if (code == AQM_OK && config->distill.scenarios.count)
		code = aqm_student_rounds(out->student, config, 0, NULL, &out->utility);
	return code;
}

/* What it is, and what it can do. */
static int describe(struct distilling *d, struct aqm_distilled *s)
{
	aqm_student *student = s->student;
	int code = measure_on(student, &d->train, &s->train);

	if (code == AQM_OK)
		code = measure_on(student, &d->held_out, &s->held_out);
	if (code != AQM_OK)
		return code;
	tell_origin(d, student, s->rows, d->held_out.pool ? &s->held_out : &s->train);
	s->bytes = aqm_student_bytes(student);
	if (student->kind == AQM_STUDENT_TREE)
		snprintf(s->name, sizeof s->name, "tree, %zu nodes, %u deep", student->node_count, student->depth);
	else
		snprintf(s->name, sizeof s->name, "network, %zu x %u to %u", student->count, student->network.units, student->network.hidden);
	return AQM_OK;
}

static void hash_rows(aqm_sha256 *hash, const struct distilling *d, const struct answered *rows)
{
	size_t outputs = d->teacher.config->control == AQM_CONTROL_UPDATE ? 1 : AQM_ACTIONS;

	if (!rows->pool)
		return;
	aqm_sha256_update(hash, aqm_pool_digest(rows->pool), 64);
	aqm_sha256_update(hash, rows->answers, aqm_pool_rows(rows->pool) * outputs * sizeof *rows->answers);
}

/* All. */
static int sweep(struct distilling *d, const char *folder)
{
	char inputs[65];
	aqm_sha256 *hash;
	int code = aqm_ranks_agree(d->ranks, aqm_sha256_new(&hash));

	if (code != AQM_OK)
		return code;
	aqm_sha256_update(hash, d->teacher.digest, 64);
	aqm_sha256_update(hash, d->teacher.base_digest, strlen(d->teacher.base_digest));
	aqm_sha256_update(hash, d->teacher.returns, strlen(d->teacher.returns));
	hash_rows(hash, d, &d->train);
	hash_rows(hash, d, &d->held_out);
	aqm_sha256_finish(hash, inputs);
	const struct aqm_sweep sweep = {.config = d->config,
	                                .folder = folder,
	                                .ranks = d->ranks,
	                                .control = d->result->control,
	                                .inputs = inputs,
	                                .context = d,
	                                .make = make_student};
	return aqm_sweep_run(&sweep, d->result->students, &d->result->count);
}

/* ---- all of it ---- */

static int write_files(const struct distilling *d, const char *folder, bool sweep)
{
	char *path = aqm_path_join(folder, "student.json"), *record = aqm_path_join(folder, "distill.json");
	char *config = aqm_path_join(folder, "distill.yaml"), *yaml = NULL, *json = NULL;
	int code = path && record && config ? AQM_OK : AQM_ERUN;

	if (code == AQM_OK && !sweep)
		code = aqm_student_save(d->result->students[0].student, path);
	if (code == AQM_OK)
		code = aqm_distill_format(d->result, NULL, true, &json);
	if (code == AQM_OK)
		code = aqm_file_write(record, json, strlen(json));
	if (code == AQM_OK)
		code = aqm_config_dump(d->config, &yaml);
	if (code == AQM_OK)
		code = aqm_file_write(config, yaml, strlen(yaml));
	free(path);
	free(record);
	free(config);
	free(yaml);
	free(json);
	return code;
}

/* What rank 0 does while the others sleep: a student where there is no sweep, baselines, figures, files. */
static int conclude(struct distilling *d, const char *folder, bool swept)
{
	struct aqm_distill_result *result = d->result;
	int code = AQM_OK;

	if (!swept)
		code = make_student(d, d->config, &result->students[result->count++]);
	for (size_t i = 0; code == AQM_OK && i < result->count; i++)
		code = describe(d, &result->students[i]);
	if (code == AQM_OK)
		code = baselines(d);
	if (code != AQM_OK)
		return code;
	result->rows = result->students[result->count - 1].rows;
	result->seconds = aqm_clock_seconds() - d->began;
	return write_files(d, folder, swept);
}

static int check(const struct aqm_config *config)
{
	if (config->distill.rounds > 0 && config->distill.scenarios.count == 0)
		return aqm_error_set(AQM_EUSAGE, "distill.rounds wants distill.scenarios: where is the student to act?");
	return AQM_OK;
}

/* All. */
static int open_teacher(struct distilling *d, const char *folder)
{
	bool first = aqm_ranks_first(d->ranks);
	int code = check(d->config);

	if (code == AQM_OK && first)
		code = aqm_make_folders(folder);
	if (code == AQM_OK)
		code = aqm_teacher_open(&d->teacher, d->config);
	d->teacher.keeps = first;
	code = aqm_ranks_agree(d->ranks, code);
	if (code == AQM_OK)
		code = aqm_ranks_same(d->ranks, "the version of aqmtrain", AQM_VERSION);
	if (code == AQM_OK)
		code = aqm_ranks_same(d->ranks, "the SHA-256 of the teacher", d->teacher.digest);
	if (code == AQM_OK)
		code = aqm_ranks_same(d->ranks, "the SHA-256 of its base", d->teacher.base_digest);
	return code;
}

int aqm_distill(const struct aqm_config *config, const char *folder, const struct aqm_distill_options *options,
                struct aqm_distill_result *result)
{
	struct distilling d = {.config = config, .ranks = options->ranks, .result = result, .began = aqm_clock_seconds()};

	*result = (struct aqm_distill_result){.answers_known = true};
	int code = open_teacher(&d, folder);
	if (code != AQM_OK)
		goto done;
	result->control = d.teacher.config->control;
	result->students = aqm_calloc_array(AQM_SWEEP_MAX, sizeof *result->students);
	code = aqm_ranks_agree(d.ranks, result->students ? AQM_OK : AQM_ERUN);
	const char *train = *config->pool.train ? config->pool.train : d.teacher.config->pool.train;
	const char *held_out = *config->pool.train ? config->pool.eval : d.teacher.config->pool.eval;
	if (code == AQM_OK)
		code = open_rows(&d, train, "the SHA-256 of 'pool.train'", &d.train);
	if (code == AQM_OK && *held_out)
		code = open_rows(&d, held_out, "the SHA-256 of 'pool.eval'", &d.held_out);
	result->teacher_seconds = aqm_clock_seconds() - d.began;
	if (code == AQM_OK && options->sweep)
		code = sweep(&d, folder);
	if (code == AQM_OK) {
		code = aqm_ranks_first(d.ranks) ? conclude(&d, folder, options->sweep) : AQM_OK;
		int waited = aqm_ranks_pause(d.ranks);

		code = aqm_ranks_agree(d.ranks, code == AQM_OK ? waited : code);
	}
done:
	release_rows(&d.train);
	release_rows(&d.held_out);
	free(d.met);
	aqm_teacher_close(&d.teacher);
	if (code != AQM_OK)
		aqm_distill_release(result);
	return code;
}

void aqm_distill_release(struct aqm_distill_result *result)
{
	for (size_t i = 0; result->students && i < AQM_SWEEP_MAX; i++)
		aqm_student_free(result->students[i].student);
	free(result->students);
	*result = (struct aqm_distill_result){0};
}
