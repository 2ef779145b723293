/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rewards, returns against a sum by definition, and the normaliser.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "helper.h"

enum { ROWS = 500 };
static double delay[ROWS], length[ROWS], clock_us[ROWS], seconds[ROWS];
static const size_t starts[] = {0, 1, 137, 300};
static const size_t ends[] = {1, 137, 300, ROWS};

static int fill(void **state)
{
	struct aqm_rng rng;

	(void)state;
	aqm_rng_init(&rng, 3, AQM_STREAM_TEST, 0);
	double now = 4294000000.0; /* wraps on the way */
	for (size_t i = 0; i < ROWS; i++) {
		delay[i] = 10000.0 * (double)aqm_rng_below(&rng, 40);
		length[i] = (double)(40 + aqm_rng_below(&rng, 1461));
		now += (double)(1 + aqm_rng_below(&rng, 9000));
		clock_us[i] = fmod(now, 4294967296.0);
		seconds[i] = 1e6 + now / 1e6;
	}
	return 0;
}

static aqm_pool *make_pool(const char *clock_name, const double *clock_values)
{
	const char *names[] = {"current_qdelay", "pkt_len", clock_name};
	const double *columns[] = {delay, length, clock_values};
	aqm_pool *pool = NULL;

	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, clock_name ? 3 : 2, names, columns, NULL, NULL, 4, starts),
	                 AQM_OK);
	return pool;
}

/* R_t by its definition. now_ms NULL: horizon in rows. */
static double by_definition(const double *rewards, const double *now_ms, size_t t, size_t end, double gamma,
                            double horizon)
{
	double sum = 0;

	for (size_t k = 0; t + k < end; k++) {
		bool inside = horizon == 0 || (now_ms ? k == 0 || now_ms[t + k] < now_ms[t] + horizon : (double)k < horizon);
		if (!inside)
			break;
		sum += pow(gamma, (double)k) * rewards[t + k];
	}
	return sum;
}

static void check(const aqm_pool *pool, struct aqm_config *config, const double *now_ms)
{
	static float rewards[ROWS], returns[ROWS];
	double exact[ROWS];

	assert_int_equal(aqm_pool_returns(pool, config, NULL, rewards, returns), AQM_OK);
	for (size_t i = 0; i < ROWS; i++) {
		double d = delay[i] / (config->reward.unit == AQM_UNIT_MS ? 1e3 : config->reward.unit == AQM_UNIT_S ? 1e6 : 1);
		exact[i] = config->reward.kind == AQM_REWARD_POWER ? length[i] / (d + config->reward.c)
		                                                   : length[i] / 1500 - config->reward.delay_weight * d;
		assert_true(fabs((double)rewards[i] - exact[i]) <= 1e-6 * fabs(exact[i]));
	}
	for (size_t e = 0; e < 4; e++)
		for (size_t t = starts[e]; t < ends[e]; t++) {
			double expected =
				by_definition(exact, now_ms, t, ends[e], config->reward.gamma, (double)config->reward.horizon);

			if (fabs((double)returns[t] - expected) >
			    2e-6 * (fabs(expected) + (config->reward.kind == AQM_REWARD_TRADEOFF)))
				fail_msg("row %zu: %.9g, expected %.9g (gamma %g, horizon %d)", t, (double)returns[t], expected,
				         config->reward.gamma, (int)config->reward.horizon);
		}
}

static void test_returns_are_sums_by_definition(void **state)
{
	static const double gammas[] = {0, 0.5, 0.99, 1};
	static const int horizons[] = {0, 1, 2, 7, 50, 136, 10000};
	aqm_pool *pool = make_pool(NULL, NULL);

	(void)state;
	for (int kind = 0; kind < 2; kind++)
		for (int unit = 0; unit < 3; unit++)
			for (size_t g = 0; g < 4; g++)
				for (size_t h = 0; h < 7; h++) {
					struct aqm_config config = {.reward = {.kind = (enum aqm_reward_kind)kind,
					                                       .unit = (enum aqm_delay_unit)unit,
					                                       .c = 1,
					                                       .delay_weight = 0.01,
					                                       .gamma = gammas[g],
					                                       .horizon = horizons[h]}};
					check(pool, &config, NULL);
				}
	aqm_pool_free(pool);
}

