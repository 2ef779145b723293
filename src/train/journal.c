/* SPDX-License-Identifier: BSD-2-Clause */
#include "train/journal.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"

enum { DIGITS = 9 };

int aqm_journal_open(struct aqm_journal *journal, const char *run_path, uint64_t bytes)
{
	struct stat status;

	*journal = (struct aqm_journal){.path = aqm_path_join(run_path, "metrics.jsonl")};
	if (!journal->path)
		return AQM_ERUN;
	int fd = open(journal->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return aqm_error_errno(AQM_ERUN, "cannot open '%s'", journal->path);
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return aqm_error_set(AQM_ERUN, "cannot open '%s': it is not a regular file", journal->path);
	}
	if ((uint64_t)status.st_size < bytes) {
		aqm_log_warning("'%s' has lost lines: %llu bytes of %llu are left", journal->path,
		                (unsigned long long)status.st_size, (unsigned long long)bytes);
		bytes = (uint64_t)status.st_size;
	}
	if (ftruncate(fd, (off_t)bytes) != 0 || lseek(fd, 0, SEEK_END) < 0 || !(journal->stream = fdopen(fd, "r+"))) {
		int code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", journal->path);

		close(fd);
		return code;
	}
	journal->bytes = bytes;
	return AQM_OK;
}

int aqm_journal_write(struct aqm_journal *journal, json_t *object)
{
	if (!journal->stream) {
		json_decref(object);
		return AQM_OK;
	}
	char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS)) : NULL;
	int code = AQM_OK;

	if (!text) {
		code = aqm_error_set(AQM_ERUN, "no memory for a line of '%s'", journal->path);
	} else {
		size_t n = strlen(text);

		if (fwrite(text, 1, n, journal->stream) != n || fputc('\n', journal->stream) == EOF ||
		    fflush(journal->stream) != 0)
			code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", journal->path);
		else
			journal->bytes += n + 1;
	}
	free(text);
	json_decref(object);
	return code;
}

int aqm_journal_sync(struct aqm_journal *journal)
{
	if (fflush(journal->stream) != 0 || fsync(fileno(journal->stream)) != 0)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", journal->path);
	return AQM_OK;
}

void aqm_journal_close(struct aqm_journal *journal)
{
	if (journal->stream)
		fclose(journal->stream);
	free(journal->path);
	*journal = (struct aqm_journal){0};
}

/* ---- metrics ---- */

json_t *aqm_json_number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

double aqm_json_real(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

json_t *aqm_json_bytes(const char *bytes)
{
	char *text = aqm_utf8_text(bytes);
	json_t *json = text ? json_string(text) : NULL;

	free(text);
	return json;
}

static json_t *class_json(const struct aqm_metrics *m, int c)
{
	return json_pack("{s:o, s:o, s:o, s:I}", "precision", aqm_json_number(m->precision[c]), "recall",
	                 aqm_json_number(m->recall[c]), "f1", aqm_json_number(m->f1[c]), "support",
	                 (json_int_t)m->support[c]);
}

static json_t *confusion_json(const struct aqm_metrics *m)
{
	json_t *rows = json_array();

	for (int label = 0; label < AQM_ACTIONS; label++) {
		json_t *row = json_array();

		for (int predicted = 0; predicted < AQM_ACTIONS; predicted++)
			json_array_append_new(row, json_integer((json_int_t)m->confusion[label][predicted]));
		json_array_append_new(rows, row);
	}
	return rows;
}

json_t *aqm_metrics_json(const struct aqm_metrics *m)
{
	json_t *classes = json_object();

	for (int c = 0; c < AQM_ACTIONS; c++)
		json_object_set_new(classes, aqm_action_names[c], class_json(m, c));
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "rows", (json_int_t)m->rows, "loss",
	                 aqm_json_number(m->loss), "accuracy", aqm_json_number(m->accuracy), "macro_f1",
	                 aqm_json_number(m->macro_f1), "balanced_accuracy", aqm_json_number(m->balanced_accuracy),
	                 "per_class", classes, "confusion", confusion_json(m));
}
