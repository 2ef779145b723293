/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The verdict on the held-out rows: what needs no learning first, and only then ours. Figures come from evaluations
 * (eval*.json), and where a run has none, from the held-out lines of its training.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/pool.h"
#include "base/size.h"
#include "report/html.h"
#include "report/page.h"

/* Something that was scored on rows. */
struct candidate {
	size_t run;         /* its place in the page's runs */
	const json_t *json; /* keys of `eval --json` */
	const char *name;   /* of the document; NULL: the training's own line */
	const char *which;  /* what the training's line is */
	bool update;        /* control: update */
};

struct candidates {
	struct candidate *items;
	size_t count;
};

static int add_candidate(struct candidates *list, struct candidate candidate)
{
	struct candidate *grown = aqm_realloc_array(list->items, list->count + 1, sizeof *grown);

	if (!grown)
		return AQM_ERUN;
	list->items = grown;
	candidate.update = isfinite(aqm_json_at(candidate.json, "log_rmse"));
	grown[list->count++] = candidate;
	return AQM_OK;
}

static bool is_scored(const struct aqm_document *document)
{
	return strcmp(document->kind, "offline") == 0 &&
	       (isfinite(aqm_json_at(document->json, "macro_f1")) || isfinite(aqm_json_at(document->json, "log_rmse")));
}

static int collect(const struct aqm_page *page, struct candidates *list)
{
	int code = AQM_OK;

	for (size_t i = 0; i < page->run_count && code == AQM_OK; i++) {
		const struct aqm_report_run *run = &page->runs[i];
		size_t before = list->count;

		for (size_t k = 0; k < run->document_count && code == AQM_OK; k++)
			if (is_scored(&run->documents[k]))
				code = add_candidate(
					list, (struct candidate){.run = i, .json = run->documents[k].json, .name = run->documents[k].name});
		if (list->count > before || code != AQM_OK || !run->history.last)
			continue;
		code = add_candidate(list, (struct candidate){.run = i, .json = run->history.last, .which = "last epoch"});
		if (code == AQM_OK && run->history.best != run->history.last)
			code = add_candidate(
				list,
				(struct candidate){.run = i, .json = run->history.best, .which = "best epoch, picked on these rows"});
	}
	return code;
}

/* Were they scored on the same rows, beside the same baselines? */
static bool same_rows(const struct candidate *a, const struct candidate *b)
{
	static const char *const keys[] = {"rows", "baselines/majority/accuracy", "baselines/majority/macro_f1",
	                                   "baselines/persistence/log_rmse"};

	if (a->update != b->update)
		return false;
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		double x = aqm_json_at(a->json, keys[i]), y = aqm_json_at(b->json, keys[i]);

		if (isfinite(x) != isfinite(y) || fabs(x - y) > 1e-6 * fabs(x))
			return false;
	}
	return true;
}

/* ---- rows ---- */

static void put_name(const struct aqm_page *page, const struct candidate *c)
{
	FILE *out = page->out;
	const char *policy = aqm_json_text(c->json, "policy"), *returns = aqm_json_text(c->json, "returns");
	double target = aqm_json_at(c->json, "target_return");

	fputs("<th scope=\"row\">", out);
	aqm_html_text(out, page->runs[c->run].label);
	fputs(" <span class=\"dim\">", out);
	if (c->which)
		aqm_html_text(out, c->which);
	else
		aqm_html_text(out, strcmp(policy, "last") == 0   ? "last step"
		                   : strcmp(policy, "best") == 0 ? "best epoch"
		                                                 : c->name);
	if (strcmp(returns, "target") == 0)
		aqm_html_textf(out, ", aiming at %.6g", target);
	else if (*returns)
		fputs(", on logged returns", out);
	fputs("</span></th>", out);
}

/* Scored on rows that it was trained on: that is no verdict on anything else. */
static bool is_of_training(const json_t *json)
{
	return json_is_true(aqm_json_find(json, "trained_on"));
}