static void test_horizons_in_milliseconds(void **state)
{
	static const int horizons[] = {0, 1, 5, 40, 700, 100000};
	double now[ROWS];
	aqm_pool *by_kernel = make_pool("measurement_start", clock_us), *by_log = make_pool("time", seconds);

	(void)state;
	for (size_t i = 0; i < ROWS; i++)
		now[i] = seconds[i] * 1e3;
	for (size_t h = 0; h < 6; h++) {
		struct aqm_config config = {
			.reward = {
				.c = 1, .unit = AQM_UNIT_MS, .gamma = 0.97, .horizon = horizons[h], .horizon_unit = AQM_HORIZON_MS}};
		check(by_log, &config, now);
		double unwrapped[ROWS], last = clock_us[0], sum = 0;
		for (size_t i = 0; i < ROWS; i++) {
			sum += clock_us[i] - last + (clock_us[i] < last ? 4294967296.0 : 0);
			last = clock_us[i];
			unwrapped[i] = sum / 1e3;
		}
		check(by_kernel, &config, unwrapped);
	}
	aqm_pool_free(by_kernel);
	aqm_pool_free(by_log);
}

static void test_a_horizon_in_milliseconds_needs_a_clock(void **state)
{
	static float rewards[ROWS], returns[ROWS];
	struct aqm_config config = {.reward = {.c = 1, .gamma = 1, .horizon = 100, .horizon_unit = AQM_HORIZON_MS}};
	double whole[ROWS], still[ROWS];

	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		whole[i] = floor(seconds[i]);
		still[i] = 7;
	}
	aqm_pool *pools[] = {make_pool(NULL, NULL), make_pool("time", whole), make_pool("measurement_start", still)};
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(aqm_pool_returns(pools[i], &config, NULL, rewards, returns), AQM_EDATA);
		assert_non_null(strstr(aqm_error_message(), i == 1 ? "whole seconds" : "clock"));
		aqm_pool_free(pools[i]);
	}
}

/* A small return after rewards a million times as large loses nothing. */
static void test_large_rewards_do_not_drown_small_ones(void **state)
{
	enum { N = 3000 };
	static double d[N], l[N];
	static float rewards[N], returns[N];
	const char *names[] = {"current_qdelay", "pkt_len"};
	const double *columns[] = {d, l};
	struct aqm_config config = {.reward = {.c = 1e-6, .gamma = 1, .horizon = 10}};
	aqm_pool *pool;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		d[i] = i < N / 2 ? 0 : 500000;
		l[i] = 1500;
	}
	assert_int_equal(aqm_pool_from_columns(&pool, N, 2, names, columns, NULL, NULL, 0, NULL), AQM_OK);
	assert_int_equal(aqm_pool_returns(pool, &config, NULL, rewards, returns), AQM_OK);
	assert_true(fabsf(returns[N / 2] - 0.03f) < 1e-8f);
	aqm_pool_free(pool);
}

/* In a range, returns are sums of (r - low) / width. */
static void test_returns_of_rewards_in_a_range(void **state)
{
	static const struct aqm_reward_range range = {.low = -3, .width = 40};
	static float raw[ROWS], rewards[ROWS], returns[ROWS];
	struct aqm_config config = {.reward = {.c = 1, .unit = AQM_UNIT_MS, .gamma = 1, .horizon = 0}};
	double scaled[ROWS];
	aqm_pool *pool = make_pool(NULL, NULL);

	(void)state;
	assert_int_equal(aqm_pool_returns(pool, &config, NULL, raw, returns), AQM_OK);
	assert_int_equal(aqm_pool_returns(pool, &config, &range, rewards, returns), AQM_OK);
	for (size_t i = 0; i < ROWS; i++) {
		scaled[i] = ((double)raw[i] + 3) / 40;
		assert_true(fabs((double)rewards[i] - scaled[i]) < 1e-6 * scaled[i]);
	}
	for (size_t e = 0; e < 4; e++)
		for (size_t t = starts[e]; t < ends[e]; t++) {
			double expected = by_definition(scaled, NULL, t, ends[e], 1, 0);

			assert_true(fabs((double)returns[t] - expected) < 1e-5 * expected);
		}
	aqm_pool_free(pool);
}

