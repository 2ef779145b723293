/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What distilling came to, as text or JSON.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/distill.h"
#include "train/journal.h"

static void print_number(FILE *out, const char *format, double x)
{
	if (isfinite(x))
		fprintf(out, format, x);
	else
		fprintf(out, "%11s", "-");
}

static void print_line(FILE *out, const struct aqm_distill_result *r, const char *name, const struct aqm_fidelity *f, double bytes,
                       double ns, double utility)
{
	fprintf(out, "%-30s%11.4f", name, f->fidelity);
	if (r->control == AQM_CONTROL_UPDATE) {
		fprintf(out, "%11.4f", f->log_rmse);
	} else {
		fprintf(out, "%11.4f%11.4f", f->metrics.macro_f1, f->metrics.accuracy);
	}
	print_number(out, "%11.0f", bytes);
	print_number(out, "%11.1f", ns);
	print_number(out, "%11.2f", utility);
	fputc('\n', out);
}

static void print_text(FILE *out, const struct aqm_distill_result *r, const double *ns)
{
	bool updates = r->control == AQM_CONTROL_UPDATE;

	fprintf(out, "learned from %llu rows", (unsigned long long)r->rows);
	if (r->count == 1)
		fprintf(out, " in %.1f s", r->students[0].seconds);
	fprintf(out, ", the teacher's answers %s in %.1f s; measured on %zu %s rows\n\n", r->answers_known ? "read" : "made", r->teacher_seconds,
	        r->teacher.rows, r->held_out ? "held-out" : "training");
	fprintf(out, "%-30s%11s%11s%s%11s%11s%11s\n", "", "fidelity", updates ? "log RMSE" : "macro-F1", updates ? "" : "   accuracy", "bytes", "ns",
	        "utility");
	print_line(out, r, "teacher", &r->teacher, (double)NAN, (double)NAN, (double)NAN);
	print_line(out, r, updates ? "p' unchanged" : "always the commonest", &r->trivial, (double)NAN, (double)NAN, (double)NAN);
	if (r->raw_tree.rows) {
		char name[64];

		snprintf(name, sizeof name, "tree on labels, %zu nodes", r->raw_tree_nodes);
		print_line(out, r, name, &r->raw_tree, (double)NAN, (double)NAN, (double)NAN);
	}
	for (size_t i = 0; i < r->count; i++) {
		const struct aqm_distilled *s = &r->students[i];

		print_line(out, r, s->name, r->held_out ? &s->held_out : &s->train, (double)s->bytes, ns ? ns[i] : (double)NAN, s->utility);
	}
	if (updates)
		fputs("\nfidelity: share of p' within 10 % of the teacher's\n", out);
}

static json_t *fidelity_json(const struct aqm_distill_result *r, const struct aqm_fidelity *f)
{
	if (f->rows == 0)
		return json_null();
	json_t *object = json_pack("{s:I, s:o}", "rows", (json_int_t)f->rows, "fidelity", aqm_json_number(f->fidelity));
	if (object && r->control == AQM_CONTROL_UPDATE)
		json_object_set_new(object, "log_rmse", aqm_json_number(f->log_rmse));
	else if (object)
		json_object_set_new(object, "metrics", aqm_metrics_json(&f->metrics));
	return object;
}

static json_t *result_json(const struct aqm_distill_result *r, const double *ns)
{
	json_t *students = json_array();

	for (size_t i = 0; i < r->count; i++) {
		const struct aqm_distilled *s = &r->students[i];

		json_array_append_new(students, json_pack("{s:s, s:I, s:o, s:o, s:o, s:i, s:o, s:o}", "name", s->name, "bytes", (json_int_t)s->bytes, "ns",
		                                          aqm_json_number(ns ? ns[i] : (double)NAN), "utility", aqm_json_number(s->utility),
		                                          "seconds", aqm_json_number(s->seconds), "ranks", s->ranks, "train", fidelity_json(r, &s->train), "held_out",
		                                          fidelity_json(r, &s->held_out)));
	}
	return json_pack("{s:s, s:s, s:I, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "kind", "distill", "version", AQM_VERSION, "rows",
	                 (json_int_t)r->rows, "held_out", r->held_out, "answers_known", r->answers_known, "teacher_seconds",
	                 aqm_json_number(r->teacher_seconds), "seconds", aqm_json_number(r->seconds), "teacher", fidelity_json(r, &r->teacher),
	                 r->control == AQM_CONTROL_UPDATE ? "persistence" : "majority", fidelity_json(r, &r->trivial), "raw_tree",
	                 fidelity_json(r, &r->raw_tree), "students", students);
}

int aqm_distill_format(const struct aqm_distill_result *result, const double *nanoseconds, bool json, char **text)
{
	size_t bytes;

	*text = NULL;
	if (json) {
		json_t *object = result_json(result, nanoseconds);

		*text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
		json_decref(object);
		return *text ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write JSON: no memory");
	}
	FILE *out = open_memstream(text, &bytes);
	if (!out)
		return aqm_error_set(AQM_ERUN, "no memory");
	print_text(out, result, nanoseconds);
	return fclose(out) == 0 ? AQM_OK : aqm_error_set(AQM_ERUN, "no memory");
}
