/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aqmtrain bench parse: a made-up kernel log, scanned in memory by one thread, and parsed from a file into a compressed
 * pool by all of them. The limit is reading the text from memory.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/progress.h"
#include "base/random.h"
#include "base/size.h"
#include "base/thread.h"
#include "cli/bench.h"
#include "pool/parse.h"

struct text {
	char *data;
	size_t bytes;
	struct aqm_parse_counts counts;
	uint64_t records;
	int code;
};

/* One record of a busy queue, a line of some 190 bytes; its numbers move as they do in real logs. */
static int print_record(char *line, size_t room, struct aqm_rng *rng, uint64_t number)
{
	unsigned queue = aqm_rng_u32(rng) % 4 == 0, length = aqm_rng_u32(rng) % 120, second = (unsigned)(number / 800);
	unsigned long packets = (unsigned long)number, probability = 200000000 + aqm_rng_u32(rng) % 20000000;

	return snprintf(line, room,
	                "Aug 12 %02u:%02u:%02u aqm-router-1 kernel: "
	                "l4s_ecn_marking-start,%u,15000,15000,150000,819,1024,10240,19,0,%lu,%u,%u,"
	                "%lu,%lu,0,0,1,%lu,%lu,%u,%u,%u,%u,%u,end \n",
	                second / 3600 % 24, second / 60 % 60, second % 60, queue, probability,
	                aqm_rng_u32(rng) % 40 * 10000, aqm_rng_u32(rng) % 40 * 10000, probability * 33,
	                2108750000 + packets * 1250 % 2000000000, packets % 1000000, packets * 1500 % 4000000000, length,
	                length * 1500, (unsigned)(number / 97 % 100000), queue ? 1500u : 590u,
	                1 + (unsigned)(aqm_rng_u32(rng) % 16 == 0) * 2);
}

static int make_text(struct text *text, size_t bytes)
{
	enum { LINE = 512 };
	struct aqm_rng rng;

	*text = (struct text){.data = aqm_malloc_array(bytes + LINE + AQM_PARSE_PADDING, 1)};
	if (!text->data)
		return AQM_ERUN;
	aqm_rng_init(&rng, 3, AQM_STREAM_TEST, 0);
	while (text->bytes < bytes) {
		text->bytes += (size_t)print_record(text->data + text->bytes, LINE, &rng, text->records);
		text->records++;
	}
	memset(text->data + text->bytes, 0, AQM_PARSE_PADDING);
	return AQM_OK;
}

static void scan(void *context)
{
	struct text *text = context;

	text->code = aqm_parse_buffer(text->data, text->bytes, &text->counts);
}

static int write_text(const struct text *text, const char *path)
{
	FILE *file = fopen(path, "wb");

	if (!file)
		return aqm_error_errno(AQM_ERUN, "cannot write '%s'", path);
	bool whole = fwrite(text->data, 1, text->bytes, file) == text->bytes;

	whole = fclose(file) == 0 && whole;
	return whole ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot write '%s'", path);
}

/* Seconds of parsing the file `log` into the pool `pool`: the shortest of a few runs. */
static int time_parsing(const struct aqm_bench *bench, const char *log, const char *pool, double *shortest)
{
	struct aqm_parse_options options;
	int code = AQM_OK;

	aqm_parse_options_init(&options);
	*shortest = INFINITY;
	for (int i = 0; i < (bench->quick ? 1 : 3) && code == AQM_OK; i++) {
		double start = aqm_clock_seconds();

		code = aqm_pool_parse(&log, 1, pool, &options);
		*shortest = fmin(*shortest, aqm_clock_seconds() - start);
		unlink(pool);
	}
	return code;
}

static int measure_files(struct aqm_bench *bench, const struct text *text, double read)
{
	const char *parent = getenv("TMPDIR");
	char *folder = aqm_strprintf("%s/aqmtrain-bench-XXXXXX", parent && *parent ? parent : "/tmp"), *log = NULL,
		 *pool = NULL;
	double shortest = 0;
	int code;

	if (!folder)
		return AQM_ERUN;
	if (!mkdtemp(folder)) {
		code = aqm_error_errno(AQM_ERUN, "cannot create '%s'", folder);
		free(folder);
		return code;
	}
	log = aqm_strprintf("%s/messages", folder);
	pool = aqm_strprintf("%s/pool.h5", folder);
	code = log && pool ? write_text(text, log) : AQM_ERUN;
	if (code == AQM_OK)
		code = time_parsing(bench, log, pool, &shortest);
	if (code == AQM_OK)
		code = aqm_bench_add(bench, "parse/file to pool", (double)text->bytes / shortest / 1e6, "MB/s", read / 1e6,
		                     "reading memory");
	if (log)
		unlink(log);
	rmdir(folder);
	free(log);
	free(pool);
	free(folder);
	return code;
}

int aqm_bench_parse(struct aqm_bench *bench)
{
	struct text text;
	double read;
	int code = aqm_bench_peak_read(bench, &read);

	if (code != AQM_OK)
		return code;
	code = make_text(&text, (size_t)(bench->quick ? 1 : 200) << 20);
	if (code == AQM_OK) {
		double taken = aqm_bench_shortest(bench, 3, scan, &text);

		code = text.code;
		if (code == AQM_OK && text.counts.records != text.records)
			code = aqm_error_set(AQM_ERUN, "%llu of %llu records were found", (unsigned long long)text.counts.records,
			                     (unsigned long long)text.records);
		if (code == AQM_OK)
			code = aqm_bench_add(bench, "parse/memory, one thread", (double)text.bytes / taken / 1e6, "MB/s",
			                     read / 1e6, "reading memory");
	}
	if (code == AQM_OK)
		code = measure_files(bench, &text, read);
	free(text.data);
	return code;
}