/* "beats the majority class and the tree": by macro-F1; a loss of accuracy is said. */
static void put_packet_verdict(FILE *out, const json_t *json)
{
	double f1 = aqm_json_at(json, "macro_f1"), accuracy = aqm_json_at(json, "accuracy");
	double majority = aqm_json_at(json, "baselines/majority/macro_f1"),
		   tree = aqm_json_at(json, "baselines/tree/macro_f1");
	double least = fmax(aqm_json_at(json, "baselines/majority/accuracy"),
	                    isfinite(tree) ? aqm_json_at(json, "baselines/tree/accuracy") : -INFINITY);

	if (is_of_training(json))
		fputs("<td class=\"dim\">none: trained on these rows</td>", out);
	else if (f1 <= majority)
		fputs("<td class=\"bad\">no better than the majority class</td>", out);
	else if (!isfinite(tree))
		fputs("<td>beats the majority class; no tree measured</td>", out);
	else if (f1 <= tree)
		fputs("<td class=\"bad\">no better than the tree</td>", out);
	else if (accuracy < least)
		fputs("<td>beats both by macro-F1, not by accuracy</td>", out);
	else
		fputs("<td class=\"good\">beats both</td>", out);
}

static void put_measures(FILE *out, const json_t *json, const char *prefix)
{
	static const char *const keys[] = {"accuracy",          "macro_f1",          "balanced_accuracy",
	                                   "per_class/drop/f1", "per_class/mark/f1", "loss"};
	char path[96];

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		snprintf(path, sizeof path, "%s%s", prefix, keys[i]);
		aqm_html_cell(out, aqm_json_at(json, path), 4);
	}
}

static void put_packet_rows(const struct aqm_page *page, const struct candidates *list, size_t first, const bool *shown)
{
	const json_t *json = list->items[first].json;
	const char *action = aqm_json_text(json, "baselines/majority/action");
	FILE *out = page->out;

	aqm_html_table_begin(out, "Verdict on held-out rows", "verdict num");
	aqm_html_header(out, (const char *const[]){"decides", "accuracy", "macro-F1", "balanced accuracy", "F1 of drop",
	                                           "F1 of mark", "loss", "verdict", NULL});
	fputs("<tbody>\n<tr class=\"base\"><th scope=\"row\">majority class", out);
	if (*action) {
		fputs(" <span class=\"dim\">always ", out);
		aqm_html_text(out, action);
		fputs("</span>", out);
	}
	fputs("</th>", out);
	put_measures(out, json, "baselines/majority/");
	fputs("<td>trivial</td></tr>\n", out);
	const struct candidate *grown = NULL; /* any with a tree */
	for (size_t i = first; i < list->count && !grown; i++)
		if (shown[i] && json_is_object(aqm_json_find(list->items[i].json, "baselines/tree")))
			grown = &list->items[i];
	fputs("<tr class=\"base\"><th scope=\"row\">decision tree <span class=\"dim\">depth 8, no past</span></th>", out);
	if (grown) {
		put_measures(out, grown->json, "baselines/tree/");
		fputs("<td>trivial</td></tr>\n", out);
	} else {
		fputs("<td colspan=\"7\" class=\"dim\">not measured: <code>aqmtrain eval -r ", out);
		aqm_html_text(out, aqm_report_run_folder(&page->runs[list->items[first].run]));
		fputs(" --pool POOL.h5 -o RUN/eval.json</code> does</td></tr>\n", out);
	}
	for (size_t i = first; i < list->count; i++)
		if (shown[i]) {
			fputs("<tr>", out);
			put_name(page, &list->items[i]);
			put_measures(out, list->items[i].json, "");
			put_packet_verdict(out, list->items[i].json);
			fputs("</tr>\n", out);
		}
	fputs("</tbody>\n", out);
	aqm_html_table_end(out);
}

/* A hundredth is noise on a few hundred intervals. */
static bool clearly_less(double error, double than)
{
	return error < 0.99 * than;
}

static void put_update_verdict(FILE *out, const json_t *json, double persistence)
{
	double error = aqm_json_at(json, "log_rmse");

	if (is_of_training(json))
		fputs("<td class=\"dim\">none: trained on these rows</td>", out);
	else if (clearly_less(error, persistence))
		fputs("<td class=\"good\">beats persistence</td>", out);
	else if (error < persistence)
		fputs("<td>hardly better than persistence</td>", out);
	else
		fputs("<td class=\"bad\">no better than persistence</td>", out);
}

