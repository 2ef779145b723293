/* SPDX-License-Identifier: BSD-2-Clause
 *
 * results.jsonl: what simulations left, a line each. A run is always read back from its line, so that figures are the
 * same whether they were just simulated or found.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "eval/closed.h"
#include "train/journal.h"

enum { DIGITS = 9, CDF_DIGITS = 5, UTILITIES_MAX = 64 };
static const size_t file_limit = (size_t)1 << 31;

static const char *const names[] = {
	[AQM_FIGURE_UTILISATION] = "utilisation",
	[AQM_FIGURE_GOODPUT] = "goodput_mbps",
	[AQM_FIGURE_RATIO] = "rate_ratio",
	[AQM_FIGURE_JAIN] = "jain",
	[AQM_FIGURE_L_MEAN] = "delay_ms.L.mean",
	[AQM_FIGURE_L_P50] = "delay_ms.L.p50",
	[AQM_FIGURE_L_P95] = "delay_ms.L.p95",
	[AQM_FIGURE_L_P99] = "delay_ms.L.p99",
	[AQM_FIGURE_C_MEAN] = "delay_ms.C.mean",
	[AQM_FIGURE_C_P50] = "delay_ms.C.p50",
	[AQM_FIGURE_C_P95] = "delay_ms.C.p95",
	[AQM_FIGURE_C_P99] = "delay_ms.C.p99",
	[AQM_FIGURE_L_MARK] = "mark_probability.L",
	[AQM_FIGURE_C_MARK] = "mark_probability.C",
	[AQM_FIGURE_L_DROP] = "drop_probability.L",
	[AQM_FIGURE_C_DROP] = "drop_probability.C",
	[AQM_FIGURE_FCT_MEAN] = "completion_s.mean",
	[AQM_FIGURE_FCT_P50] = "completion_s.p50",
	[AQM_FIGURE_FCT_P95] = "completion_s.p95",
	[AQM_FIGURE_FCT_P99] = "completion_s.p99",
	[AQM_FIGURE_RETURN] = "return",
	[AQM_FIGURE_ASKED] = "asked",
	[AQM_FIGURE_DIFFERED] = "differed",
	[AQM_FIGURE_UTILITY] = "utility",
};

const char *aqm_figure_name(enum aqm_figure figure)
{
	return (size_t)figure < AQM_FIGURES ? names[figure] : NULL;
}

/* JSON knows no NaN. Digits are cut here: a line is shorter by half. */
static json_t *number(double value, int digits)
{
	char text[40];

	if (!isfinite(value))
		return json_null();
	snprintf(text, sizeof text, "%.*g", digits, value);
	return json_real(strtod(text, NULL));
}

/* ---- from a simulation ---- */

/* The queue of a class; where there is one queue, it serves both. NULL: nothing went through it. */
static const struct aqm_queue_result *queue_of(const struct aqm_sim_result *r, const char *name)
{
	for (size_t i = 0; i < r->queue_count; i++)
		if ((r->queue_count == 1 || strcmp(r->queues[i].name, name) == 0) &&
		    r->queues[i].departed + r->queues[i].dropped)
			return &r->queues[i];
	return NULL;
}

/* Five figures of a queue, in the order L then C of each of the enum's pairs. */
static void fill_queue(const struct aqm_sim_result *r, size_t queue, double *figures)
{
	const struct aqm_queue_result *q = queue_of(r, queue ? "C" : "L");
	double *delays = figures + (queue ? AQM_FIGURE_C_MEAN : AQM_FIGURE_L_MEAN);

	if (!q)
		return;
	delays[0] = q->delay.mean;
	delays[1] = q->delay.p50;
	delays[2] = q->delay.p95;
	delays[3] = q->delay.p99;
	figures[queue ? AQM_FIGURE_C_MARK : AQM_FIGURE_L_MARK] = q->mark_probability;
	figures[queue ? AQM_FIGURE_C_DROP : AQM_FIGURE_L_DROP] = q->drop_probability;
}

/* Of all groups of short flows together: means and quantiles weighted by the flows that finished. */
static void fill_completion(const struct aqm_sim_result *r, double *figures)
{
	double sums[4] = {0}, flows = 0;

	for (size_t i = 0; i < r->web_count; i++) {
		const struct aqm_quantiles *q = &r->web[i].time;
		double n = (double)r->web[i].finished;

		if (n <= 0)
			continue;
		flows += n;
		sums[0] += n * q->mean;
		sums[1] += n * q->p50;
		sums[2] += n * q->p95;
		sums[3] += n * q->p99;
	}
	for (size_t i = 0; i < 4 && flows > 0; i++)
		figures[AQM_FIGURE_FCT_MEAN + i] = sums[i] / flows;
}

