/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper.h"

#include <bzlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"

static char scratch[64];

int helper_setup(void **state)
{
	(void)state;
	strcpy(scratch, "pool-test-XXXXXX");
	return mkdtemp(scratch) ? 0 : -1;
}

int helper_teardown(void **state)
{
	(void)state;
	return aqm_remove_tree(scratch);
}

const char *helper_path(const char *name)
{
	static char paths[64][512];
	static unsigned next;
	char *path = paths[next++ % 64];

	snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
	return path;
}

const char *helper_file(const char *name, const void *data, size_t bytes)
{
	const char *path = helper_path(name);

	assert_int_equal(aqm_file_write(path, data, bytes), AQM_OK);
	return path;
}

const char *helper_text_file(const char *name, const char *text)
{
	return helper_file(name, text, strlen(text));
}

const char *helper_gzip_file(const char *name, const char *text)
{
	const char *path = helper_path(name);
	gzFile file = gzopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(gzwrite(file, text, (unsigned)strlen(text)), strlen(text));
	assert_int_equal(gzclose(file), Z_OK);
	return path;
}

const char *helper_bzip2_file(const char *name, const char *text)
{
	unsigned bytes = (unsigned)strlen(text) + 1000;
	char *packed = malloc(bytes), *copy = strdup(text);

	assert_non_null(packed);
	assert_int_equal(BZ2_bzBuffToBuffCompress(packed, &bytes, copy, (unsigned)strlen(text), 1, 0, 0), BZ_OK);
	const char *path = helper_file(name, packed, bytes);
	free(packed);
	free(copy);
	return path;
}

void helper_line(char *text, size_t size, const struct helper_line *l)
{
	size_t used = strlen(text);
	char pkt_len[16] = "";

	if (l->fields != 23)
		snprintf(pkt_len, sizeof pkt_len, "%u,", l->pkt_len);
	snprintf(text + used, size - used,
	         "%s%s_ecn_marking-start,%u,15000,15000,150000,819,1024,10240,19,%u,213519568,280000,270000,17295083520,"
	         "2108833000,0,0,%u,%lu,%lu,"
	         "111,167352,125,%s%u,end ",
	         l->head ? l->head : "Aug 12 10:00:00 aqm-router-1 kernel: ", l->aqm ? l->aqm : "l4s", l->queue, l->burst,
	         l->sflags, l->tot_pkts, l->tot_pkts * 1000, pkt_len, l->action);
}

struct keeper {
	struct aqm_log_record *records;
	size_t room, count;
};

static int keep(void *context, const struct aqm_log_record *records, size_t count)
{
	struct keeper *keeper = context;

	for (size_t i = 0; i < count && keeper->count < keeper->room; i++)
		keeper->records[keeper->count++] = records[i];
	return AQM_OK;
}

struct aqm_parse_counts helper_scan(const char *text, struct aqm_log_record *records, size_t room)
{
	return helper_scan_in_steps(text, strlen(text), records, room);
}

struct aqm_parse_counts helper_scan_in_steps(const char *text, size_t step, struct aqm_log_record *records, size_t room)
{
	struct aqm_parser *parser = malloc(sizeof *parser);
	struct keeper keeper = {.records = records, .room = room};
	size_t bytes = strlen(text), held = 0, used;
	char *buffer = malloc(bytes + AQM_PARSE_PADDING);

	aqm_parser_init(parser, keep, &keeper);
	for (size_t at = 0; ; at += step) {
		size_t n = at >= bytes ? 0 : bytes - at < step ? bytes - at : step;

		memcpy(buffer + held, text + (n ? at : 0), n);
		held += n;
		memset(buffer + held, 0, AQM_PARSE_PADDING);
		assert_int_equal(aqm_parser_scan(parser, buffer, held, n == 0, &used), AQM_OK);
		held -= used;
		memmove(buffer, buffer + used, held);
		if (n == 0)
			break;
	}
	assert_int_equal(held, 0);
	assert_int_equal(aqm_parser_flush(parser), AQM_OK);
	struct aqm_parse_counts counts = parser->counts;
	free(buffer);
	free(parser);
	return counts;
}
