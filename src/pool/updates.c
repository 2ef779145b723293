/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Packets into update intervals.
 *
 *   packets of an episode     q0 q0 q1 q0 q1 q1 q0 ...     (queue, and drop_prob in force)
 *   sorted by queue           q0 q0 q0 q0 ... | q1 q1 q1 ...
 *   intervals                 [--][--][--]...   [----][-]...    a change of drop_prob or burst_allowance starts one
 *   rows                      each interval but a queue's last, whose p' has no successor
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/size.h"
#include "pool/store.h"

/* Below this probability nothing is dropped between two updates at any rate that such links have. */
static const double floor_probability = 1e-6, one = 0x1p31;

double aqm_update_level(double drop_prob)
{
	return log(fmax(drop_prob / one, floor_probability));
}

double aqm_update_probability(double level)
{
	double p = exp(level);

	return p <= floor_probability * (1 + 1e-6) ? 0 : fmin(p, 1);
}

/* ---- where intervals begin and end ---- */

struct interval {
	size_t first, count; /* in `order` */
	double next;         /* drop_prob of the interval after it */
};

struct updates {
	const aqm_pool *packets;
	size_t rows;
	size_t *order; /* rows by episode, then queue, then time */
	struct interval *intervals;
	size_t count;
	size_t *episode_starts, *episode_of; /* (episodes): first interval; episode of the packets */
	size_t episodes;
	double *column;  /* (rows): the column at hand */
	double *results; /* (columns of the result, count) */
	const char *names[AQM_COLUMNS_MAX];
	size_t columns;
};

static int read_if_there(const aqm_pool *pool, const char *name, size_t rows, double **out)
{
	*out = aqm_calloc_array(rows, sizeof **out);
	if (!*out)
		return AQM_ERUN;
	return aqm_pool_has(pool, name) ? aqm_pool_column(pool, name, *out) : AQM_OK;
}

/* queue_type is a byte, whatever a foreign pool keeps in its column. */
static size_t queue_of(double value)
{
	return value >= 0 && value < 255 ? (size_t)value : 255;
}

/* Stable counting by queue inside each episode. */
static void sort_by_queue(struct updates *u, const double *queue)
{
	for (size_t e = 0; e < u->packets->episode_count; e++) {
		size_t start = (size_t)u->packets->episodes[e].start, n = (size_t)u->packets->episodes[e].length;
		size_t places[257] = {0};

		for (size_t i = start; i < start + n; i++)
			places[1 + queue_of(queue[i])]++;
		for (size_t q = 0; q < 256; q++)
			places[q + 1] += places[q];
		for (size_t i = start; i < start + n; i++)
			u->order[start + places[queue_of(queue[i])]++] = i;
	}
}

/* Intervals of one queue of one episode: order[first .. end). */
static void cut_stream(struct updates *u, size_t episode, size_t first, size_t end, const double *drop_prob, const double *burst)
{
	size_t begun = u->count, at = first;

	for (size_t i = first + 1; i < end; i++) {
		size_t row = u->order[i], before = u->order[i - 1];

		if (drop_prob[row] == drop_prob[before] && burst[row] == burst[before])
			continue;
		u->intervals[u->count++] = (struct interval){at, i - at, drop_prob[row]};
		at = i;
	}
	if (u->count == begun)
		return;
	u->episode_of[u->episodes] = episode;
	u->episode_starts[u->episodes++] = begun;
}