static void put_update_rows(const struct aqm_page *page, const struct candidates *list, size_t first, const bool *shown)
{
	static const char *const keys[] = {"log_rmse", "log_mae", "within_10_percent"};
	const json_t *persistence = aqm_json_find(list->items[first].json, "baselines/persistence");
	FILE *out = page->out;

	aqm_html_table_begin(out, "Verdict on held-out update intervals", "verdict num");
	aqm_html_header(out, (const char *const[]){"sets p'", "error of log p' (rms)", "mean absolute", "within 10 %",
	                                           "loss", "verdict", NULL});
	fputs("<tbody>\n<tr class=\"base\"><th scope=\"row\">persistence <span class=\"dim\">p' stays as it is</span></th>",
	      out);
	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
		aqm_html_cell(out, aqm_json_at(persistence, keys[k]), 4);
	fputs("<td class=\"n\">&#8211;</td><td>trivial</td></tr>\n", out);
	for (size_t i = first; i < list->count; i++) {
		const json_t *json = list->items[i].json;

		if (!shown[i])
			continue;
		fputs("<tr>", out);
		put_name(page, &list->items[i]);
		for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
			aqm_html_cell(out, aqm_json_at(json, keys[k]), 4);
		aqm_html_cell(out, aqm_json_at(json, "loss"), 4);
		put_update_verdict(out, json, aqm_json_at(persistence, "log_rmse"));
		fputs("</tr>\n", out);
	}
	fputs("</tbody>\n", out);
	aqm_html_table_end(out);
}

static void put_group(const struct aqm_page *page, const struct candidates *list, size_t first, const bool *shown)
{
	const struct candidate *c = &list->items[first];
	const char *pool = aqm_json_text(c->json, "pool/path"), *digest = aqm_json_text(c->json, "pool/sha256");
	FILE *out = page->out;

	fputs("<h3>", out);
	aqm_html_textf(out,
	               c->update                 ? "%.0f update intervals"
	               : is_of_training(c->json) ? "%.0f rows"
	                                         : "%.0f held-out rows",
	               aqm_json_at(c->json, "rows"));
	fputs("</h3>\n", out);
	if (c->update)
		put_update_rows(page, list, first, shown);
	else
		put_packet_rows(page, list, first, shown);
	fputs("<details><summary>Where this comes from</summary>\n<ul>", out);
	if (*pool) {
		fputs("<li>", out);
		aqm_html_textf(out, "rows: %s, SHA-256 %s", pool, digest);
		fputs("</li>\n", out);
	}
	for (size_t i = first; i < list->count; i++) {
		const char *command = aqm_json_text(list->items[i].json, "command");

		if (!shown[i])
			continue;
		fputs("<li>", out);
		aqm_html_textf(out, "%s/%s", aqm_report_run_folder(&page->runs[list->items[i].run]),
		               list->items[i].name ? list->items[i].name : "metrics.jsonl");
		if (*command) {
			fputs(": <code>", out);
			aqm_html_text(out, command);
			fputs("</code>", out);
		}
		fputs("</li>\n", out);
	}
	fputs("</ul>\n</details>\n", out);
}

/* ---- cards ---- */

/* How little a candidate says of its run. */
static int doubt(const struct candidate *c)
{
	return 4 * is_of_training(c->json) + 2 * (strcmp(aqm_json_text(c->json, "returns"), "target") == 0) +
	       (strcmp(aqm_json_text(c->json, "policy"), "best") == 0);
}

/* The candidate that stands for a run: held out, on logged returns, the last step before the best (which was picked).
 */
static const struct candidate *main_candidate(const struct candidates *list, size_t run)
{
	const struct candidate *found = NULL;

	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].run == run && (!found || doubt(&list->items[i]) < doubt(found)))
			found = &list->items[i];
	return found;
}

static void put_card(const struct aqm_page *page, const struct candidate *c)
{
	const json_t *json = c->json;
	FILE *out = page->out;
	double ours = aqm_json_at(json, c->update ? "log_rmse" : "macro_f1");
	double trivial = aqm_json_at(json, c->update ? "baselines/persistence/log_rmse" : "baselines/majority/macro_f1");
	double tree = aqm_json_at(json, "baselines/tree/macro_f1");
	bool good = c->update ? clearly_less(ours, trivial) : ours > trivial && (!isfinite(tree) || ours > tree);
	bool known = is_of_training(json);

	fprintf(out, "<li class=\"%s\"><b>", known ? "" : good ? "good" : "bad");
	aqm_html_text(out, page->runs[c->run].label);
	fputs("</b><span class=\"big\">", out);
	aqm_html_number(out, ours, 3);
	fputs(c->update ? "</span> error of log p'" : "</span> macro-F1", out);
	fputs(known ? ", on its own training rows<br /><small>" : ", held out<br /><small>", out);
	fputs(c->update ? "persistence " : "majority class ", out);
	aqm_html_number(out, trivial, 3);
	if (isfinite(tree)) {
		fputs(", decision tree ", out);
		aqm_html_number(out, tree, 3);
	}
	fputs(known ? "</small></li>\n" : good ? ": beaten</small></li>\n" : ": not beaten</small></li>\n", out);
}