static void fill_figures(const struct aqm_sim_result *r, bool policy, double returned, double *figures)
{
	double goodput = 0;

	for (size_t i = 0; i < AQM_FIGURES; i++)
		figures[i] = (double)NAN;
	for (size_t i = 0; i < r->flow_count; i++)
		goodput += r->flows[i].goodput_mbps;
	figures[AQM_FIGURE_UTILISATION] = r->utilisation;
	figures[AQM_FIGURE_GOODPUT] = goodput;
	figures[AQM_FIGURE_RATIO] = r->rate_ratio;
	figures[AQM_FIGURE_JAIN] = r->jain;
	fill_queue(r, 0, figures);
	fill_queue(r, 1, figures);
	fill_completion(r, figures);
	if (!policy)
		return;
	figures[AQM_FIGURE_RETURN] = returned;
	figures[AQM_FIGURE_ASKED] = (double)r->asked;
	figures[AQM_FIGURE_DIFFERED] = (double)r->differed;
}

static json_t *cdf_json(const struct aqm_queue_result *q)
{
	json_t *list = q ? json_array() : json_null();

	for (size_t i = 0; q && i < AQM_CDF_POINTS; i++)
		json_array_append_new(list, number(q->cdf[i], CDF_DIGITS));
	return list;
}

/* At most AQM_SERIES_MAX points, each the mean of as many of the simulation's. */
static json_t *series_json(const struct aqm_sim_result *r)
{
	static const char *const keys[] = {"t", "delay_L_ms", "delay_C_ms", "rate_mbps", "probability"};
	size_t step = (r->point_count + AQM_SERIES_MAX - 1) / AQM_SERIES_MAX, l = r->queue_count > 1 ? 1 : 0;
	json_t *object = json_object();

	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
		json_t *list = json_array();

		for (size_t i = 0; step && i + step <= r->point_count; i += step) {
			double sum = 0;

			for (size_t j = i; j < i + step; j++) {
				const struct aqm_sim_point *p = &r->series[j];
				const double values[] = {p->time, p->delay[l], p->delay[0], p->rate, p->probability[0]};

				sum += values[k];
			}
			json_array_append_new(list, number(sum / (double)step, CDF_DIGITS));
		}
		json_object_set_new(object, keys[k], list);
	}
	return object;
}

static int dump(json_t *object, char **line)
{
	*line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS)) : NULL;
	json_decref(object);
	return *line ? AQM_OK : aqm_error_set(AQM_ERUN, "no memory for a line of results");
}

int aqm_closed_line(const struct aqm_closed_plan *plan, const char *key, size_t cell, size_t seed,
                    const struct aqm_arm *arm, const struct aqm_sim_result *result, double returned, bool series,
                    char **line)
{
	const struct aqm_closed_cell *c = &plan->cells[cell];
	double values[AQM_FIGURES];
	json_t *figures = json_object(), *utilities = json_object();
	const char *name;

	fill_figures(result, arm->kind == AQM_ARM_POLICY, returned, values);
	for (int i = 0; i < AQM_FIGURE_UTILITY; i++)
		json_object_set_new(figures, names[i], number(values[i], DIGITS));
	for (size_t i = 0; (name = aqm_utility_name(i, NULL)); i++)
		json_object_set_new(utilities, name, number(aqm_utility(i, result), DIGITS));
	json_t *object =
		json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:{s:o, s:o}}", "key", key, "kind",
	              "simulation", "version", AQM_VERSION, "program", plan->program, "command",
	              aqm_json_bytes(plan->options->command ? plan->options->command : ""), "cell", aqm_json_bytes(c->name),
	              "scenario", c->scenario.name, "seconds", number(result->seconds, DIGITS), "seed",
	              (json_int_t)plan->options->seeds[seed], "aqm", aqm_json_bytes(arm->label), "wall_s",
	              number(result->wall_s, 3), "figures", figures, "utilities", utilities, "cdf", "L",
	              cdf_json(queue_of(result, "L")), "C", cdf_json(queue_of(result, "C")));
	if (object && series)
		json_object_set_new(object, "series", series_json(result));
	return dump(object, line);
}

int aqm_closed_time_line(const struct aqm_decision_time *time, char **line)
{
	return dump(json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I}", "kind", "delay", "version", AQM_VERSION,
	                      "program", time->program, "policy", time->policy, "mean", number(time->mean, 6), "p50",
	                      number(time->p50, 6), "p99", number(time->p99, 6), "decisions", (json_int_t)time->decisions),
	            line);
}