static unsigned warnings;
static void count_warning(void *context, enum aqm_log_level level, const char *line)
{
	(void)context;
	warnings += level == AQM_LOG_WARNING && strstr(line, "pkt_len") != NULL;
}

static void test_packets_of_unknown_length(void **state)
{
	static float rewards[ROWS], returns[ROWS];
	const char *names[] = {"current_qdelay"};
	const double *columns[] = {delay};
	struct aqm_config config = {.reward = {.c = 1, .unit = AQM_UNIT_MS, .gamma = 1}};
	aqm_pool *pool;

	(void)state;
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 1, names, columns, NULL, NULL, 0, NULL), AQM_OK);
	aqm_log_set_sink(count_warning, NULL);
	assert_int_equal(aqm_pool_returns(pool, &config, NULL, rewards, returns), AQM_OK);
	aqm_log_set_sink(NULL, NULL);
	assert_int_equal(warnings, 1);
	assert_true(fabs((double)rewards[7] - 1500 / (delay[7] / 1e3 + 1)) < 1e-3);
	aqm_pool_free(pool);
}

static void test_no_delay_no_reward(void **state)
{
	static float rewards[ROWS], returns[ROWS];
	const char *names[] = {"pkt_len"};
	const double *columns[] = {length};
	struct aqm_config config = {.reward = {.c = 1, .gamma = 1}};
	aqm_pool *pool;

	(void)state;
	assert_int_equal(aqm_pool_from_columns(&pool, ROWS, 1, names, columns, NULL, NULL, 0, NULL), AQM_OK);
	assert_int_equal(aqm_pool_returns(pool, &config, NULL, rewards, returns), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "current_qdelay"));
	assert_non_null(strstr(aqm_error_message(), "pkt_len"));
	aqm_pool_free(pool);
}

/* ---- normaliser ---- */

static void test_normalised_columns_have_mean_0_and_deviation_1(void **state)
{
	static const enum aqm_normaliser_kind kinds[] = {AQM_NORMALISER_NONE, AQM_NORMALISER_STANDARD,
	                                                 AQM_NORMALISER_LOG_STANDARD, AQM_NORMALISER_BOTH};
	double constant[ROWS];
	const double *columns[] = {delay, length, constant, clock_us};
	struct aqm_normaliser n;

	(void)state;
	for (size_t i = 0; i < ROWS; i++)
		constant[i] = 4294967295.0;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		size_t values = aqm_normaliser_values(kinds[k]);

		assert_int_equal(values, kinds[k] == AQM_NORMALISER_BOTH ? 2 : 1);
		aqm_normaliser_fit(&n, kinds[k], 4, ROWS, columns);
		assert_int_equal(n.count, 4);
		for (size_t f = 0; f < 4; f++) {
			double sum[2] = {0}, squares[2] = {0};

			for (size_t i = 0; i < ROWS; i++) {
				float x[2];

				aqm_normaliser_apply(&n, f, columns[f][i], x);
				for (size_t v = 0; v < values; v++) {
					sum[v] += (double)x[v];
					squares[v] += (double)x[v] * (double)x[v];
				}
				if (kinds[k] == AQM_NORMALISER_NONE)
					assert_true((float)columns[f][i] == x[0]);
			}
			for (size_t v = 0; kinds[k] != AQM_NORMALISER_NONE && v < values; v++) {
				assert_true(fabs(sum[v] / ROWS) < 1e-4);
				assert_true(fabs(squares[v] / ROWS - (f == 2 ? 0 : 1)) < 1e-4);
			}
		}
	}
}