static int find_intervals(struct updates *u)
{
	double *queue = NULL, *drop_prob = NULL, *burst = NULL;
	int code = AQM_OK;

	if (!aqm_pool_has(u->packets, "drop_prob"))
		return aqm_error_set(AQM_EDATA, "'%s' has no drop_prob, from whose changes update intervals are told",
		                     u->packets->path);
	if (!aqm_pool_has(u->packets, "queue_type"))
		aqm_log_warning("'%s' has no queue_type: its rows are taken for those of one queue", u->packets->path);
	if ((code = read_if_there(u->packets, "queue_type", u->rows, &queue)) != AQM_OK ||
	    (code = read_if_there(u->packets, "drop_prob", u->rows, &drop_prob)) != AQM_OK ||
	    (code = read_if_there(u->packets, "burst_allowance", u->rows, &burst)) != AQM_OK)
		goto done;
	sort_by_queue(u, queue);
	for (size_t e = 0; e < u->packets->episode_count; e++) {
		size_t first = (size_t)u->packets->episodes[e].start, end = first + (size_t)u->packets->episodes[e].length;

		for (size_t i = first + 1; i <= end; i++)
			if (i == end || queue_of(queue[u->order[i]]) != queue_of(queue[u->order[first]])) {
				cut_stream(u, e, first, i, drop_prob, burst);
				first = i;
			}
	}
	if (u->count == 0)
		code = aqm_error_set(AQM_EDATA, "'%s' has no update interval: drop_prob never changes inside an episode",
		                     u->packets->path);
done:
	free(queue);
	free(drop_prob);
	free(burst);
	return code;
}

/* ---- columns ---- */

typedef double summary(const double *column, const size_t *rows, size_t n);

static double first_of(const double *column, const size_t *rows, size_t n)
{
	(void)n;
	return column[rows[0]];
}

static double last_of(const double *column, const size_t *rows, size_t n)
{
	return column[rows[n - 1]];
}

static double sum_of(const double *column, const size_t *rows, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += column[rows[i]];
	return sum;
}

static double mean_of(const double *column, const size_t *rows, size_t n)
{
	return sum_of(column, rows, n) / (double)n;
}

static double peak_of(const double *column, const size_t *rows, size_t n)
{
	double peak = column[rows[0]];

	for (size_t i = 1; i < n; i++)
		peak = fmax(peak, column[rows[i]]);
	return peak;
}

static double drops_of(const double *column, const size_t *rows, size_t n)
{
	double count = 0;

	for (size_t i = 0; i < n; i++)
		count += column[rows[i]] == AQM_DROP;
	return count;
}

static double marks_of(const double *column, const size_t *rows, size_t n)
{
	double count = 0;

	for (size_t i = 0; i < n; i++)
		count += column[rows[i]] == AQM_MARK;
	return count;
}

/* Columns that are not averaged. */
static const struct {
	const char *name;
	summary *of;
} kept_columns[] = {
	{"time", first_of},         {"queue_type", first_of},      {"qdelay_ref", first_of}, {"tupdate", first_of},
	{"max_burst", first_of},    {"max_ecnth", first_of},       {"alpha", first_of},      {"beta", first_of},
	{"flags", first_of},        {"burst_allowance", first_of}, {"drop_prob", first_of},  {"measurement_start", first_of},
	{"sflags", first_of},       {"accu_prob", last_of},        {"tot_pkts", last_of},    {"tot_bytes", last_of},
	{"drops", last_of},
};

/* Columns that are made. */
static const struct {
	const char *name, *from;
	summary *of;
} made_columns[] = {
	{"arrived_bytes", "pkt_len", sum_of},        {"dropped", "action", drops_of},
	{"marked", "action", marks_of},              {"qdelay_end", "current_qdelay", last_of},
	{"qdelay_peak", "current_qdelay", peak_of},
};

static summary *summary_of(const char *name)
{
	for (size_t i = 0; i < sizeof kept_columns / sizeof *kept_columns; i++)
		if (strcmp(kept_columns[i].name, name) == 0)
			return kept_columns[i].of;
	return mean_of;
}

static double *next_column(struct updates *u, const char *name)
{
	u->names[u->columns] = name;
	return u->results + u->columns++ * u->count;
}

static int add_column(struct updates *u, const char *name, const char *from, summary *of)
{
	double *out = next_column(u, name);
	int code = aqm_pool_column(u->packets, from, u->column);

	for (size_t i = 0; code == AQM_OK && i < u->count; i++)
		out[i] = of(u->column, u->order + u->intervals[i].first, u->intervals[i].count);
	return code;
}

