/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A run, as its folder tells.
 */
#include "report/run.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"

enum {
	METRICS_MAX = 1 << 30, /* bytes */
	DOCUMENT_MAX = 64 << 20,
	DOCUMENTS_MAX = 512,
};

/* ---- JSON ---- */

static const json_t *step_into(const json_t *json, const char *part, size_t bytes)
{
	char name[64], *end;

	if (bytes >= sizeof name)
		return NULL;
	memcpy(name, part, bytes);
	name[bytes] = '\0';
	if (!json_is_array(json))
		return json_object_get(json, name);
	unsigned long place = strtoul(name, &end, 10);
	return bytes && !*end ? json_array_get(json, place) : NULL;
}

const json_t *aqm_json_find(const json_t *json, const char *path)
{
	while (json && *path) {
		size_t bytes = strcspn(path, "/");

		json = step_into(json, path, bytes);
		path += bytes + (path[bytes] == '/');
	}
	return json;
}

double aqm_json_at(const json_t *json, const char *path)
{
	const json_t *found = aqm_json_find(json, path);

	return json_is_number(found) ? json_number_value(found) : (double)NAN;
}

const char *aqm_json_text(const json_t *json, const char *path)
{
	const char *text = json_string_value(aqm_json_find(json, path));

	return text ? text : "";
}

/* ---- notes ---- */

int aqm_report_note(struct aqm_report_run *run, const char *format, ...)
{
	char **grown = aqm_realloc_array(run->notes, run->note_count + 1, sizeof *grown);
	va_list arguments;

	if (!grown)
		return AQM_ERUN;
	run->notes = grown;
	va_start(arguments, format);
	int length = vasprintf(&grown[run->note_count], format, arguments);
	va_end(arguments);
	if (length < 0)
		return aqm_error_set(AQM_ERUN, "no memory for a note");
	run->note_count++;
	return AQM_OK;
}

/* ---- documents ---- */

static const char *kind_of(const json_t *json, const char *name)
{
	static const char *const prefixes[][2] = {{"closed-loop", "closed-loop"},
	                                          {"closed_loop", "closed-loop"},
	                                          {"replay", "replay"},
	                                          {"bench", "bench"},
	                                          {"eval", "offline"}};
	const char *said = aqm_json_text(json, "kind");

	if (*said)
		return said;
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		if (strncmp(name, prefixes[i][0], strlen(prefixes[i][0])) == 0)
			return prefixes[i][1];
	return "";
}

int aqm_report_add_document(struct aqm_report_run *run, const char *name, const char *text, size_t bytes)
{
	json_error_t error;
	json_t *json = json_loadb(text, bytes, 0, &error);

	if (!json)
		return aqm_report_note(run, "%s is not read: line %d: %s", name, error.line, error.text);
	struct aqm_document *grown = aqm_realloc_array(run->documents, run->document_count + 1, sizeof *grown);
	if (!grown) {
		json_decref(json);
		return AQM_ERUN;
	}
	run->documents = grown;
	struct aqm_document *document = &grown[run->document_count++];
	*document = (struct aqm_document){aqm_strdup(name), aqm_strdup(kind_of(json, name)), json};
	return document->name && document->kind ? AQM_OK : AQM_ERUN;
}

/* A file that is there but cannot be read is noted. *text is NULL when there is none. */
static int read_file(struct aqm_report_run *run, const char *name, size_t limit, char **text, size_t *bytes)
{
	char *path = aqm_path_join(run->path, name);
	int code = AQM_OK;

	*text = NULL;
	*bytes = 0;
	if (!path)
		return AQM_ERUN;
	if (aqm_path_exists(path) && aqm_file_read(path, limit, text, bytes) != AQM_OK) {
		*text = NULL;
		code = aqm_report_note(run, "%s is not read: %s", name, aqm_error_message());
	}
	free(path);
	return code;
}

static int read_document(struct aqm_report_run *run, const char *name)
{
	char *text;
	size_t bytes;
	int code = read_file(run, name, DOCUMENT_MAX, &text, &bytes);

	if (code == AQM_OK && text)
		code = aqm_report_add_document(run, name, text, bytes);
	free(text);
	return code;
}

