/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/log.h"

#include <bzlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/random.h"
#include "base/size.h"
#include "pool/fields.h"

enum { BUFFER = 1 << 16, LINE = 1024, CLOCK = 64 };

struct aqm_log_writer {
	struct aqm_atomic_file file;
	gzFile gzip;
	BZFILE *bzip2;
	bool chatter;
	struct aqm_rng rng;
	char buffer[BUFFER];
	size_t filled;
	char stamp[CLOCK]; /* "Jan  1 00:00:00 router kernel: ", of stamp_second */
	int64_t stamp_second;
	char last[LINE]; /* the last record's text, for repeats */
	unsigned repeats;
};

/* ---- bytes ---- */

static int flush(struct aqm_log_writer *w)
{
	int bz_error = BZ_OK;
	bool good = true;

	if (w->filled == 0)
		return AQM_OK;
	if (w->gzip)
		good = gzwrite(w->gzip, w->buffer, (unsigned)w->filled) == (int)w->filled;
	else if (w->bzip2)
		BZ2_bzWrite(&bz_error, w->bzip2, w->buffer, (int)w->filled);
	else
		good = fwrite(w->buffer, 1, w->filled, w->file.stream) == w->filled;
	w->filled = 0;
	return good && bz_error == BZ_OK ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot write '%s'", w->file.path);
}

static int put(struct aqm_log_writer *w, const char *text, size_t bytes)
{
	int code = w->filled + bytes > BUFFER ? flush(w) : AQM_OK;

	memcpy(w->buffer + w->filled, text, bytes);
	w->filled += bytes;
	return code;
}

/* One line with its clock in front. */
static int put_line(struct aqm_log_writer *w, const char *text)
{
	int code = put(w, w->stamp, strlen(w->stamp));

	if (code == AQM_OK)
		code = put(w, text, strlen(text));
	return code == AQM_OK ? put(w, "\n", 1) : code;
}

/* ---- records ---- */

/* syslogd's clock, from midnight of the first of January on. */
static void set_stamp(struct aqm_log_writer *w, int64_t second)
{
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t day = second / 86400 % 365;
	int month = 0;

	while (day >= days[month])
		day -= days[month++];
	snprintf(w->stamp, sizeof w->stamp, "%s %2d %02d:%02d:%02d router kernel: ", months[month], (int)day + 1,
	         (int)(second / 3600 % 24), (int)(second / 60 % 60), (int)(second % 60));
	w->stamp_second = second;
}

static char *print_number(char *at, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	while (n)
		*at++ = digits[--n];
	return at;
}

/* As the kernel's printf: 24 numbers, the action from 1, ",end ". */
static void print_record(char line[LINE], const uint64_t *fields)
{
	static const char head[] = "l4s_ecn_marking-start,";
	char *at = line + sizeof head - 1;

	memcpy(line, head, sizeof head - 1);
	for (size_t i = 0; i < AQM_LOG_FIELDS; i++) {
		at = print_number(at, fields[i] + (i == AQM_FIELD_ACTION_LOGGED));
		*at++ = ',';
	}
	memcpy(at, "end ", 5);
}

static int end_repeats(struct aqm_log_writer *w)
{
	char text[64];

	if (w->repeats == 0)
		return AQM_OK;
	snprintf(text, sizeof text, "last message repeated %u times", w->repeats);
	w->repeats = 0;
	char kernel[CLOCK];
	memcpy(kernel, w->stamp, sizeof kernel);
	char *process = strstr(w->stamp, "kernel: ");
	if (process)
		*process = '\0'; /* syslogd speaks in its own name: host, then the note */
	int code = put_line(w, text);
	memcpy(w->stamp, kernel, sizeof kernel);
	return code;
}

static const char *const chatter[] = {
	"fq_calculate_drop_prob ",
	"cqueue_drop_early start ",
	"idx queue Type: 0 ",
	"idx queue Type: 1 ",
	"Overload: false",
	"dequeue_action: 1 ",
	"Condition met for ENQUE: ",
	"Activate PIE :1 ",
	"em1: link state changed to UP",
	"Queue type is classic.  -- Assign c_base_drop_prob: 0 ",
};