/* ---- back ---- */

static bool read_cdf(const json_t *list, double *out)
{
	for (size_t i = 0; i < AQM_CDF_POINTS; i++) {
		const json_t *value = json_array_get(list, i);

		out[i] = json_is_number(value) ? json_number_value(value) : (double)NAN;
	}
	return json_is_null(list) || json_array_size(list) == AQM_CDF_POINTS;
}

static int read_series(const json_t *object, struct aqm_closed_run *run)
{
	static const char *const keys[] = {"t", "delay_L_ms", "delay_C_ms", "rate_mbps", "probability"};

	if (!object)
		return AQM_OK;
	run->points = json_array_size(json_object_get(object, "t"));
	if (run->points > AQM_SERIES_MAX)
		return aqm_error_set(AQM_EDATA, "a series of %zu points, expected at most %d", run->points, AQM_SERIES_MAX);
	for (size_t k = 0; k < 5 && run->points; k++) {
		const json_t *list = json_object_get(object, keys[k]);

		run->series[k] = aqm_malloc_array(run->points, sizeof(double));
		if (!run->series[k])
			return AQM_ERUN;
		for (size_t i = 0; i < run->points; i++) {
			const json_t *value = json_array_get(list, i);

			run->series[k][i] = json_is_number(value) ? json_number_value(value) : (double)NAN;
		}
	}
	return AQM_OK;
}

static void release_run(struct aqm_closed_run *run)
{
	free(run->cell);
	free(run->aqm);
	for (size_t k = 0; k < 5; k++)
		free(run->series[k]);
	*run = (struct aqm_closed_run){0};
}

static int read_simulation(const json_t *object, const char *utility, struct aqm_closed_run *run)
{
	const char *key = json_string_value(json_object_get(object, "key"));
	const char *cell = json_string_value(json_object_get(object, "cell"));
	const char *aqm = json_string_value(json_object_get(object, "aqm"));
	const char *program = json_string_value(json_object_get(object, "program"));
	const json_t *seed = json_object_get(object, "seed"), *figures = json_object_get(object, "figures"),
				 *cdf = json_object_get(object, "cdf");

	*run = (struct aqm_closed_run){0};
	if (!key || strlen(key) != AQM_CLOSED_KEY - 1 || !cell || !aqm || !json_is_integer(seed) ||
	    !json_is_object(figures))
		return aqm_error_set(AQM_EDATA, "no simulation: key, cell, seed, aqm and figures are expected");
	snprintf(run->key, sizeof run->key, "%s", key);
	snprintf(run->program, sizeof run->program, "%s", program ? program : "");
	run->seed = (uint64_t)json_integer_value(seed);
	for (int i = 0; i < AQM_FIGURE_UTILITY; i++)
		run->figures[i] = aqm_json_real(figures, names[i]);
	run->figures[AQM_FIGURE_UTILITY] = utility ? aqm_json_real(json_object_get(object, "utilities"), utility) : (double)NAN;
	bool whole = read_cdf(json_object_get(cdf, "L"), run->cdf[0]);
	if (!read_cdf(json_object_get(cdf, "C"), run->cdf[1]) || !whole)
		return aqm_error_set(AQM_EDATA, "a distribution wants %d numbers", AQM_CDF_POINTS);
	run->cell = aqm_strdup(cell);
	run->aqm = aqm_strdup(aqm);
	int code = run->cell && run->aqm ? read_series(json_object_get(object, "series"), run) : AQM_ERUN;
	if (code != AQM_OK)
		release_run(run);
	return code;
}

static int take_simulation(struct aqm_closed_results *results, const json_t *object, const char *utility)
{
	if (results->count == results->capacity) {
		size_t capacity = results->capacity ? 2 * results->capacity : 64;
		struct aqm_closed_run *grown = aqm_realloc_array(results->runs, capacity, sizeof *grown);

		if (!grown)
			return AQM_ERUN;
		results->runs = grown;
		results->capacity = capacity;
	}
	int code = read_simulation(object, utility, &results->runs[results->count]);
	results->count += code == AQM_OK;
	return code;
}