static void test_log_is_odd(void **state)
{
	double values[] = {-3, 3};
	const double *columns[] = {values};
	struct aqm_normaliser n;
	float x;

	(void)state;
	aqm_normaliser_fit(&n, AQM_NORMALISER_LOG_STANDARD, 1, 2, columns);
	assert_true(fabs(n.mean[0]) < 1e-12);
	assert_true(fabs(n.scale[0] - log(4)) < 1e-12);
	aqm_normaliser_apply(&n, 0, -3, &x);
	assert_true(fabsf(x + 1) < 1e-6f);
	aqm_normaliser_apply(&n, 0, 0, &x);
	assert_true(fabsf(x) < 1e-6f);
}

/* The two values of a feature are those of the two kinds alone. */
static void test_both_are_the_two_side_by_side(void **state)
{
	const double *columns[] = {delay, length};
	struct aqm_normaliser both, one[2];

	(void)state;
	aqm_normaliser_fit(&both, AQM_NORMALISER_BOTH, 2, ROWS, columns);
	aqm_normaliser_fit(&one[0], AQM_NORMALISER_STANDARD, 2, ROWS, columns);
	aqm_normaliser_fit(&one[1], AQM_NORMALISER_LOG_STANDARD, 2, ROWS, columns);
	for (size_t f = 0; f < 2; f++)
		for (size_t i = 0; i < ROWS; i++) {
			float x[2], y;

			aqm_normaliser_apply(&both, f, columns[f][i], x);
			for (size_t v = 0; v < 2; v++) {
				aqm_normaliser_apply(&one[v], f, columns[f][i], &y);
				assert_true(x[v] == y);
			}
		}
}

/* reward.kind: utility is the row's rank, which no return adds to. */
static void utility_is_the_rank(void **state)
{
	struct aqm_config config;
	aqm_pool *pool = make_pool("utility_rank", seconds);
	float rewards[ROWS], returns[ROWS];

	(void)state;
	aqm_config_init(&config);
	assert_int_equal(AQM_OK, aqm_config_set(&config, "reward.kind=utility"));
	assert_int_equal(aqm_pool_returns(pool, &config, NULL, rewards, returns), AQM_EUSAGE);
	assert_non_null(strstr(aqm_error_message(), "reward.gamma"));
	assert_int_equal(AQM_OK, aqm_config_set(&config, "reward.gamma=0"));
	assert_int_equal(AQM_OK, aqm_pool_returns(pool, &config, NULL, rewards, returns));
	for (size_t i = 0; i < ROWS; i++)
		assert_true(rewards[i] == (float)seconds[i] && returns[i] == rewards[i]);
	assert_true(aqm_pool_reward(&config, 1500, 1000) == 0);
	aqm_pool_free(pool);
	pool = make_pool("time", seconds);
	assert_int_equal(aqm_pool_returns(pool, &config, NULL, rewards, returns), AQM_EDATA);
	aqm_pool_free(pool);
	aqm_config_release(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utility_is_the_rank),
		cmocka_unit_test(test_returns_are_sums_by_definition),
		cmocka_unit_test(test_horizons_in_milliseconds),
		cmocka_unit_test(test_a_horizon_in_milliseconds_needs_a_clock),
		cmocka_unit_test(test_large_rewards_do_not_drown_small_ones),
		cmocka_unit_test(test_returns_of_rewards_in_a_range),
		cmocka_unit_test(test_packets_of_unknown_length),
		cmocka_unit_test(test_no_delay_no_reward),
		cmocka_unit_test(test_normalised_columns_have_mean_0_and_deviation_1),
		cmocka_unit_test(test_log_is_odd),
		cmocka_unit_test(test_both_are_the_two_side_by_side),
	};
	return cmocka_run_group_tests(tests, fill, NULL);
}
