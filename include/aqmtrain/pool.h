/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Experience pools: records of queue decisions, parsed out of kernel logs or imported from CSV, kept in HDF5.
 *
 *   kernel logs --aqm_pool_parse--> POOL.h5 --aqm_pool_open--> columns --returns, normaliser, sampler--> training windows
 *   CSV ---------aqm_pool_import--^
 */
#ifndef AQMTRAIN_POOL_H
#define AQMTRAIN_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "aqmtrain/config.h"
#include "aqmtrain/error.h"

/* "enqueue", "drop", "mark" */
extern const char *const aqm_action_names[AQM_ACTIONS];

/* One row a field of a kernel-log record, in the order of the log line (24 fields, as dn_sched_l4s.c prints them). */
struct aqm_field {
	const char *name;        /* "current_qdelay" */
	const char *unit;        /* "us" */
	const char *description;
	int bits;                /* 8, 32 or 64, as stored */
	bool is_signed;
};
const struct aqm_field *aqm_fields(size_t *count);
/* NULL when there is no such field. */
const struct aqm_field *aqm_field_find(const char *name);

/* ---- making pools ---- */

struct aqm_parse_options {
	double gap_seconds;      /* a pause in the log's clock longer than this starts an episode; 0 = default */
	int compression;         /* gzip level 0-9 of the HDF5 columns; -1 = default */
	int threads;             /* 0 = all */
};
void aqm_parse_options_init(struct aqm_parse_options *options);

/* Parse logs into a pool. Each path is a file (plain, .gz, .bz2, told by content), a folder, or "-" (stdin). Rotated sets
 * are put in time order. Streams: memory does not grow with the log. Writes POOL atomically; Ctrl-C gives AQM_EINTERRUPTED
 * and leaves no file. AQM_EDATA when no record is found. Here and below AQM_EUSAGE where what is written would be what is read. */
int aqm_pool_parse(const char *const *paths, size_t count, const char *pool_path, const struct aqm_parse_options *options);

/* Columns by field name, plus `action` and/or `action_logged` (0, 1, 2); .gz told by content. */
int aqm_pool_import(const char *csv_path, const char *pool_path);
int aqm_pool_export(const char *pool_path, const char *csv_path);
/* What trains and what is held out; rows are never shuffled.
 * ORDER: the first `fraction` of the rows trains, cut at the start of an episode where one is near enough, else inside one.
 * EPISODES: of whole episodes, held-out ones spread evenly over the pool. AQM_EDATA where that leaves one side empty.
 * TIME: of each episode, the first `fraction` of its rows trains; an episode of one row trains. */
enum aqm_split_by { AQM_SPLIT_ORDER, AQM_SPLIT_EPISODES, AQM_SPLIT_TIME };
int aqm_pool_split(const char *pool_path, const char *train_path, const char *eval_path, enum aqm_split_by by,
                   double fraction);
/* The report of `pool info`: readable text, or JSON. Owned by the caller. */
int aqm_pool_info(const char *pool_path, bool json, char **text);

/* ---- reading pools ---- */

typedef struct aqm_pool aqm_pool;

int aqm_pool_open(aqm_pool **out, const char *path);
void aqm_pool_free(aqm_pool *pool);
const char *aqm_pool_path(const aqm_pool *pool);
size_t aqm_pool_rows(const aqm_pool *pool);
size_t aqm_pool_episodes(const aqm_pool *pool);
void aqm_pool_episode(const aqm_pool *pool, size_t index, size_t *start, size_t *length);
/* SHA-256 over the pool's contents (columns, episodes), 64 hex digits: names the data in a run directory. Lifetime of the pool. */
const char *aqm_pool_digest(const aqm_pool *pool);
/* Do they hold the same rows, or one a part of the other's (as `pool split` notes it)? */
bool aqm_pool_shares_rows(const aqm_pool *a, const aqm_pool *b);
/* One column as doubles, rows values. AQM_EDATA with a message that lists what the pool has, when it lacks the field. */
int aqm_pool_column(const aqm_pool *pool, const char *field, double *out);
bool aqm_pool_has(const aqm_pool *pool, const char *field);
/* rows labels, 0..2. AQM_EDATA if the pool has none of that kind (a CSV without sflags can still have both: then they are equal, with a warning). */
int aqm_pool_actions(const aqm_pool *pool, enum aqm_labels labels, uint8_t *out);

/* ---- update intervals ---- */

/* Rows of update intervals out of rows of packets. A queue's controller sets its base probability p' once an interval
 * (tupdate); packets of one queue between two such updates share drop_prob and burst_allowance, and become one row. Each queue
 * of an episode becomes an episode of its own, in time order. Columns of the result:
 *   first value   what is constant in an interval: queue_type, drop_prob (p' in force), burst_allowance, settings, clocks
 *   last value    what is counted up: accu_prob, tot_pkts, tot_bytes, drops
 *   mean          everything else: current_qdelay, length, len_bytes, pkt_len, ...
 *   new ones      packets, arrived_bytes, dropped, marked, qdelay_end, qdelay_peak, and the action: next_drop_prob, the p' that
 *                 the controller set at the interval's end
 * The last interval of an episode has no successor and is left out. AQM_EDATA when the pool lacks drop_prob or nothing is left.
 * The source may be freed afterwards. */