/* The faults of real logs, once in some hundred lines. `torn`: the record's own line was spoilt. */
static int put_chatter(struct aqm_log_writer *w, const char *line, bool *torn)
{
	uint32_t draw = aqm_rng_u32(&w->rng) % 1000;
	char text[2 * LINE];

	*torn = false;
	if (draw < 15)
		return put_line(w, chatter[aqm_rng_u32(&w->rng) % (sizeof chatter / sizeof *chatter)]);
	if (draw < 17) { /* another processor's text inside: printf writes in pieces */
		size_t cut = 30 + aqm_rng_u32(&w->rng) % 90, length = strlen(line);

		cut = cut < length ? cut : length / 2;
		snprintf(text, sizeof text, "%.*s%s%s", (int)cut, line,
		         chatter[aqm_rng_u32(&w->rng) % (sizeof chatter / sizeof *chatter)], line + cut);
		*torn = true;
		return put_line(w, text);
	}
	return AQM_OK;
}

static int record(void *context, double time, const uint64_t *fields, enum aqm_action action, enum aqm_action logged)
{
	struct aqm_log_writer *w = context;
	char line[LINE];
	int code = AQM_OK;
	bool torn = false;

	(void)action;
	(void)logged;
	print_record(line, fields);
	if (w->chatter && strcmp(line, w->last) == 0) {
		w->repeats++;
		return AQM_OK;
	}
	if ((code = end_repeats(w)) != AQM_OK)
		return code;
	if ((int64_t)time != w->stamp_second)
		set_stamp(w, (int64_t)time);
	if (w->chatter && (code = put_chatter(w, line, &torn)) != AQM_OK)
		return code;
	memcpy(w->last, line, sizeof w->last);
	if (!torn)
		return put_line(w, line);
	w->last[0] = '\0'; /* a torn line is not repeated */
	return AQM_OK;
}

/* ---- the file ---- */

static bool ends_in(const char *path, const char *end)
{
	size_t a = strlen(path), b = strlen(end);

	return a > b && strcmp(path + a - b, end) == 0;
}

int aqm_log_writer_open(struct aqm_log_writer **out, struct aqm_sim_sink *sink, const char *path, bool with_chatter,
                        uint64_t seed)
{
	struct aqm_log_writer *w = aqm_calloc_array(1, sizeof *w);
	int code = w ? aqm_atomic_open(&w->file, path) : AQM_ERUN, bz_error = BZ_OK;

	*out = NULL;
	if (code != AQM_OK) {
		free(w);
		return code;
	}
	w->chatter = with_chatter;
	aqm_rng_init(&w->rng, seed, AQM_STREAM_SIM, 4);
	set_stamp(w, 0);
	if (ends_in(path, ".gz")) {
		int copy = dup(fileno(w->file.stream));

		w->gzip = copy >= 0 ? gzdopen(copy, "wb6") : NULL;
		code = w->gzip ? AQM_OK : AQM_ERUN;
		if (!w->gzip && copy >= 0)
			close(copy);
	} else if (ends_in(path, ".bz2")) {
		w->bzip2 = BZ2_bzWriteOpen(&bz_error, w->file.stream, 9, 0, 0);
		code = bz_error == BZ_OK ? AQM_OK : AQM_ERUN;
	}
	if (code != AQM_OK) {
		aqm_error_set(AQM_ERUN, "cannot write '%s' compressed", path);
		aqm_log_writer_free(w);
		return AQM_ERUN;
	}
	*sink = (struct aqm_sim_sink){w, record};
	*out = w;
	return AQM_OK;
}

static bool close_compressed(struct aqm_log_writer *w)
{
	int bz_error = BZ_OK;
	bool good = true;

	if (w->gzip)
		good = gzclose(w->gzip) == Z_OK;
	if (w->bzip2)
		BZ2_bzWriteClose(&bz_error, w->bzip2, 0, NULL, NULL);
	w->gzip = NULL;
	w->bzip2 = NULL;
	return good && bz_error == BZ_OK;
}

int aqm_log_writer_commit(struct aqm_log_writer *w)
{
	int code = end_repeats(w);

	if (code == AQM_OK)
		code = flush(w);
	if (!close_compressed(w) && code == AQM_OK)
		code = aqm_error_errno(AQM_ERUN, "cannot write '%s'", w->file.path);
	return code == AQM_OK ? aqm_atomic_commit(&w->file) : code;
}

void aqm_log_writer_free(struct aqm_log_writer *w)
{
	if (!w)
		return;
	close_compressed(w);
	aqm_atomic_abort(&w->file);
	free(w);
}
