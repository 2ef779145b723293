/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What was run: a column a run; where runs differ, the row says so.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "config/option.h"
#include "report/html.h"
#include "report/page.h"

/* ---- a table with a column a run ---- */

static void begin_table(const struct aqm_page *page, const char *label)
{
	FILE *out = page->out;

	aqm_html_table_begin(out, label, "inputs");
	fputs("<thead><tr><th scope=\"col\"></th>", out);
	for (size_t i = 0; i < page->run_count; i++) {
		fputs("<th scope=\"col\">", out);
		aqm_html_text(out, page->runs[i].label);
		fputs("</th>", out);
	}
	fputs("</tr></thead>\n<tbody>\n", out);
}

static void end_table(const struct aqm_page *page)
{
	fputs("</tbody>\n", page->out);
	aqm_html_table_end(page->out);
}

/* `compared`: a difference between the runs is marked, by colour and by a sign. Empty texts are unknown. */
static void put_row(const struct aqm_page *page, const char *name, char *const *texts, bool compared, bool code)
{
	FILE *out = page->out;
	bool differs = false;

	for (size_t i = 1; i < page->run_count; i++)
		differs = differs || strcmp(texts[i], texts[0]) != 0;
	fputs(compared && differs ? "<tr class=\"diff\"><th scope=\"row\">" : "<tr><th scope=\"row\">", out);
	aqm_html_text(out, name);
	fputs(compared && differs ? " <span title=\"the runs differ\">&#8800;</span></th>" : "</th>", out);
	for (size_t i = 0; i < page->run_count; i++) {
		fputs(code ? "<td><code>" : "<td>", out);
		aqm_html_text(out, *texts[i] ? texts[i] : "not recorded");
		fputs(code ? "</code></td>" : "</td>", out);
	}
	fputs("</tr>\n", out);
}

/* What a row says of a run; owned by the caller. */
typedef char *row_text(const struct aqm_report_run *run);

static int put_record_row(const struct aqm_page *page, const char *name, row_text *text, bool code)
{
	char *texts[AQM_REPORT_RUNS_MAX] = {NULL};
	bool good = true, any = false;

	for (size_t i = 0; i < page->run_count; i++) {
		texts[i] = text(&page->runs[i]);
		good = good && texts[i];
		any = any || (texts[i] && *texts[i]);
	}
	if (good && any)
		put_row(page, name, texts, true, code);
	for (size_t i = 0; i < page->run_count; i++)
		free(texts[i]);
	return good ? AQM_OK : AQM_ERUN;
}

/* ---- run.json ---- */

static char *whole_number(const json_t *json, const char *path)
{
	double value = aqm_json_at(json, path);

	return isfinite(value) ? aqm_strprintf("%.0f", value) : aqm_strdup("");
}

static char *megabytes(const json_t *json, const char *path)
{
	double value = aqm_json_at(json, path);

	return isfinite(value) ? aqm_strprintf("%.1f MB", value / 1e6) : aqm_strdup("");
}

static char *pool_of(const struct aqm_report_run *run, const char *side, const char *path)
{
	const json_t *pool = aqm_json_find(run->record, side);
	double rows = aqm_json_at(pool, "rows"), episodes = aqm_json_at(pool, "episodes");

	if (!json_is_object(pool))
		return aqm_strdup(path ? path : "");
	return aqm_strprintf("%s, %.0f rows in %.0f episode%s", aqm_json_text(pool, "path"), rows, episodes,
	                     episodes == 1 ? "" : "s");
}

static char *actions_of(const struct aqm_report_run *run, const char *side)
{
	const json_t *actions = aqm_json_find(aqm_json_find(run->record, side), "actions");
	double enqueue = aqm_json_at(actions, "enqueue"), drop = aqm_json_at(actions, "drop"),
		   mark = aqm_json_at(actions, "mark");
	double all = (enqueue + drop + mark) / 100;

	if (!isfinite(all) || all <= 0)
		return aqm_strdup("");
	return aqm_strprintf("enqueue %.0f (%.2f %%), drop %.0f (%.2f %%), mark %.0f (%.2f %%)", enqueue, enqueue / all,
	                     drop, drop / all, mark, mark / all);
}

