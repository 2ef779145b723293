/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control: update: the controller's p' on its scale, and what is fitted on it. What the head gives is the change from
 * the p' in force to the next one, so that an untrained head says "unchanged".
 */
#include <math.h>
#include <stdlib.h>

#include "base/size.h"
#include "policy/internal.h"

/* ---- reading ---- */

double aqm_level_of(const struct aqm_config *config, double drop_prob)
{
	return config->policy.level == AQM_LEVEL_LINEAR ? drop_prob * 0x1p-31 : aqm_update_level(drop_prob);
}

double aqm_level_probability(const struct aqm_config *config, double level)
{
	return config->policy.level == AQM_LEVEL_LINEAR ? fmin(fmax(level, 0), 1) : aqm_update_probability(level);
}

double aqm_level_as_log(const struct aqm_config *config, double level)
{
	return config->policy.level == AQM_LEVEL_LINEAR ? aqm_update_level(aqm_level_probability(config, level) * 0x1p31)
	                                                : level;
}

static int read_column(const struct aqm_config *config, const aqm_pool *pool, const char *name, double *column,
                       float *out)
{
	size_t rows = aqm_pool_rows(pool);
	int code = aqm_pool_column(pool, name, column);

	for (size_t i = 0; code == AQM_OK && i < rows; i++) {
		if (!(column[i] >= 0 && column[i] <= 0x1p31))
			return aqm_error_set(AQM_EDATA, "cannot read '%s': '%s' is %g in row %zu, expected 0 to 2^31",
			                     aqm_pool_path(pool), name, column[i], i);
		out[i] = (float)aqm_level_of(config, column[i]);
	}
	return code;
}

int aqm_levels_read(const struct aqm_config *config, const aqm_pool *pool, float *level, float *next_level)
{
	double *column = aqm_malloc_array(aqm_pool_rows(pool), sizeof *column);
	int code = column ? read_column(config, pool, config->policy.from == AQM_FROM_RULE ? "rule_drop_prob" : "drop_prob",
	                                column, level)
	                  : AQM_ERUN;

	if (code == AQM_OK)
		code = read_column(config, pool, "next_drop_prob", column, next_level);
	free(column);
	return code;
}

/* A change by less than 10 % is none. */
uint8_t aqm_level_direction(double change)
{
	return fabs(change) <= log(1.1) ? 0 : change > 0 ? 1 : 2;
}

/* ---- fitting ---- */

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Bins of about equal weight. Edges are changes that occur, so that each bin holds its upper edge; the last bin is what
 * lies above the last edge. */
static void fit_bins(struct aqm_level_fit *fit, const double *sorted, size_t rows, size_t bins)
{
	size_t first = 0;

	fit->bins = 0;
	for (size_t b = 1; b < bins; b++) {
		double edge = sorted[(size_t)((double)b / (double)bins * (double)(rows - 1))];

		if (edge < sorted[rows - 1] && (fit->bins == 0 || edge > fit->edge[fit->bins - 1]))
			fit->edge[fit->bins++] = edge;
	}
	for (size_t b = 0; b <= fit->bins; b++) {
		size_t end = first;

		while (end < rows && (b == fit->bins || sorted[end] <= fit->edge[b]))
			end++;
		fit->value[b] = sorted[first + (end - first) / 2];
		first = end;
	}
	fit->bins++;
}

int aqm_levels_fit(struct aqm_level_fit *fit, size_t rows, const float *level, const float *next_level, size_t bins)
{
	double *changes = aqm_malloc_array(rows, sizeof *changes), sum = 0, squares = 0, moved = 0;

	if (!changes)
		return AQM_ERUN;
	for (size_t i = 0; i < rows; i++) {
		changes[i] = (double)next_level[i] - (double)level[i];
		sum += (double)next_level[i];
		moved += changes[i] * changes[i];
	}
	*fit = (struct aqm_level_fit){.mean = sum / (double)rows, .scale = 1, .change_scale = 1};
	for (size_t i = 0; i < rows; i++)
		squares += ((double)next_level[i] - fit->mean) * ((double)next_level[i] - fit->mean);
	if (squares > 0)
		fit->scale = sqrt(squares / (double)rows);
	if (moved > 0)
		fit->change_scale = sqrt(moved / (double)rows);
	qsort(changes, rows, sizeof *changes, compare_doubles);
	if (bins > 0)
		fit_bins(fit, changes, rows, bins);
	free(changes);
	return AQM_OK;
}

/* ---- use ---- */

size_t aqm_level_bin(const struct aqm_level_fit *fit, double change)
{
	size_t bin = 0;

	while (bin + 1 < fit->bins && change > fit->edge[bin])
		bin++;
	return bin;
}

/* The likeliest of bins with about equal weight is a matter of chance where they are many; the median is not. */
double aqm_level_change(const struct aqm_level_fit *fit, const float *outputs)
{
	double sum = 0, below = 0, highest = (double)outputs[0];
	size_t b = 0;

	if (fit->bins == 0)
		return (double)outputs[0] * fit->change_scale;
	for (size_t i = 1; i < fit->bins; i++)
		highest = fmax(highest, (double)outputs[i]);
	for (size_t i = 0; i < fit->bins; i++)
		sum += exp((double)outputs[i] - highest);
	for (; b + 1 < fit->bins; b++) {
		below += exp((double)outputs[b] - highest);
		if (below >= sum / 2)
			break;
	}
	return fit->value[b];
}
