/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The result of an evaluation, for people and for programs.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/eval.h"
#include "train/journal.h"
#include "train/measure.h"

enum { DIGITS = 9 };

/* ---- JSON ---- */

static json_t *baseline_json(const struct aqm_metrics *metrics)
{
	json_t *object = aqm_metrics_json(metrics);

	if (object) {
		json_object_del(object, "rows");
		json_object_del(object, "loss");
	}
	return object;
}

/* What was done, and to what. */
static void add_origin(json_t *object, const struct aqm_eval_result *r)
{
	if (!r->options)
		return;
	json_object_set_new(object, "kind", json_string("offline"));
	json_object_set_new(object, "version", json_string(AQM_VERSION));
	json_object_set_new(object, "command", aqm_json_bytes(r->options->command ? r->options->command : ""));
	json_object_set_new(object, "policy", json_string(r->options->last ? "last" : "best"));
	json_object_set_new(
		object, "pool",
		json_pack("{s:o, s:s}", "path", aqm_json_bytes(r->options->pool_path), "sha256", r->pool_digest));
}

static const char *arithmetic_of(const struct aqm_eval_result *r)
{
	return aqm_config_word("decide.arithmetic", (int)r->options->arithmetic);
}

static void add_condition(json_t *object, const struct aqm_eval_result *r)
{
	json_object_set_new(object, "returns", json_string(isfinite(r->target_return) ? "target" : "logged"));
	json_object_set_new(object, "target_return", aqm_json_number(r->target_return));
	if (r->options && r->options->decisions)
		json_object_set_new(object, "decisions", json_string(arithmetic_of(r)));
	if (*r->note)
		json_object_set_new(object, "note", json_string(r->note));
	json_object_set_new(object, "trained_on", r->trained_on < 0 ? json_null() : json_boolean(r->trained_on));
	add_origin(object, r);
}

/* Of control: update. */
static json_t *updates_json(const struct aqm_eval_result *r)
{
	struct aqm_measure policy = {.control = r->control, .update = r->update};
	struct aqm_measure persistence = {.control = r->control, .update = r->persistence};
	json_t *object = aqm_measure_json(&policy), *beats = json_object();

	json_object_set_new(object, "baselines", aqm_measure_trivial_json(&persistence));
	json_object_set_new(beats, "persistence", json_boolean(r->update.log_rmse < r->persistence.log_rmse));
	json_object_set_new(object, "beats", beats); /* by the error of log p' */
	add_condition(object, r);
	return object;
}

static json_t *result_json(const struct aqm_eval_result *r)
{
	if (r->control == AQM_CONTROL_UPDATE)
		return updates_json(r);
	json_t *object = aqm_metrics_json(&r->policy), *baselines = json_object(), *beats = json_object();
	json_t *majority = baseline_json(&r->majority), *tree = r->tree_available ? baseline_json(&r->tree) : json_null();

	json_object_set_new(majority, "action", json_string(aqm_action_names[r->commonest]));
	json_object_set_new(baselines, "majority", majority);
	json_object_set_new(baselines, "tree", tree);
	json_object_set_new(object, "baselines", baselines);
	json_object_set_new(beats, "majority", json_boolean(r->policy.macro_f1 > r->majority.macro_f1));
	json_object_set_new(beats, "tree",
	                    r->tree_available ? json_boolean(r->policy.macro_f1 > r->tree.macro_f1) : json_null());
	json_object_set_new(object, "beats", beats); /* by macro-F1 */
	add_condition(object, r);
	return object;
}

/* ---- text ---- */

static void print_number(FILE *out, double value, bool known)
{
	if (known && isfinite(value))
		fprintf(out, " %12.4f", value);
	else
		fprintf(out, " %12s", "-");
}

static void print_measure(FILE *out, const char *name, double policy, double majority, double tree, bool tree_known)
{
	fprintf(out, "%-18s", name);
	print_number(out, policy, true);
	print_number(out, majority, true);
	print_number(out, tree, tree_known);
	fputc('\n', out);
}

static void print_measures(FILE *out, const struct aqm_eval_result *r)
{
	const struct aqm_metrics *p = &r->policy, *m = &r->majority, *t = &r->tree;

	fprintf(out, "%-18s %12s %12s %12s\n", "", "policy", "majority", "tree");
	print_measure(out, "accuracy", p->accuracy, m->accuracy, t->accuracy, r->tree_available);
	print_measure(out, "macro-F1", p->macro_f1, m->macro_f1, t->macro_f1, r->tree_available);
	print_measure(out, "balanced accuracy", p->balanced_accuracy, m->balanced_accuracy, t->balanced_accuracy,
	              r->tree_available);
	print_measure(out, "loss", p->loss, (double)NAN, (double)NAN, false);
}

static void print_classes(FILE *out, const struct aqm_metrics *m)
{
	fprintf(out, "\n%-18s %12s %12s %12s %12s\n", "policy, by class", "precision", "recall", "F1", "rows");
	for (int c = 0; c < AQM_ACTIONS; c++)
		fprintf(out, "%-18s %12.4f %12.4f %12.4f %12zu\n", aqm_action_names[c], m->precision[c], m->recall[c], m->f1[c],
		        m->support[c]);
}

