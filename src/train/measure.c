/* SPDX-License-Identifier: BSD-2-Clause */
#include "train/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "train/journal.h"

/* ---- levels of p' ---- */

static bool is_within(double difference)
{
	return difference >= log(0.9) - 1e-12 && difference <= log(1.1) + 1e-12;
}

void aqm_update_metrics_compute(struct aqm_update_metrics *metrics, const struct aqm_config *config, size_t rows,
                                const float *level, const float *next_level, const double *change)
{
	double lowest = aqm_update_level(0), squares = 0, sum = 0;
	size_t within = 0;

	for (size_t i = 0; i < rows; i++) {
		double predicted = aqm_level_as_log(config, (double)level[i] + (change ? change[i] : 0));
		double difference = fmin(fmax(predicted, lowest), 0) - aqm_level_as_log(config, (double)next_level[i]);

		squares += difference * difference;
		sum += fabs(difference);
		within += is_within(difference);
	}
	*metrics = (struct aqm_update_metrics){.rows = rows, .loss = (double)NAN};
	if (rows == 0)
		return;
	metrics->log_rmse = sqrt(squares / (double)rows);
	metrics->log_mae = sum / (double)rows;
	metrics->within = (double)within / (double)rows;
}

static double log_sum_exp(const float *x, size_t n)
{
	double highest = (double)x[0], sum = 0;

	for (size_t i = 1; i < n; i++)
		highest = fmax(highest, (double)x[i]);
	for (size_t i = 0; i < n; i++)
		sum += exp((double)x[i] - highest);
	return highest + log(sum);
}

static int measure_updates(struct aqm_update_metrics *metrics, const aqm_policy *policy, const struct aqm_rows *rows,
                           const float *outputs)
{
	const struct aqm_level_fit *fit = &aqm_policy_fit(policy)->levels;
	size_t width = (size_t)aqm_policy_outputs(policy);
	double *change = aqm_malloc_array(rows->rows, sizeof *change), loss = 0;

	if (!change)
		return AQM_ERUN;
	for (size_t i = 0; i < rows->rows; i++) {
		const float *row = outputs + i * width;
		double actual = (double)rows->next_level[i] - (double)rows->level[i];
		double miss = (double)row[0] - actual / fit->change_scale;

		change[i] = aqm_level_change(fit, row);
		loss += fit->bins ? log_sum_exp(row, width) - (double)row[aqm_level_bin(fit, actual)] : miss * miss;
	}
	aqm_update_metrics_compute(metrics, aqm_policy_config(policy), rows->rows, rows->level, rows->next_level, change);
	metrics->loss = loss / (double)rows->rows;
	free(change);
	return AQM_OK;
}

/* ---- both ---- */

int aqm_measure_policy(struct aqm_measure *measure, const aqm_policy *policy, const struct aqm_rows *rows,
                       const float *outputs)
{
	*measure = (struct aqm_measure){.control = aqm_policy_config(policy)->control};
	if (measure->control == AQM_CONTROL_UPDATE)
		return measure_updates(&measure->update, policy, rows, outputs);
	aqm_metrics_compute(&measure->packet, rows->rows, rows->actions, outputs, NULL);
	return AQM_OK;
}

enum aqm_action aqm_commonest_action(const struct aqm_fit *fit)
{
	int best = 0;

	for (int a = 1; a < AQM_ACTIONS; a++)
		best = fit->class_share[a] > fit->class_share[best] ? a : best;
	return (enum aqm_action)best;
}

int aqm_measure_trivial(struct aqm_measure *measure, const struct aqm_config *config, const struct aqm_fit *fit,
                        const struct aqm_rows *rows)
{
	*measure = (struct aqm_measure){.control = config->control};
	if (config->control == AQM_CONTROL_UPDATE) {
		aqm_update_metrics_compute(&measure->update, config, rows->rows, rows->level, rows->next_level, NULL);
		return AQM_OK;
	}
	uint8_t *predictions = aqm_malloc_array(rows->rows, sizeof *predictions);

	if (!predictions)
		return AQM_ERUN;
	memset(predictions, (int)aqm_commonest_action(fit), rows->rows);
	aqm_metrics_compute(&measure->packet, rows->rows, rows->actions, NULL, predictions);
	free(predictions);
	return AQM_OK;
}

double aqm_measure_loss(const struct aqm_measure *measure)
{
	return measure->control == AQM_CONTROL_UPDATE ? measure->update.loss : measure->packet.loss;
}

static enum aqm_best resolve(enum aqm_control control, enum aqm_best best)
{
	if (best != AQM_BEST_AUTO && best != AQM_BEST_LAST)
		return best;
	return control == AQM_CONTROL_UPDATE ? AQM_BEST_LOSS : AQM_BEST_MACRO_F1;
}

const char *aqm_measure_best_word(enum aqm_control control, enum aqm_best best)
{
	return aqm_config_word("train.best", (int)resolve(control, best));
}

double aqm_measure_score(const struct aqm_measure *measure, enum aqm_best best)
{
	switch (resolve(measure->control, best)) {
	case AQM_BEST_LOSS:
		return -aqm_measure_loss(measure);
	case AQM_BEST_ACCURACY:
		return measure->packet.accuracy;
	case AQM_BEST_WITHIN:
		return measure->update.within;
	default:
		return measure->packet.macro_f1;
	}
}

/* ---- JSON ---- */

static json_t *update_json(const struct aqm_update_metrics *m)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:o}", "rows", (json_int_t)m->rows, "loss", aqm_json_number(m->loss), "log_rmse",
	                 aqm_json_number(m->log_rmse), "log_mae", aqm_json_number(m->log_mae), "within_10_percent",
	                 aqm_json_number(m->within));
}

json_t *aqm_measure_json(const struct aqm_measure *measure)
{
	return measure->control == AQM_CONTROL_UPDATE ? update_json(&measure->update) : aqm_metrics_json(&measure->packet);
}

json_t *aqm_measure_trivial_json(const struct aqm_measure *measure)
{
	const struct aqm_update_metrics *update = &measure->update;

	if (measure->control == AQM_CONTROL_UPDATE)
		return json_pack("{s:{s:o, s:o, s:o}}", "persistence", "log_rmse", aqm_json_number(update->log_rmse), "log_mae",
		                 aqm_json_number(update->log_mae), "within_10_percent", aqm_json_number(update->within));
	return json_pack("{s:{s:o, s:o}}", "majority", "accuracy", aqm_json_number(measure->packet.accuracy), "macro_f1",
	                 aqm_json_number(measure->packet.macro_f1));
}

/* ---- one step ---- */

bool aqm_measure_hit(const aqm_policy *policy, const struct aqm_batch *batch, int64_t at, const float *outputs)
{
	const struct aqm_level_fit *fit = &aqm_policy_fit(policy)->levels;
	int best = 0;

	if (aqm_policy_config(policy)->control == AQM_CONTROL_UPDATE) {
		double next = (double)batch->action_values[at] * fit->scale + fit->mean;
		double predicted = next - (double)batch->targets[at] * fit->change_scale + aqm_level_change(fit, outputs);

		return is_within(aqm_level_as_log(aqm_policy_config(policy), predicted) -
		                 aqm_level_as_log(aqm_policy_config(policy), next));
	}
	for (int a = 1; a < AQM_ACTIONS; a++)
		best = outputs[a] > outputs[best] ? a : best;
	return best == batch->labels[at];
}