int aqm_page_verdict(struct aqm_page *page)
{
	struct candidates list = {0};
	int code = collect(page, &list);
	bool *done = aqm_calloc_array(list.count, sizeof *done), *shown = aqm_calloc_array(list.count, sizeof *shown);

	if (!done || !shown)
		code = AQM_ERUN;
	if (code == AQM_OK && list.count) {
		fputs("<ul class=\"verdicts\">\n", page->out);
		for (size_t i = 0; i < page->run_count; i++) {
			const struct candidate *c = main_candidate(&list, i);

			if (c)
				put_card(page, c);
		}
		fputs("</ul>\n", page->out);
	}
	for (size_t i = 0; code == AQM_OK && i < list.count; i++) {
		if (done[i])
			continue;
		for (size_t k = 0; k < list.count; k++) {
			shown[k] = k >= i && !done[k] && same_rows(&list.items[i], &list.items[k]);
			done[k] = done[k] || shown[k];
		}
		put_group(page, &list, i, shown);
	}
	if (code == AQM_OK && !list.count)
		fputs("<p>Nothing was measured on held-out rows.</p>\n", page->out);
	free(done);
	free(shown);
	free(list.items);
	return code;
}

/* ---- confusion ---- */

static void put_matrix(const struct aqm_page *page, const struct candidate *c)
{
	FILE *out = page->out;
	char path[128];

	fputs("<div><h3>", out);
	aqm_html_text(out, page->runs[c->run].label);
	fputs("</h3>\n", out);
	snprintf(path, sizeof path, "Confusion matrix of run %zu: rows are what was logged, columns what the policy chose",
	         c->run + 1);
	aqm_html_table_begin(out, path, "heat");
	fputs("<thead><tr><th scope=\"col\">logged \\ chosen</th>", out);
	for (int k = 0; k < AQM_ACTIONS; k++)
		fprintf(out, "<th scope=\"col\" class=\"n\">%s</th>", aqm_action_names[k]);
	fputs("</tr></thead>\n<tbody>\n", out);
	for (int label = 0; label < AQM_ACTIONS; label++) {
		double counts[AQM_ACTIONS], sum = 0;

		fprintf(out, "<tr><th scope=\"row\">%s</th>", aqm_action_names[label]);
		for (int k = 0; k < AQM_ACTIONS; k++) {
			snprintf(path, sizeof path, "confusion/%d/%d", label, k);
			counts[k] = aqm_json_at(c->json, path);
			sum += counts[k];
		}
		for (int k = 0; k < AQM_ACTIONS; k++) {
			double share = sum > 0 ? counts[k] / sum : 0;

			fprintf(out, "<td style=\"--p:%.3f\">", isfinite(share) && share >= 0 && share <= 1 ? share : 0);
			aqm_html_number(out, counts[k], 0);
			if (sum > 0)
				fprintf(out, "<br /><span class=\"dim\">%.1f %%</span>", 100 * share);
			fputs("</td>", out);
		}
		fputs("</tr>\n", out);
	}
	fputs("</tbody>\n", out);
	aqm_html_table_end(out);
	fputs("<p class=\"dim\">", out);
	aqm_html_textf(out, "%s/%s", aqm_report_run_folder(&page->runs[c->run]), c->name ? c->name : "metrics.jsonl");
	fputs("</p></div>\n", out);
}

int aqm_page_confusion(struct aqm_page *page)
{
	struct candidates list = {0};
	int code = collect(page, &list);
	bool any = false;

	for (size_t i = 0; i < page->run_count && code == AQM_OK; i++) {
		const struct candidate *c = main_candidate(&list, i);

		if (!c || !json_is_array(aqm_json_find(c->json, "confusion")))
			continue;
		if (!any)
			fputs("<p>Rows of the matrix are what was logged, columns what the policy chose; shares are of the "
			      "row.</p>\n<div class=\"matrices\">\n",
			      page->out);
		any = true;
		put_matrix(page, c);
	}
	if (any)
		fputs("</div>\n", page->out);
	free(list.items);
	return code;
}
