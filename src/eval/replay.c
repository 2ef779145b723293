/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The paper's replay of a pool, as its authors ran it (llm_framework/plm_special/test_seq.py), so that old results can
 * be compared. It is no closed loop, nor a simulation: it walks over the rows of the pool.
 *
 *   row = 0
 *   step i = 0, 1, ...:
 *     the policy sees this row alone: no row before it, and the row's own reward in the place of the return
 *     candidates: rows of the same queue whose logged action is the policy's
 *     none: stay on the row, and note nothing (their `continue`): from then on it stays there for ever
 *     length = bytes in the queue, plus the packet's unless it is dropped
 *     note the row
 *     i divisible by the interval: go to the first candidate with the nearest length; else to the next row
 *
 * So what is asked has an effect once an interval only, and a walk that comes back to a row goes round for ever: no
 * queue, no sender and no time is in it. The figures of the flaw: shares of rows that repeat, distinct rows, period.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/thread.h"
#include "aqmtrain/eval.h"
#include "policy/internal.h"

enum { UNKNOWN = AQM_ACTIONS };

struct replay {
	const struct aqm_config *config;
	aqm_policy *policy;
	size_t rows, features;
	double *columns;                        /* owned: (features, rows) */
	double *queue, *bytes, *packet, *delay; /* owned; us */
	uint8_t *logged;                        /* owned: actions */
	uint8_t *decided;                       /* owned: the policy's, UNKNOWN where it was not asked yet */
	size_t *alike;                          /* owned: the first row with the same contents */
};

/* ---- the pool ---- */

/* A column, or the same number everywhere where the pool has none. */
static int read_column(const aqm_pool *pool, const char *name, double otherwise, double **out)
{
	size_t rows = aqm_pool_rows(pool);

	*out = aqm_malloc_array(rows, sizeof **out);
	if (!*out)
		return AQM_ERUN;
	if (aqm_pool_has(pool, name))
		return aqm_pool_column(pool, name, *out);
	for (size_t i = 0; i < rows; i++)
		(*out)[i] = otherwise;
	return AQM_OK;
}

static bool same(const struct replay *r, size_t a, size_t b)
{
	if (r->logged[a] != r->logged[b] || r->queue[a] != r->queue[b] || r->bytes[a] != r->bytes[b] ||
	    r->packet[a] != r->packet[b] || r->delay[a] != r->delay[b])
		return false;
	for (size_t f = 0; f < r->features; f++)
		if (r->columns[f * r->rows + a] != r->columns[f * r->rows + b])
			return false;
	return true;
}

