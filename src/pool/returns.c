/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rewards, and the returns-to-go that follow from them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/size.h"
#include "pool/store.h"

/* ---- rewards: a row each ---- */

enum { PACKET_BYTES = 1500 };

/* bytes: length of the packet; delay: of the queue, in the unit of the config. */
typedef double reward_function(const struct aqm_config *config, double bytes, double delay);

static double power_reward(const struct aqm_config *config, double bytes, double delay)
{
	return bytes / (delay + config->reward.c);
}

static double tradeoff_reward(const struct aqm_config *config, double bytes, double delay)
{
	return bytes / PACKET_BYTES - config->reward.delay_weight * delay;
}

/* By enum aqm_reward_kind. A reward is a function of the row's bytes and delay, or a column of the pool: then it is known
 * only afterwards. */
static const struct {
	const char *name;
	reward_function *reward;
	const char *column;
} rewards_table[] = {
	[AQM_REWARD_POWER] = {"power", power_reward, NULL},
	[AQM_REWARD_TRADEOFF] = {"tradeoff", tradeoff_reward, NULL},
	[AQM_REWARD_UTILITY] = {"utility", NULL, "utility_rank"},
};

double aqm_pool_reward(const struct aqm_config *config, double bytes, double delay_us)
{
	static const double microseconds[] = {[AQM_UNIT_US] = 1, [AQM_UNIT_MS] = 1e3, [AQM_UNIT_S] = 1e6};

	if (!rewards_table[config->reward.kind].reward)
		return 0;
	return rewards_table[config->reward.kind].reward(config, bytes, delay_us / microseconds[config->reward.unit]);
}

/* Bytes of each row's packet, or of all packets of its update interval. A pool that does not know the length of packets
 * counts each as a full one. */
static int read_lengths(const aqm_pool *pool, double *bytes)
{
	bool updates = aqm_pool_has_updates(pool);
	const char *name = updates ? "arrived_bytes" : "pkt_len";
	int code = AQM_OK;

	if (aqm_pool_has(pool, name))
		return aqm_pool_column(pool, name, bytes);
	aqm_log_warning("'%s' has no pkt_len: the reward takes every packet for %d bytes", pool->path, PACKET_BYTES);
	if (updates)
		code = aqm_pool_column(pool, "packets", bytes);
	for (uint64_t i = 0; code == AQM_OK && i < pool->rows; i++)
		bytes[i] = updates ? bytes[i] * PACKET_BYTES : PACKET_BYTES;
	return code;
}

/* Every row says already what its whole episode was worth: nothing is to be summed up. */
static int read_rewards(const aqm_pool *pool, const struct aqm_config *config, const char *column, double *rewards)
{
	if (config->reward.gamma != 0)
		return aqm_error_set(AQM_EUSAGE,
		                     "reward.gamma is %g: the %s reward is that of a whole episode, and needs gamma 0",
		                     config->reward.gamma, rewards_table[config->reward.kind].name);
	return aqm_pool_column(pool, column, rewards);
}

static int compute_rewards(const aqm_pool *pool, const struct aqm_config *config, double *rewards)
{
	if (rewards_table[config->reward.kind].column)
		return read_rewards(pool, config, rewards_table[config->reward.kind].column, rewards);
	double *delays = aqm_malloc_array((size_t)pool->rows, sizeof *delays);
	int code = delays ? read_lengths(pool, rewards) : AQM_ERUN;

	if (code == AQM_OK)
		code = aqm_pool_column(pool, "current_qdelay", delays);
	for (uint64_t i = 0; code == AQM_OK && i < pool->rows; i++)
		rewards[i] = aqm_pool_reward(config, rewards[i], delays[i]);
	free(delays);
	return code;
}

/* `what`: reward or return. */
static int check_finite(const aqm_pool *pool, const struct aqm_config *config, const char *what, const float *values)
{
	for (uint64_t i = 0; i < pool->rows; i++)
		if (!isfinite(values[i]))
			return aqm_error_set(AQM_EDATA, "the %s %s of row %llu of '%s' is not finite",
			                     rewards_table[config->reward.kind].name, what, (unsigned long long)i, pool->path);
	return AQM_OK;
}

/* ---- clocks ---- */

static bool is_constant(const double *values, uint64_t rows)
{
	for (uint64_t i = 1; i < rows; i++)
		if (values[i] != values[0])
			return false;
	return true;
}

/* Microseconds as the kernel's 32-bit counter shows them, whatever a foreign pool keeps in its column. */
static uint32_t counter(double microseconds)
{
	return isfinite(microseconds) && microseconds >= 0 ? (uint32_t)fmod(microseconds, 0x1p32) : 0;
}

/* The kernel's 32-bit microseconds, which wrap every 72 minutes, as milliseconds that do not. A step back (lines of two
 * processors that changed places) stands still. */
static void unwrap(double *clock, uint64_t rows)
{
	double now = 0;
	uint32_t last = rows ? counter(clock[0]) : 0;

	for (uint64_t i = 0; i < rows; i++) {
		uint32_t value = counter(clock[i]), step = value - last;

		if (step < UINT32_C(1) << 31) {
			now += (double)step / 1e3;
			last = value;
		}
		clock[i] = now;
	}
}

