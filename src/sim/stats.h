/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Figures of a run: histograms of times with 1 % resolution, counts a queue, the time series.
 */
#ifndef AQM_SIM_STATS_H
#define AQM_SIM_STATS_H

#include "aqmtrain/sim.h"
#include "sim/event.h"

/* Logarithmic: 64 equal steps an octave, from 1 us; so a quantile is right within 1/64. */
enum { AQM_HISTOGRAM_STEPS = 64, AQM_HISTOGRAM_BINS = 64 * 40 };
struct aqm_histogram {
	uint64_t count;
	double sum; /* ns */
	uint64_t bins[AQM_HISTOGRAM_BINS];
};
void aqm_histogram_add(struct aqm_histogram *histogram, aqm_time time);
/* Mean and quantiles, in units of `unit` ns; NAN of an empty one. */
struct aqm_quantiles aqm_histogram_quantiles(const struct aqm_histogram *histogram, double unit);
/* Quantiles at aqm_cdf_share(), in units of `unit` ns; NAN of an empty one. */
void aqm_histogram_cdf(const struct aqm_histogram *histogram, double unit, double cdf[AQM_CDF_POINTS]);

struct aqm_queue_stats {
	uint64_t arrived, departed, dropped, marked;
	uint64_t departed_bytes;
	uint64_t at_warmup[5]; /* the same when the warm-up ended */
	struct aqm_histogram delay;
	/* since the last point of the series */
	double delay_sum;
	aqm_time delay_peak;
	uint32_t point_departed, point_dropped, point_marked;
	uint64_t point_bytes;
};
void aqm_queue_stats_warm(struct aqm_queue_stats *stats);

#endif
