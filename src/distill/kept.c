/* SPDX-License-Identifier: BSD-2-Clause
 *
 * students.jsonl: {"kind": "student", "key": K, "seconds": S, "ranks": N, "rows": R, "utility": U, "file": {...}},
 * where `file` is what student.json would be, sealed by its own SHA-256.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "distill/student.h"
#include "distill/sweep.h"
#include "train/journal.h"

enum { FILE_LIMIT = 256 << 20 };

int aqm_kept_print(const struct aqm_distilled *made, const char *key, char **line)
{
	json_error_t fault;
	char *text;
	int code = aqm_student_print(made->student, &text);

	*line = NULL;
	if (code != AQM_OK)
		return code;
	json_t *object = json_pack("{s:s, s:s, s:o, s:i, s:I, s:o, s:o}", "kind", "student", "key", key, "seconds",
	                           aqm_json_number(made->seconds), "ranks", made->ranks, "rows", (json_int_t)made->rows,
	                           "utility", aqm_json_number(made->utility), "file", json_loads(text, 0, &fault));

	*line = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	free(text);
	return *line ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write a student's line: no memory");
}

static bool is_key(const char *text)
{
	return text && strlen(text) == AQM_KEPT_KEY - 1 && strspn(text, "0123456789abcdef") == AQM_KEPT_KEY - 1;
}

static int read_student(const json_t *object, char key[AQM_KEPT_KEY], struct aqm_distilled *made)
{
	const char *of = json_string_value(json_object_get(object, "key"));
	json_int_t ranks = json_integer_value(json_object_get(object, "ranks")),
			   rows = json_integer_value(json_object_get(object, "rows"));

	if (!is_key(of) || ranks < 1 || ranks > 1 << 24 || rows < 1)
		return aqm_error_set(AQM_EDATA, "no student: key, ranks and rows are expected");
	char *text = json_dumps(json_object_get(object, "file"), JSON_COMPACT);
	int code = text ? aqm_student_parse(&made->student, "file", text, strlen(text))
	                : aqm_error_set(AQM_EDATA, "no student: 'file' is expected");
	free(text);
	if (code != AQM_OK)
		return code;
	snprintf(key, AQM_KEPT_KEY, "%s", of);
	made->seconds = aqm_json_real(object, "seconds");
	made->utility = aqm_json_real(object, "utility");
	made->ranks = (int)ranks;
	made->rows = (uint64_t)rows;
	return AQM_OK;
}

int aqm_kept_parse(const char *line, size_t bytes, char key[AQM_KEPT_KEY], struct aqm_distilled *made)
{
	json_error_t fault;
	json_t *object = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &fault);
	const char *kind = json_string_value(json_object_get(object, "kind"));
	int code = AQM_OK;

	*key = 0;
	*made = (struct aqm_distilled){0};
	if (!json_is_object(object))
		code = aqm_error_set(AQM_EDATA, "no JSON object: %s", fault.text);
	else if (kind && strcmp(kind, "student") == 0)
		code = read_student(object, key, made);
	json_decref(object);
	return code;
}

/* ---- the file ---- */

/* *whole: bytes of the lines that have an end. */
static int read_lines(const char *path, aqm_kept_found found, void *context, size_t *whole)
{
	char *data = NULL, key[AQM_KEPT_KEY];
	size_t bytes = 0, count = 0;
	int code = aqm_file_read(path, FILE_LIMIT, &data, &bytes);

	*whole = 0;
	while (code == AQM_OK && *whole < bytes) {
		const char *line = data + *whole, *end = memchr(line, '\n', bytes - *whole);
		struct aqm_distilled made;

		if (!end)
			break;
		count++;
		code = aqm_kept_parse(line, (size_t)(end - line), key, &made);
		if (code != AQM_OK)
			aqm_error_context(code, "'%s', line %zu", path, count);
		else if (*key)
			found(context, key, &made);
		*whole = (size_t)(end - data) + 1;
	}
	free(data);
	return code;
}

int aqm_kept_open(struct aqm_kept *kept, const char *folder, aqm_kept_found found, void *context)
{
	size_t whole;

	*kept = (struct aqm_kept){.path = aqm_path_join(folder, "students.jsonl")};
	if (!kept->path)
		return AQM_ERUN;
	kept->stream = fopen(kept->path, "a");
	if (!kept->stream)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", kept->path);
	if (flock(fileno(kept->stream), LOCK_EX | LOCK_NB) != 0)
		return aqm_error_set(AQM_EUSAGE, "'%s' is being written by another sweep", kept->path);
	int code = read_lines(kept->path, found, context, &whole);
	if (code == AQM_OK && ftruncate(fileno(kept->stream), (off_t)whole) != 0)
		code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", kept->path);
	return code;
}

int aqm_kept_append(struct aqm_kept *kept, const char *line)
{
	if (fprintf(kept->stream, "%s\n", line) < 0 || fflush(kept->stream) != 0)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", kept->path);
	return AQM_OK;
}

void aqm_kept_close(struct aqm_kept *kept)
{
	if (kept->stream) {
		fsync(fileno(kept->stream));
		fclose(kept->stream);
	}
	free(kept->path);
	*kept = (struct aqm_kept){0};
}