static int fill_columns(struct updates *u)
{
	const size_t made = sizeof made_columns / sizeof *made_columns;
	size_t most = u->packets->column_count + made + 2, cells;
	int code = AQM_OK;

	if (most > AQM_COLUMNS_MAX)
		return aqm_error_set(AQM_EDATA, "'%s' has too many columns for update intervals", u->packets->path);
	if (aqm_size_mul_overflows(most, u->count, &cells) || !(u->results = aqm_malloc_array(cells, sizeof *u->results)))
		return AQM_ERUN;
	for (size_t c = 0; code == AQM_OK && c < u->packets->column_count; c++) {
		const char *name = u->packets->columns[c].name;

		if (strcmp(name, "action") != 0 && strcmp(name, "action_logged") != 0)
			code = add_column(u, name, name, summary_of(name));
	}
	for (size_t c = 0; code == AQM_OK && c < made; c++)
		if (aqm_pool_has(u->packets, made_columns[c].from))
			code = add_column(u, made_columns[c].name, made_columns[c].from, made_columns[c].of);
	double *packets = next_column(u, "packets"), *next = next_column(u, "next_drop_prob");
	for (size_t i = 0; i < u->count; i++) {
		packets[i] = (double)u->intervals[i].count;
		next[i] = u->intervals[i].next;
	}
	return code;
}

/* ---- the pool ---- */

static int make_pool(const struct updates *u, aqm_pool **out)
{
	const double *columns[AQM_COLUMNS_MAX];
	char part[160];

	for (size_t c = 0; c < u->columns; c++)
		columns[c] = u->results + c * u->count;
	int code = aqm_pool_from_columns(out, u->count, u->columns, u->names, columns, NULL, NULL, u->episodes,
	                                 u->episode_starts);
	if (code != AQM_OK)
		return code;
	char *path = aqm_strdup(u->packets->path);
	if (path) {
		free((*out)->path);
		(*out)->path = path;
	}
	memcpy((*out)->packets_digest, u->packets->digest, sizeof (*out)->packets_digest);
	memcpy((*out)->packets_part, u->packets->provenance.part, sizeof (*out)->packets_part);
	snprintf(part, sizeof part, "update intervals of %s", u->packets->digest);
	code = path ? aqm_provenance_copy(&(*out)->provenance, &u->packets->provenance, part) : AQM_ERUN;
	if (code == AQM_OK)
		code = aqm_pool_copy_behaviours(*out, u->packets, u->episode_of);
	if (code != AQM_OK) {
		aqm_pool_free(*out);
		*out = NULL;
	}
	return code;
}

int aqm_pool_updates(aqm_pool **out, const aqm_pool *packets)
{
	struct updates u = {.packets = packets, .rows = (size_t)packets->rows};
	int code;

	*out = NULL;
	if (aqm_pool_has_updates(packets))
		return aqm_error_set(AQM_EDATA, "the rows of '%s' are update intervals already", packets->path);
	u.order = aqm_malloc_array(u.rows, sizeof *u.order);
	u.intervals = aqm_malloc_array(u.rows, sizeof *u.intervals);
	u.episode_starts = aqm_malloc_array(u.rows, sizeof *u.episode_starts);
	u.episode_of = aqm_malloc_array(u.rows, sizeof *u.episode_of);
	u.column = aqm_malloc_array(u.rows, sizeof *u.column);
	code = u.order && u.intervals && u.episode_starts && u.episode_of && u.column ? find_intervals(&u) : AQM_ERUN;
	if (code == AQM_OK)
		code = fill_columns(&u);
	if (code == AQM_OK)
		code = make_pool(&u, out);
	free(u.order);
	free(u.intervals);
	free(u.episode_starts);
	free(u.episode_of);
	free(u.column);
	free(u.results);
	return code;
}

bool aqm_pool_has_updates(const aqm_pool *pool)
{
	return aqm_pool_has(pool, "next_drop_prob");
}

int aqm_pool_open_for(aqm_pool **out, const char *path, enum aqm_control control)
{
	aqm_pool *packets = NULL;
	int code = aqm_pool_open(out, path);

	if (code != AQM_OK || aqm_pool_has_updates(*out) == (control == AQM_CONTROL_UPDATE))
		return code;
	packets = *out;
	*out = NULL;
	if (control == AQM_CONTROL_UPDATE)
		code = aqm_pool_updates(out, packets);
	else
		code = aqm_error_set(AQM_EDATA, "the rows of '%s' are update intervals; control: packet needs one of packets",
		                     path);
	aqm_pool_free(packets);
	return code;
}