static char *folder_text(const struct aqm_report_run *run)
{
	return aqm_strdup(aqm_report_run_folder(run));
}
static char *command_text(const struct aqm_report_run *run)
{
	return aqm_strprintf("aqmtrain train -c %s/config.yaml -o RUN", aqm_report_run_folder(run));
}
static char *version_text(const struct aqm_report_run *run)
{
	return aqm_strdup(aqm_json_text(run->record, "version"));
}
static char *state_text(const struct aqm_report_run *run)
{
	const json_t *finished = aqm_json_find(run->record, "finished");

	return aqm_strdup(!finished ? "" : json_is_true(finished) ? "finished" : "not finished");
}
static char *base_text(const struct aqm_report_run *run)
{
	const json_t *base = aqm_json_find(run->record, "base");

	if (!base)
		return aqm_strdup(run->configured && run->config.model.path ? run->config.model.path : "");
	return aqm_strprintf("%s (%s, %.4g million parameters)", aqm_json_text(base, "path"),
	                     aqm_json_text(base, "architecture"), aqm_json_at(base, "parameters") / 1e6);
}
static char *base_digest_text(const struct aqm_report_run *run)
{
	return aqm_strdup(aqm_json_text(run->record, "base/sha256"));
}
static char *train_text(const struct aqm_report_run *run)
{
	return pool_of(run, "train", run->config.pool.train);
}
static char *train_digest_text(const struct aqm_report_run *run)
{
	return aqm_strdup(aqm_json_text(run->record, "train/sha256"));
}
static char *train_actions_text(const struct aqm_report_run *run)
{
	return actions_of(run, "train");
}
static char *eval_text(const struct aqm_report_run *run)
{
	return pool_of(run, "eval", run->config.pool.eval);
}
static char *eval_digest_text(const struct aqm_report_run *run)
{
	return aqm_strdup(aqm_json_text(run->record, "eval/sha256"));
}
static char *eval_actions_text(const struct aqm_report_run *run)
{
	return actions_of(run, "eval");
}
static char *seed_text(const struct aqm_report_run *run)
{
	return run->configured ? aqm_strprintf("%llu", (unsigned long long)run->config.seed) : aqm_strdup("");
}
static char *trainable_text(const struct aqm_report_run *run)
{
	return whole_number(run->record, "trainable");
}
static char *machine_text(const struct aqm_report_run *run)
{
	if (!run->record)
		return aqm_strdup("");
	return aqm_strprintf("%s, %.0f threads", aqm_json_text(run->record, "device"), aqm_json_at(run->record, "threads"));
}
static char *memory_text(const struct aqm_report_run *run)
{
	return megabytes(run->record, "memory_peak_bytes");
}
static char *steps_text(const struct aqm_report_run *run)
{
	const struct aqm_history *h = &run->history;

	if (!h->step_count)
		return aqm_strdup("");
	return aqm_strprintf("%.0f, in %zu epochs", h->steps[h->step_count - 1].step, h->epoch_count);
}
static char *time_text(const struct aqm_report_run *run)
{
	const struct aqm_history *h = &run->history;
	double seconds = h->step_count ? h->steps[h->step_count - 1].elapsed : (double)NAN;

	if (h->epoch_count && !(seconds > h->epochs[h->epoch_count - 1].elapsed))
		seconds = h->epochs[h->epoch_count - 1].elapsed;
	return isfinite(seconds) ? aqm_strprintf("%.1f s", seconds) : aqm_strdup("");
}

static const struct {
	const char *name;
	row_text *text;
	bool code;
} record_rows[] = {
	{"folder", folder_text, true},
	{"the same again", command_text, true},
	{"program", version_text, false},
	{"training", state_text, false},
	{"base model", base_text, false},
	{"its SHA-256", base_digest_text, true},
	{"training pool", train_text, false},
	{"its SHA-256", train_digest_text, true},
	{"its actions", train_actions_text, false},
	{"held-out pool", eval_text, false},
	{"its SHA-256", eval_digest_text, true},
	{"its actions", eval_actions_text, false},
	{"seed", seed_text, false},
	{"trainable parameters", trainable_text, false},
	{"machine", machine_text, false},
	{"peak memory", memory_text, false},
	{"steps", steps_text, false},
	{"training time", time_text, false},
};

/* ---- config.yaml ---- */

static char *option_text(const struct aqm_option *option, const struct aqm_config *config)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	aqm_option_print(option, config, out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* `all`: also what is as it is by default. */
static int put_option(const struct aqm_page *page, const struct aqm_option *option, const struct aqm_config *defaults,
                      bool all)
{
	char *texts[AQM_REPORT_RUNS_MAX] = {NULL}, *initial = option_text(option, defaults);
	bool good = initial != NULL, changed = all;

	for (size_t i = 0; i < page->run_count && good; i++) {
		texts[i] = page->runs[i].configured ? option_text(option, &page->runs[i].config) : aqm_strdup("");
		good = texts[i] != NULL;
		changed = changed || (good && *texts[i] && strcmp(texts[i], initial) != 0);
	}
	if (good && changed)
		put_row(page, option->name, texts, true, true);
	free(initial);
	for (size_t i = 0; i < page->run_count; i++)
		free(texts[i]);
	return good ? AQM_OK : aqm_error_set(AQM_ERUN, "no memory for the configuration");
}

static int put_options(const struct aqm_page *page, bool all)
{
	struct aqm_config defaults;
	int code = aqm_config_init(&defaults);

	if (code != AQM_OK)
		return code;
	begin_table(page, all ? "All options" : "Options");
	for (size_t i = 0; i < aqm_option_count && code == AQM_OK; i++)
		code = put_option(page, &aqm_options[i], &defaults, all);
	end_table(page);
	aqm_config_release(&defaults);
	return code;
}

int aqm_page_inputs(struct aqm_page *page)
{
	FILE *out = page->out;
	int code = AQM_OK;

	begin_table(page, "What was run");
	for (size_t i = 0; i < sizeof record_rows / sizeof *record_rows && code == AQM_OK; i++)
		code = put_record_row(page, record_rows[i].name, record_rows[i].text, record_rows[i].code);
	end_table(page);
	if (code != AQM_OK)
		return code;
	fputs("<h3>Configuration</h3>\n<p>What is not as it is by default", out);
	fputs(page->run_count > 1 ? "; &#8800; marks where the runs differ.</p>\n" : ".</p>\n", out);
	code = put_options(page, false);
	if (code != AQM_OK)
		return code;
	fputs("<details><summary>All options, resolved</summary>\n", out);
	code = put_options(page, true);
	fputs("</details>\n", out);
	return code;
}