static int take_time(struct aqm_closed_results *results, const json_t *object)
{
	const char *policy = json_string_value(json_object_get(object, "policy"));
	const char *program = json_string_value(json_object_get(object, "program"));
	struct aqm_decision_time time = {.mean = aqm_json_real(object, "mean"),
	                                 .p50 = aqm_json_real(object, "p50"),
	                                 .p99 = aqm_json_real(object, "p99"),
	                                 .decisions = (uint64_t)json_integer_value(json_object_get(object, "decisions"))};

	if (!policy || strlen(policy) != 64 || !program || strlen(program) > 64 || !(time.mean > 0))
		return aqm_error_set(AQM_EDATA, "no measured delay: policy, program and mean are expected");
	snprintf(time.program, sizeof time.program, "%s", program);
	snprintf(time.policy, sizeof time.policy, "%s", policy);
	struct aqm_decision_time *grown = aqm_realloc_array(results->times, results->time_count + 1, sizeof *grown);
	if (!grown)
		return AQM_ERUN;
	results->times = grown;
	results->times[results->time_count++] = time;
	return AQM_OK;
}

/* Lines of a kind that a later version may write are passed over. */
static int take_line(struct aqm_closed_results *results, const char *line, size_t bytes, const char *utility)
{
	json_error_t fault;
	json_t *object = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &fault);
	const char *kind = json_string_value(json_object_get(object, "kind"));
	int code = AQM_OK;

	if (!json_is_object(object))
		code = aqm_error_set(AQM_EDATA, "no JSON object: %s", fault.text);
	else if (kind && strcmp(kind, "simulation") == 0)
		code = take_simulation(results, object, utility);
	else if (kind && strcmp(kind, "delay") == 0)
		code = take_time(results, object);
	json_decref(object);
	return code;
}

int aqm_closed_results_parse(struct aqm_closed_results *results, const char *name, const char *data, size_t bytes,
                             const char *utility, size_t *whole)
{
	size_t number_of_line = 0;
	int code = AQM_OK;

	*whole = 0;
	for (size_t at = 0; code == AQM_OK && at < bytes;) {
		const char *end = memchr(data + at, '\n', bytes - at);

		if (!end)
			break;
		number_of_line++;
		size_t length = (size_t)(end - data) - at;
		if (length && (code = take_line(results, data + at, length, utility)) != AQM_OK)
			aqm_error_context(code, "'%s', line %zu", name, number_of_line);
		at += length + 1;
		*whole = at;
	}
	return code;
}

static int read_lines(const char *path, const char *utility, struct aqm_closed_results *results, size_t *whole)
{
	char *data = NULL;
	size_t bytes = 0;
	int code = aqm_file_read(path, file_limit, &data, &bytes);

	*whole = 0;
	if (code == AQM_OK)
		code = aqm_closed_results_parse(results, path, data, bytes, utility, whole);
	free(data);
	return code;
}

void aqm_closed_results_release(struct aqm_closed_results *results)
{
	for (size_t i = 0; i < results->count; i++)
		release_run(&results->runs[i]);
	free(results->runs);
	free(results->times);
	*results = (struct aqm_closed_results){0};
}

int aqm_closed_loop_load(const char *folder, const char *utility, struct aqm_closed_results *results)
{
	char *path = aqm_path_join(folder, "results.jsonl");
	size_t whole;

	*results = (struct aqm_closed_results){0};
	int code = path ? read_lines(path, utility, results, &whole) : AQM_ERUN;
	if (code != AQM_OK)
		aqm_closed_results_release(results);
	free(path);
	return code;
}

/* ---- the file ---- */

int aqm_closed_file_open(struct aqm_closed_file *file, const char *folder, const char *utility,
                         struct aqm_closed_results *results)
{
	size_t whole = 0;
	int code = aqm_make_folders(folder);

	*results = (struct aqm_closed_results){0};
	*file = (struct aqm_closed_file){.path = code == AQM_OK ? aqm_path_join(folder, "results.jsonl") : NULL};
	if (!file->path)
		return code == AQM_OK ? AQM_ERUN : code;
	file->stream = fopen(file->path, "a");
	if (!file->stream)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", file->path);
	if (flock(fileno(file->stream), LOCK_EX | LOCK_NB) != 0)
		return aqm_error_set(AQM_EUSAGE, "'%s' is being written by another evaluation", file->path);
	code = read_lines(file->path, utility, results, &whole);
	if (code == AQM_OK && ftruncate(fileno(file->stream), (off_t)whole) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", file->path);
	return code;
}

int aqm_closed_file_append(struct aqm_closed_file *file, const char *line, const char *utility,
                           struct aqm_closed_results *results)
{
	if (fprintf(file->stream, "%s\n", line) < 0 || fflush(file->stream) != 0)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", file->path);
	return take_line(results, line, strlen(line), utility);
}

void aqm_closed_file_close(struct aqm_closed_file *file)
{
	if (file->stream) {
		fsync(fileno(file->stream));
		fclose(file->stream);
	}
	free(file->path);
	*file = (struct aqm_closed_file){0};
}
