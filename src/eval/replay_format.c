/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The paper's replay, for people and for programs.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/eval.h"
#include "train/journal.h"

static const struct {
	const char *key, *label;
} whose[] = {
	[AQM_REPLAY_ORIGINAL] = {"logged", "as logged"},
	[AQM_REPLAY_POLICY] = {"policy", "the policy"},
	[AQM_REPLAY_LOGGED] = {"no_policy", "no policy: logged actions"},
	[AQM_REPLAY_ENQUEUE] = {"enqueue", "no policy: always enqueue"},
};

/* The formula's 1034 put right. */
static const double typo = 1034.0 / 1024.0;

static double share_of(size_t part, size_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

/* Of all steps but the first. */
static double repeated_share(const struct aqm_replay_walk *w)
{
	return w->steps > 1 ? share_of(w->repeated, w->steps - 1) : 0;
}

/* Of rows that say what an earlier one said. */
static double seen_share(const struct aqm_replay_walk *w)
{
	return share_of(w->steps - w->distinct, w->steps);
}

/* ---- JSON ---- */

static json_t *number(double value)
{
	char text[40];

	if (!isfinite(value))
		return json_null();
	snprintf(text, sizeof text, "%.6g", value);
	return json_real(strtod(text, NULL));
}

static json_t *quantiles_json(const struct aqm_replay_quantiles *q, double scale)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "min", number(scale * q->min), "p25",
	                 number(scale * q->p25), "median", number(scale * q->median), "p75", number(scale * q->p75), "p90",
	                 number(scale * q->p90), "p95", number(scale * q->p95), "p99", number(scale * q->p99), "max",
	                 number(scale * q->max), "mean", number(scale * q->mean));
}

static json_t *list_json(const double *values, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, number(values[i]));
	return list;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The share of rows with at most that delay, a point a value that occurs. */
static json_t *cdf_json(const struct aqm_replay_walk *w)
{
	json_t *list = json_array();
	double *sorted = w->steps ? malloc(w->steps * sizeof *sorted) : NULL;

	if (sorted) {
		memcpy(sorted, w->delay_ms, w->steps * sizeof *sorted);
		qsort(sorted, w->steps, sizeof *sorted, compare);
	}
	for (size_t i = 0; sorted && i < w->steps; i++)
		if (i + 1 == w->steps || sorted[i + 1] > sorted[i])
			json_array_append_new(list, json_pack("[o, o]", number(sorted[i]), number(share_of(i + 1, w->steps))));
	free(sorted);
	return list;
}

static json_t *walk_json(const struct aqm_replay_walk *w)
{
	return json_pack("{s:I, s:I, s:o, s:o, s:I, s:I, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:o}", "steps",
	                 (json_int_t)w->steps, "stuck", (json_int_t)w->stuck, "repeated_share", number(repeated_share(w)),
	                 "seen_before_share", number(seen_share(w)), "distinct", (json_int_t)w->distinct, "period",
	                 (json_int_t)w->period, "period_share", number(w->period_share), "quantiles",
	                 quantiles_json(&w->delay, 1), "bandwidth", "authors", quantiles_json(&w->bandwidth, 1),
	                 "corrected", quantiles_json(&w->bandwidth, typo), "delay_ms", list_json(w->delay_ms, w->steps),
	                 "throughput", list_json(w->throughput, w->steps), "cdf", cdf_json(w));
}

static json_t *result_json(const struct aqm_replay_result *r, const struct aqm_replay_options *o, const char *command)
{
	const struct aqm_replay_walk *policy = &r->walks[AQM_REPLAY_POLICY];
	json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:{s:o, s:s}, s:I, s:I, s:o, s:I, s:I, s:o, s:o}", "kind", "replay",
	                         "version", AQM_VERSION, "command", aqm_json_bytes(command ? command : ""), "policy_path",
	                         aqm_json_bytes(o->policy_path), "pool", "path", aqm_json_bytes(o->pool_path), "sha256",
	                         r->pool_digest, "interval", (json_int_t)r->interval, "rows", (json_int_t)r->rows,
	                         "repeated_share", number(repeated_share(policy)), "distinct", (json_int_t)policy->distinct,
	                         "period", (json_int_t)policy->period, "period_share", number(policy->period_share),
	                         "true_mbps", number(r->true_mbps));

	for (size_t i = 0; root && i < AQM_REPLAY_WALKS; i++)
		json_object_set_new(root, whose[i].key, walk_json(&r->walks[i]));
	return root;
}

/* ---- text ---- */

static void print(const struct aqm_replay_result *r, FILE *out)
{
	const struct aqm_replay_walk *policy = &r->walks[AQM_REPLAY_POLICY];

	fprintf(out,
	        "The paper's replay, an action that counts every %lld rows, over %zu rows. No queue reacts to it: see what "
	        "repeats.\n\n",
	        (long long)r->interval, r->rows);
	fprintf(out, "%-26s %6s %7s %9s %9s %9s %7s %8s %8s %8s %8s %8s\n", "", "rows", "stuck", "repeat %", "again %",
	        "distinct", "period", "median", "mean ms", "P99 ms", "\"Mb/s\"", "by 1024");
	for (size_t i = 0; i < AQM_REPLAY_WALKS; i++) {
		const struct aqm_replay_walk *w = &r->walks[i];

		fprintf(out, "%-26s %6zu %7zu %9.2f %9.2f %9zu ", whose[i].label, w->steps, w->stuck, 100 * repeated_share(w),
		        100 * seen_share(w), w->distinct);
		if (w->period_share >= 0.5)
			fprintf(out, "%7zu", w->period);
		else
			fprintf(out, "%7s", "-");
		fprintf(out, " %8.4g %8.4g %8.4g %8.3f %8.3f\n", w->delay.median, w->delay.mean, w->delay.p99,
		        w->bandwidth.median, w->bandwidth.median * typo);
	}
	fprintf(out,
	        "\nrepeat: rows that say the same as the one before; again: as any before; period: by which most of the "
	        "second half repeats (of the policy's, %.1f %%)\nmedian: of the queue's delay, ms; \"Mb/s\": the authors' "
	        "formula, pkt_len * 8 / (1024 * 1034) / "
	        "(delay + 10 ms), median; by 1024: its typo put right; neither is a rate\n",
	        100 * policy->period_share);
	if (isfinite(r->true_mbps))
		fprintf(out, "what the logged rows carried, by their clock: %.3f Mb/s\n", r->true_mbps);
}

int aqm_replay_format(const struct aqm_replay_result *result, const struct aqm_replay_options *options,
                      const char *command, bool json, char **text)
{
	size_t bytes;
	bool good = true;

	*text = NULL;
	FILE *out = open_memstream(text, &bytes);
	if (!out)
		return aqm_error_errno(AQM_ERUN, "cannot format the replay");
	if (json) {
		json_t *root = result_json(result, options, command);

		good = root && json_dumpf(root, out, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0 && fputc('\n', out) != EOF;
		json_decref(root);
	} else {
		print(result, out);
	}
	good = fclose(out) == 0 && good;
	if (good)
		return AQM_OK;
	free(*text);
	*text = NULL;
	return aqm_error_set(AQM_ERUN, "no memory to format the replay");
}