static uint64_t hash_row(const struct replay *r, size_t row)
{
	uint64_t hash = r->logged[row];

	for (size_t f = 0; f < r->features; f++) {
		uint64_t bits;

		memcpy(&bits, &r->columns[f * r->rows + row], sizeof bits);
		hash = (hash ^ bits) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return hash;
}

/* Rows that say the same count as one. */
static int find_alike(struct replay *r)
{
	size_t slots = 1;

	while (slots < 2 * r->rows)
		slots *= 2;
	size_t *table = aqm_malloc_array(slots, sizeof *table);
	r->alike = aqm_malloc_array(r->rows, sizeof *r->alike);
	if (!table || !r->alike) {
		free(table);
		return AQM_ERUN;
	}
	for (size_t i = 0; i < slots; i++)
		table[i] = SIZE_MAX;
	for (size_t i = 0; i < r->rows; i++) {
		size_t slot = hash_row(r, i) & (slots - 1);

		while (table[slot] != SIZE_MAX && !same(r, table[slot], i))
			slot = (slot + 1) & (slots - 1);
		if (table[slot] == SIZE_MAX)
			table[slot] = i;
		r->alike[i] = table[slot];
	}
	free(table);
	return AQM_OK;
}

static int open_replay(struct replay *r, const aqm_pool *pool)
{
	r->config = aqm_policy_config(r->policy);
	r->rows = aqm_pool_rows(pool);
	if (!aqm_pool_has(pool, "len_bytes"))
		return aqm_error_set(AQM_EDATA, "'%s' has no len_bytes, by which the replay finds its next row",
		                     aqm_pool_path(pool));
	r->features = r->config->policy.features.count;
	r->logged = aqm_malloc_array(r->rows, sizeof *r->logged);
	r->decided = aqm_malloc_array(r->rows, sizeof *r->decided);
	int code = r->logged && r->decided ? aqm_pool_actions(pool, r->config->pool.labels, r->logged) : AQM_ERUN;
	if (code == AQM_OK)
		memset(r->decided, UNKNOWN, r->rows);
	if (code == AQM_OK)
		r->columns = aqm_policy_columns(r->config, pool, &code);
	if (code == AQM_OK)
		code = read_column(pool, "queue_type", 0, &r->queue);
	if (code == AQM_OK)
		code = read_column(pool, "len_bytes", 0, &r->bytes);
	if (code == AQM_OK)
		code = read_column(pool, "pkt_len", 1500, &r->packet);
	if (code == AQM_OK)
		code = read_column(pool, "current_qdelay", 0, &r->delay);
	return code == AQM_OK ? find_alike(r) : code;
}

static void close_replay(struct replay *r)
{
	free(r->columns);
	free(r->queue);
	free(r->bytes);
	free(r->packet);
	free(r->delay);
	free(r->logged);
	free(r->decided);
	free(r->alike);
}

/* ---- who decides ---- */

/* On this row alone, so the answer is always the same. */
static int ask_policy(struct replay *r, size_t row, uint8_t *action)
{
	double features[AQM_FEATURES_MAX];
	enum aqm_action answer = AQM_ENQUEUE;
	aqm_decider *decider;
	size_t first = r->alike[row];

	if (r->decided[first] == UNKNOWN) {
		double reward = aqm_pool_reward(r->config, r->packet[row], r->delay[row]);
		int code = aqm_decider_new(&decider, r->policy, aqm_policy_scale_reward(r->policy, reward));

		for (size_t f = 0; f < r->features; f++)
			features[f] = r->columns[f * r->rows + row];
		if (code == AQM_OK)
			code = aqm_decider_decide(decider, features, &answer, NULL);
		aqm_decider_free(decider);
		if (code != AQM_OK)
			return code;
		r->decided[first] = (uint8_t)answer;
	}
	*action = r->decided[first];
	return AQM_OK;
}

/* ---- the walk ---- */

/* The first row of a queue with an action whose length is nearest. SIZE_MAX: there is none. */
static size_t nearest(const struct replay *r, double queue, uint8_t action, double length)
{
	size_t best = SIZE_MAX;
	double least = INFINITY;

	for (size_t i = 0; i < r->rows; i++)
		if (r->logged[i] == action && r->queue[i] == queue && fabs(r->bytes[i] - length) < least) {
			least = fabs(r->bytes[i] - length);
			best = i;
		}
	return best;
}

/* The rows that are noted, in order, into walk[steps]. */
static int walk(struct replay *r, enum aqm_replay_who who, size_t steps, int64_t interval, size_t *rows,
                struct aqm_replay_walk *walk)
{
	size_t row = 0;

	walk->steps = walk->stuck = 0;
	for (size_t i = 0; i < steps; i++) {
		uint8_t action = who == AQM_REPLAY_LOGGED ? r->logged[row] : (uint8_t)AQM_ENQUEUE;

		if (aqm_interrupted())
			return aqm_error_set(AQM_EINTERRUPTED, "interrupted after %zu of %zu steps", i, steps);
		if (who == AQM_REPLAY_POLICY) {
			int code = ask_policy(r, row, &action);

			if (code != AQM_OK)
				return code;
		}
		double length = r->bytes[row] + (action == AQM_DROP ? 0 : r->packet[row]);
		size_t next = nearest(r, r->queue[row], action, length);
		if (next == SIZE_MAX) { /* it sticks: the row, and so the answer, stays what it is */
			walk->stuck = steps - i;
			break;
		}
		rows[walk->steps++] = row;
		row = i % (size_t)interval == 0 ? next : row + 1;
		if (row == r->rows) /* behind the end; theirs would stop with an error */
			break;
	}
	return AQM_OK;
}

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Linear between neighbours, as numpy and pandas have it. */
static double quantile(const double *sorted, size_t count, double share)
{
	double place = share * (double)(count - 1);
	size_t below = (size_t)place, above = below + 1 < count ? below + 1 : below;

	return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static struct aqm_replay_quantiles quantiles(double *values, size_t count)
{
	struct aqm_replay_quantiles q = {0};

	if (count == 0)
		return q;
	qsort(values, count, sizeof *values, compare);
	for (size_t i = 0; i < count; i++)
		q.mean += values[i] / (double)count;
	q.min = values[0];
	q.p25 = quantile(values, count, 0.25);
	q.median = quantile(values, count, 0.5);
	q.p75 = quantile(values, count, 0.75);
	q.p90 = quantile(values, count, 0.9);
	q.p95 = quantile(values, count, 0.95);
	q.p99 = quantile(values, count, 0.99);
	q.max = values[count - 1];
	return q;
}

/* The period by which most of the later half repeats, the shortest of equal ones. */
static void find_period(const size_t *contents, size_t count, struct aqm_replay_walk *w)
{
	size_t from = count / 2, best = 0;

	for (size_t period = 1; from && period <= from && period <= 1000; period++) {
		size_t equal = 0;

		for (size_t i = from; i < count; i++)
			equal += contents[i] == contents[i - period];
		if (equal > best) {
			best = equal;
			w->period = period;
		}
	}
	w->period_share = from ? (double)best / (double)(count - from) : 0;
}

static int compare_places(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return (x > y) - (x < y);
}

static int measure(const struct replay *r, const size_t *rows, struct aqm_replay_walk *w)
{
	size_t n = w->steps, *contents = aqm_malloc_array(n + 1, sizeof *contents);
	double *sorted = aqm_malloc_array(n + 1, sizeof *sorted);
	int code = contents && sorted ? AQM_OK : AQM_ERUN;

	w->delay_ms = aqm_malloc_array(n + 1, sizeof *w->delay_ms);
	w->throughput = aqm_malloc_array(n + 1, sizeof *w->throughput);
	if (!w->delay_ms || !w->throughput)
		code = AQM_ERUN;
	for (size_t i = 0; code == AQM_OK && i < n; i++) {
		contents[i] = r->alike[rows[i]];
		w->delay_ms[i] = r->delay[rows[i]] / 1e3;
		/* dataframe_utils.py, 1034 for 1024: bits of the packet over the queue's delay and 10 ms. */
		w->throughput[i] = r->packet[rows[i]] * 8 / (1024 * 1034) / (r->delay[rows[i]] / 1e6 + 0.01);
		if (i && contents[i] == contents[i - 1])
			w->repeated++;
	}
	if (code == AQM_OK) {
		find_period(contents, n, w);
		memcpy(sorted, w->delay_ms, n * sizeof *sorted);
		w->delay = quantiles(sorted, n);
		memcpy(sorted, w->throughput, n * sizeof *sorted);
		w->bandwidth = quantiles(sorted, n);
		qsort(contents, n, sizeof *contents, compare_places);
		for (size_t i = 0; i < n; i++)
			w->distinct += i == 0 || contents[i] != contents[i - 1];
	}
	free(contents);
	free(sorted);
	return code;
}

/* What really went through, by the log's clock: NAN where it has none. */
static int true_rate(const struct replay *r, const aqm_pool *pool, size_t rows, double *mbps)
{
	double *time = NULL, bytes = 0;
	int code = aqm_pool_has(pool, "time") ? read_column(pool, "time", 0, &time) : AQM_OK;

	*mbps = (double)NAN;
	for (size_t i = 0; time && i < rows; i++)
		bytes += r->logged[i] == AQM_DROP ? 0 : r->packet[i];
	if (code == AQM_OK && time && rows && time[rows - 1] > time[0])
		*mbps = bytes * 8e-6 / (time[rows - 1] - time[0]);
	free(time);
	return code;
}

int aqm_replay(const struct aqm_replay_options *options, struct aqm_replay_result *result)
{
	struct replay r = {0};
	aqm_pool *pool = NULL;
	size_t steps = options->steps ? options->steps : AQM_REPLAY_STEPS;
	size_t *rows = aqm_malloc_array(steps, sizeof *rows);
	int code = rows ? AQM_OK : AQM_ERUN;

	*result = (struct aqm_replay_result){.interval = options->interval};
	if (code == AQM_OK)
		code = aqm_policy_load(&r.policy, options->policy_path, options->base_path, options->device);
	if (code == AQM_OK && aqm_policy_config(r.policy)->control != AQM_CONTROL_PACKET)
		code = aqm_error_set(AQM_EUSAGE, "the paper's replay is for policies that decide on packets (control: packet)");
	if (code == AQM_OK)
		code = aqm_pool_open_for(&pool, options->pool_path, AQM_CONTROL_PACKET);
	if (code == AQM_OK)
		code = open_replay(&r, pool);
	if (code == AQM_OK) {
		struct aqm_replay_walk *original = &result->walks[AQM_REPLAY_ORIGINAL];

		snprintf(result->pool_digest, sizeof result->pool_digest, "%s", aqm_pool_digest(pool));
		result->rows = r.rows;
		original->steps = steps < r.rows ? steps : r.rows;
		for (size_t i = 0; i < original->steps; i++)
			rows[i] = i;
		code = measure(&r, rows, original);
		if (code == AQM_OK)
			code = true_rate(&r, pool, original->steps, &result->true_mbps);
	}
	for (int who = AQM_REPLAY_POLICY; code == AQM_OK && who < AQM_REPLAY_WALKS; who++) {
		code = walk(&r, (enum aqm_replay_who)who, steps, options->interval, rows, &result->walks[who]);
		if (code == AQM_OK)
			code = measure(&r, rows, &result->walks[who]);
	}
	if (code != AQM_OK)
		aqm_replay_release(result);
	close_replay(&r);
	aqm_pool_free(pool);
	aqm_policy_free(r.policy);
	free(rows);
	return code;
}

void aqm_replay_release(struct aqm_replay_result *result)
{
	for (size_t i = 0; i < AQM_REPLAY_WALKS; i++) {
		free(result->walks[i].delay_ms);
		free(result->walks[i].throughput);
		result->walks[i] = (struct aqm_replay_walk){0};
	}
}