int aqm_pool_updates(aqm_pool **out, const aqm_pool *packets);
/* Whether the rows are update intervals already. */
bool aqm_pool_has_updates(const aqm_pool *pool);
/* Open a pool for a control mode: for update intervals, one of packets is turned into them on the way. AQM_EDATA for the
 * reverse. */
int aqm_pool_open_for(aqm_pool **out, const char *path, enum aqm_control control);

/* A probability as a log carries it, 2^31 = 1, on the scale of control: update: log(max(p', 1e-6)). */
double aqm_update_level(double drop_prob);
/* Back: p' in [0, 1]; levels at the floor are 0. */
double aqm_update_probability(double level);

/* A pool from memory, for tests and the simulator: columns[f][rows] for the named fields. Copied. */
int aqm_pool_from_columns(aqm_pool **out, size_t rows, size_t fields, const char *const *names, const double *const *columns,
                          const uint8_t *actions, const uint8_t *actions_logged, size_t episodes, const size_t *episode_starts);
int aqm_pool_save(const aqm_pool *pool, const char *path);

/* ---- rewards and returns ---- */

/* Where rewards lie: the least of them, and how far above it the greatest. A reward r counts as (r - low) / width. */
struct aqm_reward_range {
	double low, width;
};

/* rewards[rows] and returns[rows]: r_t by config->reward, in the range where there is one (NULL: as they are), R_t = sum over
 * k < horizon of gamma^k r_{t+k}, inside the episode. A horizon in ms needs a clock in the pool (measurement_start or time);
 * AQM_EDATA otherwise, and where one of them is no finite float. */
int aqm_pool_returns(const aqm_pool *pool, const struct aqm_config *config, const struct aqm_reward_range *range, float *rewards,
                     float *returns);

/* One row's reward by config->reward, in its own units: `bytes` of the packet (of an update interval: that arrived), qdelay in us. */
double aqm_pool_reward(const struct aqm_config *config, double bytes, double delay_us);

/* ---- normaliser ---- */

enum { AQM_FEATURES_MAX = 32 };

/* A feature x becomes one value, (f(x) - mean) / scale with f = identity or sign(x) log1p|x|, or both side by side: the first
 * resolves large counters near a threshold, the second tells zero from small. A constant feature gets scale 1. */
enum { AQM_NORMALISED_MAX = 2 * AQM_FEATURES_MAX };
struct aqm_normaliser {
	enum aqm_normaliser_kind kind;
	size_t count;                      /* features */
	double mean[AQM_NORMALISED_MAX];   /* value v of feature f at f * values + v */
	double scale[AQM_NORMALISED_MAX];
};
/* Values that a feature becomes: 1, or 2 for AQM_NORMALISER_BOTH. */
size_t aqm_normaliser_values(enum aqm_normaliser_kind kind);
/* Fit on columns[feature][rows]. */
void aqm_normaliser_fit(struct aqm_normaliser *n, enum aqm_normaliser_kind kind, size_t features, size_t rows, const double *const *columns);
/* out[values] */
void aqm_normaliser_apply(const struct aqm_normaliser *n, size_t feature, double value, float *out);

/* ---- windows ---- */

/* Which windows an epoch consists of: a pure function of (seed, epoch, index), so a resumed run sees the same ones. */
typedef struct aqm_sampler aqm_sampler;

struct aqm_window {
	size_t start;  /* first row */
	size_t length; /* <= w; shorter only where the episode is shorter than w */
	size_t episode_offset; /* of `start` within its episode (for time embeddings by episode) */
};

/* uniform: each epoch tiles every episode with windows of w rows from a random offset, in random order, so that every row is seen
 * about once. transitions: windows that hold a change of action, at a random place inside the window (the change included).
 * balanced: windows around rows drawn with equal probability a class. tiles: every episode cut into windows of w rows from its
 * first row on, the same ones each epoch in another order; rows behind the last whole window are not seen (an episode shorter
 * than w is one window). windows_per_epoch 0 = ceil(rows / w), and of tiles as many as there are.
 * `actions` is copied. */
int aqm_sampler_new(aqm_sampler **out, enum aqm_sampler_kind kind, const aqm_pool *pool, const uint8_t *actions, size_t window,
                    size_t windows_per_epoch, uint64_t seed);
void aqm_sampler_free(aqm_sampler *sampler);
size_t aqm_sampler_windows(const aqm_sampler *sampler);
/* Prepare an epoch; then windows 0 .. windows-1 of it may be asked for, from any thread. */
int aqm_sampler_start_epoch(aqm_sampler *sampler, uint32_t epoch);
struct aqm_window aqm_sampler_window(const aqm_sampler *sampler, size_t index);

/* Windows for evaluation: every row is scored exactly once, with as much past as a decision would have: windows advance by half of w,
 * and of each only rows from `score_from` on are scored (all of them in an episode's first). That is what a streaming
 * decision with a restarted cache sees. Returns the number of windows; fills at most `capacity`. score_from may be NULL. */
size_t aqm_eval_windows(const aqm_pool *pool, size_t window, size_t capacity, struct aqm_window *windows, size_t *score_from);

#endif