static bool in_whole_seconds(const double *seconds, uint64_t rows)
{
	for (uint64_t i = 0; i < rows; i++)
		if (seconds[i] != floor(seconds[i]))
			return false;
	return true;
}

/* Milliseconds of every row, which never fall inside an episode: by measurement_start where it runs, else by the
 * log's clock. */
static int read_clock(const aqm_pool *pool, int64_t horizon, double *clock)
{
	int code = AQM_OK;

	if (aqm_pool_has(pool, "measurement_start")) {
		code = aqm_pool_column(pool, "measurement_start", clock);
		if (code != AQM_OK)
			return code;
		if (pool->rows == 1 || !is_constant(clock, pool->rows)) {
			for (size_t e = 0; e < pool->episode_count; e++) /* a new run, or queue, has a clock of its own */
				unwrap(clock + pool->episodes[e].start, pool->episodes[e].length);
			return AQM_OK;
		}
	}
	if (!aqm_pool_has(pool, "time"))
		return aqm_error_set(AQM_EDATA, "'%s' has no clock (measurement_start or time), which a horizon in ms needs",
		                     pool->path);
	code = aqm_pool_column(pool, "time", clock);
	if (code == AQM_OK && horizon < 2000 && in_whole_seconds(clock, pool->rows))
		code = aqm_error_set(AQM_EDATA, "the clock of '%s' has whole seconds only, too coarse for a horizon of %lld ms",
		                     pool->path, (long long)horizon);
	for (uint64_t i = 0; code == AQM_OK && i < pool->rows; i++) {
		clock[i] *= 1e3;
		if (isnan(clock[i]))
			clock[i] = i ? clock[i - 1] : 0;
	}
	for (size_t e = 0; code == AQM_OK && e < pool->episode_count; e++)
		for (uint64_t i = 1; i < pool->episodes[e].length; i++) {
			double *at = clock + pool->episodes[e].start + i;

			at[0] = fmax(at[0], at[-1]);
		}
	return code;
}

/* ---- returns ---- */

/* First row behind the horizon of row t of an episode of n rows. `end` is that of the row before: ends never fall. */
static size_t horizon_end(const struct aqm_config *config, const double *clock, size_t t, size_t end, size_t n)
{
	uint64_t horizon = (uint64_t)config->reward.horizon;

	if (horizon == 0)
		return n;
	if (!clock)
		return horizon < n - t ? t + (size_t)horizon : n;
	end = end > t ? end : t + 1;
	while (end < n && clock[end] < clock[t] + (double)horizon)
		end++;
	return end;
}

/* R_t = sum of gamma^k r_{t+k} over t + k < end_t, for one episode, in O(n) and without differences of large sums:
 * rows are cut at a pivot m. Left of it suffix[t] holds the discounted sum over t .. m - 1; right of it `head` grows
 * over m .. end_t - 1. When t reaches the pivot, the next one is where the horizon then ends.
 *
 *        t ...... m - 1 | m ...... end_t - 1
 *         suffix[t]     + gamma^(m-t) head */
static void discount(const struct aqm_config *config, const double *rewards, const double *clock, size_t n,
                     double *suffix, float *returns)
{
	double gamma = config->reward.gamma, head = 0, weight = 1;
	size_t m = 0, end = 0, in_head = 0;

	for (size_t t = 0; t < n; t++) {
		end = horizon_end(config, clock, t, end, n);
		if (t == m) {
			double sum = 0;

			for (size_t i = end; i-- > t;)
				suffix[i] = sum = rewards[i] + gamma * sum;
			m = in_head = end;
			head = 0;
			weight = 1;
		}
		for (; in_head < end; in_head++) {
			head += weight * rewards[in_head];
			weight *= gamma;
		}
		returns[t] = (float)(suffix[t] + (head != 0 ? pow(gamma, (double)(m - t)) * head : 0));
	}
}

int aqm_pool_returns(const aqm_pool *pool, const struct aqm_config *config, const struct aqm_reward_range *range,
                     float *rewards, float *returns)
{
	size_t rows = (size_t)pool->rows;
	double *exact = aqm_malloc_array(rows, sizeof *exact), *suffix = aqm_malloc_array(rows, sizeof *suffix),
		   *clock = NULL;
	bool by_clock = config->reward.horizon_unit == AQM_HORIZON_MS && config->reward.horizon > 0;
	int code = exact && suffix ? compute_rewards(pool, config, exact) : AQM_ERUN;

	if (code == AQM_OK && by_clock) {
		clock = aqm_malloc_array(rows, sizeof *clock);
		code = clock ? read_clock(pool, config->reward.horizon, clock) : AQM_ERUN;
	}
	for (size_t i = 0; code == AQM_OK && i < rows; i++) {
		if (range)
			exact[i] = (exact[i] - range->low) / range->width;
		rewards[i] = (float)exact[i];
	}
	if (code == AQM_OK)
		code = check_finite(pool, config, "reward", rewards);
	for (size_t e = 0; code == AQM_OK && e < pool->episode_count; e++) {
		size_t start = (size_t)pool->episodes[e].start, length = (size_t)pool->episodes[e].length;

		discount(config, exact + start, clock ? clock + start : NULL, length, suffix + start, returns + start);
	}
	if (code == AQM_OK)
		code = check_finite(pool, config, "return", returns);
	free(exact);
	free(suffix);
	free(clock);
	return code;
}