static void print_confusion(FILE *out, const struct aqm_metrics *m)
{
	fprintf(out, "\n%-18s", "label \\ predicted");
	for (int c = 0; c < AQM_ACTIONS; c++)
		fprintf(out, " %12s", aqm_action_names[c]);
	fputc('\n', out);
	for (int label = 0; label < AQM_ACTIONS; label++) {
		fprintf(out, "%-18s", aqm_action_names[label]);
		for (int predicted = 0; predicted < AQM_ACTIONS; predicted++)
			fprintf(out, " %12zu", m->confusion[label][predicted]);
		fputc('\n', out);
	}
}

/* Accuracy alone says little where one action is common, so macro-F1 decides; a policy that loses by either is told
 * so. */
static void print_verdict(FILE *out, const struct aqm_metrics *policy, const struct aqm_metrics *other,
                          const char *name)
{
	if (policy->macro_f1 <= other->macro_f1)
		fprintf(out, "The policy is no better than %s: macro-F1 %.4f against %.4f.\n", name, policy->macro_f1,
		        other->macro_f1);
	else if (policy->accuracy < other->accuracy)
		fprintf(out, "The policy beats %s by macro-F1, but not by accuracy.\n", name);
	else
		fprintf(out, "The policy beats %s by macro-F1 and is no less accurate.\n", name);
}

static void print_condition(FILE *out, const struct aqm_eval_result *r)
{
	if (r->options && r->options->decisions)
		fprintf(out, "decided one after the other in %s, ", arithmetic_of(r));
	if (isfinite(r->target_return))
		fprintf(out, "aiming at a return of %g\n", r->target_return);
	else
		fputs("conditioned on their logged returns\n", out);
}

static void print_notes(FILE *out, const struct aqm_eval_result *r)
{
	if (r->trained_on > 0)
		fputs("Note: these rows, or some of them, were trained on; the figures say nothing about others.\n", out);
	if (*r->note)
		fprintf(out, "Note: %s.\n", r->note);
}

/* Neither figure alone decides: most intervals change p' a little, and a few a lot. */
static void print_updates(FILE *out, const struct aqm_eval_result *r)
{
	const struct aqm_update_metrics *p = &r->update, *trivial = &r->persistence;
	bool closer = p->log_rmse<trivial->log_rmse, oftener = p->within> trivial->within;

	fprintf(out, "%zu update intervals, ", p->rows);
	print_condition(out, r);
	fprintf(out,
	        "persistence: p' stays as it is; errors are of log p', natural, p' no lower than 1e-6\n\n%-24s %12s %12s\n",
	        "", "policy", "persistence");
	fprintf(out, "%-24s %12.4f %12.4f\n", "root mean square error", p->log_rmse, trivial->log_rmse);
	fprintf(out, "%-24s %12.4f %12.4f\n", "mean absolute error", p->log_mae, trivial->log_mae);
	fprintf(out, "%-24s %12.4f %12.4f\n", "share within 10 %", p->within, trivial->within);
	fprintf(out, "%-24s %12.4f %12s\n\n", "loss", p->loss, "-");
	fprintf(out, "The policy %s persistence by the error of log p', and %s by the share within 10 %%.\n",
	        closer ? "beats" : "does not beat", oftener ? "beats it" : "does not");
	print_notes(out, r);
}

static void print_result(FILE *out, const struct aqm_eval_result *r)
{
	char majority[64];

	fprintf(out, "%zu rows, ", r->policy.rows);
	print_condition(out, r);
	fprintf(out, "majority: always %s; tree: a decision tree of depth 8; both from the training rows\n\n",
	        aqm_action_names[r->commonest]);
	print_measures(out, r);
	print_classes(out, &r->policy);
	print_confusion(out, &r->policy);
	fputc('\n', out);
	snprintf(majority, sizeof majority, "the majority class (%s)", aqm_action_names[r->commonest]);
	print_verdict(out, &r->policy, &r->majority, majority);
	if (r->tree_available)
		print_verdict(out, &r->policy, &r->tree, "the decision tree");
	print_notes(out, r);
}

int aqm_eval_format(const struct aqm_eval_result *result, bool json, char **text)
{
	size_t bytes;

	*text = NULL;
	FILE *out = open_memstream(text, &bytes);
	if (!out)
		return aqm_error_errno(AQM_ERUN, "cannot format the evaluation");
	bool good = true;
	if (json) {
		json_t *object = result_json(result);

		good = object && json_dumpf(object, out, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS)) == 0 &&
		       fputc('\n', out) != EOF;
		json_decref(object);
	} else if (result->control == AQM_CONTROL_UPDATE) {
		print_updates(out, result);
	} else {
		print_result(out, result);
	}
	good = fclose(out) == 0 && good;
	if (good)
		return AQM_OK;
	free(*text);
	*text = NULL;
	return aqm_error_set(AQM_ERUN, "no memory to format the evaluation");
}
