/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named utilities: a row each.
 */
#include "aqmtrain/utility.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

/* P99 of the delay of a queue, ms; of the queue that serves all flows where there is only one. */
static double p99(const struct aqm_sim_result *result, const char *name)
{
	for (size_t i = 0; i < result->queue_count; i++)
		if ((result->queue_count == 1 || strcmp(result->queues[i].name, name) == 0) && result->queues[i].departed > 0)
			return result->queues[i].delay.p99;
	return 0;
}

/* Doublings by which one class of responsive flows gets more than twice what the other gets. */
static double unfairness(const struct aqm_sim_result *result)
{
	static const double most = 6; /* one starves: the ratio is 0, or there is none */
	bool has[2] = {false, false};

	for (size_t i = 0; i < result->flow_count; i++)
		if (!isnan(result->flows[i].rtt_mean_ms))
			has[result->flows[i].l4s] = true;
	if (!has[0] || !has[1])
		return 0;
	return result->rate_ratio > 0 ? fmin(fmax(fabs(log2(result->rate_ratio)) - 1, 0), most) : most;
}

static double balanced(const struct aqm_sim_result *result)
{
	return 100 * result->utilisation - 2 * p99(result, "L") - 0.5 * p99(result, "C") - 20 * unfairness(result);
}

static double l4s(const struct aqm_sim_result *result)
{
	double halvings = result->rate_ratio < 1 ? unfairness(result) : 0;

	return 100 * result->utilisation - 2 * p99(result, "L") - 20 * halvings;
}

/* Kleinrock's, with a millisecond so that an empty queue is not worth infinitely much. */
static double power(const struct aqm_sim_result *result)
{
	double packets = 0, sum = 0;

	for (size_t i = 0; i < result->queue_count; i++) {
		packets += (double)result->queues[i].departed;
		sum += result->queues[i].departed ? (double)result->queues[i].departed * result->queues[i].delay.mean : 0;
	}
	return 100 * result->utilisation / (1 + (packets > 0 ? sum / packets : 0));
}

static const struct {
	const char *name, *help;
	double (*of)(const struct aqm_sim_result *result);
} utilities[] = {
	{"balanced",
     "utilisation in %, less 2 a ms of P99 of the L queue's delay, less 0.5 a ms of the classic queue's, less 20 a "
     "doubling of the rate ratio beyond 1/2 to 2; a single queue is both, drops cost only what they do to utilisation",
     balanced},
	{"l4s",
     "utilisation in %, less 2 a ms of P99 of the L queue's delay (of a single queue's), less 20 a halving of the rate "
     "ratio below 1/2",
     l4s},
	{"power", "utilisation in % by (1 + mean delay of all packets in ms)", power},
};
enum { UTILITIES = sizeof utilities / sizeof *utilities };

const char *aqm_utility_name(size_t index, const char **help)
{
	if (index >= UTILITIES)
		return NULL;
	if (help)
		*help = utilities[index].help;
	return utilities[index].name;
}

int aqm_utility_find(const char *name, size_t *index)
{
	for (*index = 0; *index < UTILITIES; ++*index)
		if (strcmp(utilities[*index].name, name) == 0)
			return AQM_OK;
	return aqm_error_set(AQM_EUSAGE, "no utility '%s'; there are balanced, l4s, power", name);
}

double aqm_utility(size_t index, const struct aqm_sim_result *result)
{
	return utilities[index].of(result);
}
