/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/stats.h"

#include <math.h>
#include <string.h>

/* Below 64 us steps of 1 us; above, 64 steps an octave. */
static size_t bin_of(aqm_time time)
{
	uint64_t us = time > 0 ? (uint64_t)time / AQM_US : 0;

	if (us < AQM_HISTOGRAM_STEPS)
		return us;
	unsigned shift = 57 - (unsigned)__builtin_clzll(us); /* us >> shift lies in [64, 128) */
	size_t bin = (size_t)(shift + 1) * AQM_HISTOGRAM_STEPS + (us >> shift) - AQM_HISTOGRAM_STEPS;

	return bin < AQM_HISTOGRAM_BINS ? bin : AQM_HISTOGRAM_BINS - 1;
}

static double middle_of(size_t bin)
{
	size_t octave = bin / AQM_HISTOGRAM_STEPS, step = bin % AQM_HISTOGRAM_STEPS;

	if (octave == 0)
		return ((double)step + 0.5) * AQM_US;
	return ldexp((double)(AQM_HISTOGRAM_STEPS + step) + 0.5, (int)octave - 1) * AQM_US;
}

void aqm_histogram_add(struct aqm_histogram *histogram, aqm_time time)
{
	histogram->count++;
	histogram->sum += (double)time;
	histogram->bins[bin_of(time)]++;
}

static double quantile(const struct aqm_histogram *histogram, double share)
{
	uint64_t rank = (uint64_t)(share * (double)(histogram->count - 1)), seen = 0;

	for (size_t i = 0; i < AQM_HISTOGRAM_BINS; i++)
		if ((seen += histogram->bins[i]) > rank)
			return i == 0 ? 0 : middle_of(i);
	return middle_of(AQM_HISTOGRAM_BINS - 1);
}

struct aqm_quantiles aqm_histogram_quantiles(const struct aqm_histogram *histogram, double unit)
{
	if (histogram->count == 0)
		return (struct aqm_quantiles){NAN, NAN, NAN, NAN, NAN};
	return (struct aqm_quantiles){
		histogram->sum / (double)histogram->count / unit,
		quantile(histogram, 0.5) / unit,
		quantile(histogram, 0.95) / unit,
		quantile(histogram, 0.99) / unit,
		quantile(histogram, 0.999) / unit,
	};
}

double aqm_cdf_share(size_t point)
{
	static const double last[] = {0.995, 0.999, 0.9999};

	return point < 99 ? (double)(point + 1) / 100 : last[point - 99 < 3 ? point - 99 : 2];
}

void aqm_histogram_cdf(const struct aqm_histogram *histogram, double unit, double cdf[AQM_CDF_POINTS])
{
	for (size_t i = 0; i < AQM_CDF_POINTS; i++)
		cdf[i] = histogram->count ? quantile(histogram, aqm_cdf_share(i)) / unit : NAN;
}

void aqm_queue_stats_warm(struct aqm_queue_stats *stats)
{
	memset(&stats->delay, 0, sizeof stats->delay);
	stats->at_warmup[0] = stats->arrived;
	stats->at_warmup[1] = stats->departed;
	stats->at_warmup[2] = stats->dropped;
	stats->at_warmup[3] = stats->marked;
	stats->at_warmup[4] = stats->departed_bytes;
}