static bool is_document(const char *name, bool any)
{
	static const char *const prefixes[] = {"eval", "replay", "bench", "closed-loop", "closed_loop"};
	size_t n = strlen(name);

	if (*name == '.' || n < 5 || strcmp(name + n - 5, ".json") != 0)
		return false;
	for (size_t i = 0; !any && i < sizeof prefixes / sizeof *prefixes; i++)
		any = strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
	return any;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int only_documents(const struct dirent *entry)
{
	return is_document(entry->d_name, false);
}

static int any_json(const struct dirent *entry)
{
	return is_document(entry->d_name, true);
}

/* folder: "" for the run's own. */
static int read_folder(struct aqm_report_run *run, const char *folder)
{
	char *path = *folder ? aqm_path_join(run->path, folder) : aqm_strdup(run->path);
	struct dirent **entries = NULL;
	int code = path ? AQM_OK : AQM_ERUN,
		count = path ? scandir(path, &entries, *folder ? any_json : only_documents, by_name) : 0;

	for (int i = 0; i < count; i++) {
		char *name = *folder ? aqm_path_join(folder, entries[i]->d_name) : aqm_strdup(entries[i]->d_name);

		if (!name)
			code = AQM_ERUN;
		else if (code == AQM_OK && run->document_count < DOCUMENTS_MAX)
			code = read_document(run, name);
		free(name);
		free(entries[i]);
	}
	free(entries);
	free(path);
	return code;
}

/* ---- the whole ---- */

static int read_config(struct aqm_report_run *run)
{
	char *path = aqm_path_join(run->path, "config.yaml");
	int code = path ? aqm_config_init(&run->config) : AQM_ERUN;

	if (code == AQM_OK && aqm_config_read(&run->config, path) == AQM_OK)
		run->configured = true;
	else if (code == AQM_OK)
		code = aqm_report_note(run, "no configuration: %s", aqm_error_message());
	free(path);
	return code;
}

static int read_record(struct aqm_report_run *run)
{
	char *text;
	size_t bytes;
	json_error_t error;
	int code = read_file(run, "run.json", DOCUMENT_MAX, &text, &bytes);

	if (code == AQM_OK && text) {
		run->record = json_loadb(text, bytes, 0, &error);
		if (!run->record)
			code = aqm_report_note(run, "run.json is not read: line %d: %s", error.line, error.text);
	}
	free(text);
	return code;
}

static int read_history(struct aqm_report_run *run)
{
	char *text;
	size_t bytes;
	int code = read_file(run, "metrics.jsonl", METRICS_MAX, &text, &bytes);

	if (code == AQM_OK && text) {
		code = aqm_history_parse(&run->history, text, bytes);
		if (code == AQM_OK && run->history.damaged)
			code = aqm_report_note(run, "metrics.jsonl: %zu of %zu lines are damaged and left out",
			                       run->history.damaged, run->history.lines);
	}
	free(text);
	return code;
}

int aqm_report_run_read(struct aqm_report_run *run, const char *path)
{
	*run = (struct aqm_report_run){.path = path};
	int code = read_config(run);

	if (code == AQM_OK)
		code = read_record(run);
	if (code == AQM_OK)
		code = read_history(run);
	if (code == AQM_OK)
		code = read_folder(run, "");
	if (code == AQM_OK)
		code = read_folder(run, "closed-loop");
	if (code == AQM_OK)
		code = read_folder(run, "replay");
	if (code == AQM_OK && !run->configured && !run->history.lines && !run->document_count)
		code = aqm_error_set(
			AQM_EDATA, "'%s' holds no run: no config.yaml that can be read, no metrics.jsonl, no evaluation", path);
	return code;
}

void aqm_report_run_release(struct aqm_report_run *run)
{
	for (size_t i = 0; i < run->document_count; i++) {
		free(run->documents[i].name);
		free(run->documents[i].kind);
		json_decref(run->documents[i].json);
	}
	for (size_t i = 0; i < run->note_count; i++)
		free(run->notes[i]);
	free(run->documents);
	free(run->notes);
	free(run->label);
	json_decref(run->record);
	aqm_history_release(&run->history);
	aqm_config_release(&run->config);
	*run = (struct aqm_report_run){0};
}

/* ---- names ---- */

/* The last `parts` parts of a path; 0 parts: all of it. */
static char *path_tail(const char *path, int parts)
{
	size_t end = strlen(path);

	while (end > 1 && path[end - 1] == '/')
		end--;
	size_t at = end;
	while (parts > 0 && at > 0) {
		if (path[at - 1] == '/' && --parts == 0)
			break;
		at--;
	}
	return at < end && parts >= 0 ? aqm_strprintf("%.*s", (int)(end - at), path + at)
	                              : aqm_strprintf("%.*s", (int)end, path);
}

static bool alike(const struct aqm_report_run *runs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(runs[i].label, runs[k].label) == 0)
				return true;
	return false;
}

int aqm_report_name_runs(struct aqm_report_run *runs, size_t count)
{
	enum { PARTS_MAX = 6 };

	for (int parts = 1; parts <= PARTS_MAX + 1; parts++) {
		for (size_t i = 0; i < count; i++) {
			free(runs[i].label);
			runs[i].label = path_tail(runs[i].path, parts > PARTS_MAX ? 1000 : parts);
			if (!runs[i].label)
				return AQM_ERUN;
		}
		if (!alike(runs, count))
			break;
	}
	return AQM_OK;
}

const char *aqm_report_run_folder(const struct aqm_report_run *run)
{
	return *run->path == '/' ? run->label : run->path;
}
