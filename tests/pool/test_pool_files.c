/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Logs and CSV into pools, and out again, through the files of a scratch folder.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "helper.h"

static char text[1 << 16], other[1 << 16];

static struct aqm_parse_options options;

static int setup(void **state)
{
	aqm_parse_options_init(&options);
	return helper_setup(state);
}

/* `n` records whose tot_pkts counts on from `first`, a minute of the clock a call. */
static char *write_lines(char *to, unsigned first, unsigned n, unsigned minute)
{
	char head[64];

	*to = '\0';
	for (unsigned i = 0; i < n; i++) {
		snprintf(head, sizeof head, "Aug 12 10:%02u:%02u aqm-router-1 kernel: ", minute, i % 60);
		helper_line(
			to, sizeof text,
			&(struct helper_line){.head = head, .tot_pkts = first + i, .action = 1, .sflags = 1, .pkt_len = 1500});
		strcat(to, "\n");
	}
	return to;
}

static int parse(const char *input, const char *pool)
{
	return aqm_pool_parse(&input, 1, pool, &options);
}

static aqm_pool *open_pool(const char *path)
{
	aqm_pool *pool = NULL;

	if (aqm_pool_open(&pool, path) != AQM_OK)
		fail_msg("%s", aqm_error_message());
	return pool;
}

static double *column(const aqm_pool *pool, const char *name)
{
	double *values = malloc((aqm_pool_rows(pool) + 1) * sizeof *values);

	assert_int_equal(aqm_pool_column(pool, name, values), AQM_OK);
	return values;
}

static void expect_counter(const char *pool_path, size_t rows, unsigned first)
{
	aqm_pool *pool = open_pool(pool_path);
	double *counter = column(pool, "tot_pkts");

	assert_int_equal(aqm_pool_rows(pool), rows);
	for (size_t i = 0; i < rows; i++)
		assert_true(counter[i] == (double)(first + i));
	free(counter);
	aqm_pool_free(pool);
}

/* Text of the report holds this. */
static void expect_info(const char *pool_path, const char *part)
{
	char *report;

	assert_int_equal(aqm_pool_info(pool_path, true, &report), AQM_OK);
	if (!strstr(report, part))
		fail_msg("no %s in %s", part, report);
	free(report);
}

/* ---- logs ---- */

static void test_rotated_sets_are_read_in_time_order(void **state)
{
	const char *pool = helper_path("p.h5");
	char folder[512];

	(void)state;
	strcpy(folder, helper_path("var"));
	assert_int_equal(aqm_make_folders(folder), AQM_OK);
	helper_text_file("var/messages", write_lines(text, 60, 20, 3));
	helper_gzip_file("var/messages.0.gz", write_lines(text, 40, 20, 2));
	helper_bzip2_file("var/messages.1.bz2", write_lines(text, 20, 20, 1));
	helper_text_file("var/messages.10", write_lines(text, 0, 10, 0));
	helper_text_file("var/messages.2", write_lines(text, 10, 10, 0));
	helper_text_file("var/notes.txt", "no log at all\n");
	helper_text_file("var/.hidden", "l4s_ecn_marking-start,broken\n");
	assert_int_equal(symlink("messages", helper_path("var/latest")), 0); /* is the set's, not one of its own */

	options.gap_seconds = 1000;
	assert_int_equal(parse(folder, pool), AQM_OK);
	expect_counter(pool, 80, 0);
	expect_info(pool, "\"episodes\": 1,");
	expect_info(pool, "\"ignored_files\": 1,");
	expect_info(pool, "\"damaged\": 0,");
	/* Named in any order, the set is the same. */
	const char *files[] = {helper_path("var/messages.0.gz"), helper_path("var/messages"),
	                       helper_path("var/messages.1.bz2"), helper_path("var/messages.2")};
	char copies[4][512];
	for (int i = 0; i < 4; i++) {
		strcpy(copies[i], files[i]);
		files[i] = copies[i];
	}
	pool = helper_path("q.h5");
	assert_int_equal(aqm_pool_parse(files, 4, pool, &options), AQM_OK);
	expect_counter(pool, 70, 10);
	options.gap_seconds = 0;
}

static void test_dated_sets(void **state)
{
	const char *pool = helper_path("dated.h5");
	char folder[512];

	(void)state;
	strcpy(folder, helper_path("dated"));
	assert_int_equal(aqm_make_folders(folder), AQM_OK);
	helper_gzip_file("dated/messages-20240102.gz", write_lines(text, 10, 10, 1));
	helper_text_file("dated/messages-20231231", write_lines(text, 0, 10, 0));
	helper_text_file("dated/messages", write_lines(text, 20, 10, 2));
	options.gap_seconds = 1000;
	assert_int_equal(parse(folder, pool), AQM_OK);
	options.gap_seconds = 0;
	expect_counter(pool, 30, 0);
}

/* Two sets are two runs, though the counter goes on; a set named twice is read once. */
static void test_sets_are_episodes(void **state)
{
	const char *inputs[3], *pool = helper_path("two.h5");
	char a[512], b[512];

	(void)state;
	strcpy(a, helper_text_file("run-b.log", write_lines(text, 0, 10, 1)));
	strcpy(b, helper_text_file("run-a.log", write_lines(text, 10, 10, 1)));
	inputs[0] = a;
	inputs[1] = b;
	inputs[2] = a;
	assert_int_equal(aqm_pool_parse(inputs, 3, pool, &options), AQM_OK);
	expect_counter(pool, 20, 0);
	expect_info(pool, "\"episodes\": 2,");
}

static void test_an_episode_starts_where_the_counter_does(void **state)
{
	const char *pool = helper_path("runs.h5");
	aqm_pool *opened;
	size_t start, length;

	(void)state;
	write_lines(text, 100, 30, 1);
	strcat(text, write_lines(other, 0, 12, 1));
	assert_int_equal(parse(helper_text_file("runs.log", text), pool), AQM_OK);
	opened = open_pool(pool);
	assert_int_equal(aqm_pool_episodes(opened), 2);
	aqm_pool_episode(opened, 1, &start, &length);
	assert_int_equal(start, 30);
	assert_int_equal(length, 12);
	aqm_pool_free(opened);
}

static void test_phantom_drops_are_relabelled(void **state)
{
	static const struct {
		unsigned burst, sflags, action;
		uint8_t effective, logged;
	} cases[] = {
		{0, 1, 2, AQM_DROP, AQM_DROP},
		{0, 3, 2, AQM_DROP, AQM_DROP},
		{15000, 1, 2, AQM_ENQUEUE, AQM_DROP},
		{0, 0, 2, AQM_ENQUEUE, AQM_DROP},
		{0, 2, 2, AQM_ENQUEUE, AQM_DROP},
		{15000, 1, 3, AQM_MARK, AQM_MARK},
		{0, 0, 1, AQM_ENQUEUE, AQM_ENQUEUE},
	};
	enum { N = sizeof cases / sizeof *cases };
	const char *pool = helper_path("phantom.h5");
	uint8_t effective[N], logged[N];

	(void)state;
	text[0] = '\0';
	for (unsigned i = 0; i < N; i++) {
		helper_line(text, sizeof text,
		            &(struct helper_line){.burst = cases[i].burst,
		                                  .sflags = cases[i].sflags,
		                                  .action = cases[i].action,
		                                  .tot_pkts = i,
		                                  .pkt_len = 60});
		strcat(text, "\n");
	}
	assert_int_equal(parse(helper_text_file("phantom.log", text), pool), AQM_OK);
	aqm_pool *opened = open_pool(pool);
	assert_int_equal(aqm_pool_actions(opened, AQM_LABELS_EFFECTIVE, effective), AQM_OK);
	assert_int_equal(aqm_pool_actions(opened, AQM_LABELS_LOGGED, logged), AQM_OK);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(effective[i], cases[i].effective);
		assert_int_equal(logged[i], cases[i].logged);
	}
	aqm_pool_free(opened);
	expect_info(pool, "\"phantom_drops\": 3,");
	expect_info(pool, "\"actions_logged\": {\"enqueue\": 1, \"drop\": 5, \"mark\": 1}");
	expect_info(pool, "\"actions\": {\"enqueue\": 4, \"drop\": 2, \"mark\": 1}");
}

/* A log of the short form has no pkt_len; a mixed one has, and says how many do not tell. Without a clock there is no
 * time. */
static void test_columns_follow_what_the_log_tells(void **state)
{
	const char *pool = helper_path("short.h5");

	(void)state;
	text[0] = '\0';
	for (unsigned i = 0; i < 5; i++) {
		helper_line(text, sizeof text,
		            &(struct helper_line){.head = "", .aqm = "dualpi2", .tot_pkts = i, .action = 1, .fields = 23});
		strcat(text, "\n");
	}
	assert_int_equal(parse(helper_text_file("short.log", text), pool), AQM_OK);
	aqm_pool *opened = open_pool(pool);
	assert_false(aqm_pool_has(opened, "pkt_len"));
	assert_false(aqm_pool_has(opened, "time"));
	assert_true(aqm_pool_has(opened, "queue_type"));
	aqm_pool_free(opened);

	helper_line(text, sizeof text, &(struct helper_line){.tot_pkts = 6, .action = 1, .pkt_len = 77});
	assert_int_equal(parse(helper_text_file("mixed.log", text), pool), AQM_OK);
	opened = open_pool(pool);
	double *lengths = column(opened, "pkt_len"), *times = column(opened, "time");
	assert_true(lengths[0] == 0 && lengths[5] == 77);
	assert_true(isnan(times[0]) && times[5] > 0);
	free(lengths);
	free(times);
	aqm_pool_free(opened);
	expect_info(pool, "\"without_pkt_len\": 5,");
}

/* More rows than a chunk holds, a column whose first value comes late, and the same bytes each time. */
static void test_many_chunks(void **state)
{
	enum { N = 70000 };
	const char *pool = helper_path("big.h5");
	char *big = malloc(N * 220), *at = big, line[512], first[65];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		line[0] = '\0';
		helper_line(line, sizeof line,
		            &(struct helper_line){.head = i < N - 2 ? "" : NULL,
		                                  .tot_pkts = i,
		                                  .action = 1 + i % 3,
		                                  .sflags = 1,
		                                  .pkt_len = i % 1500,
		                                  .fields = i < N - 3 ? 23 : 24});
		at += sprintf(at, "%s\n", line);
	}
	const char *log = helper_file("big.log", big, (size_t)(at - big));
	assert_int_equal(parse(log, pool), AQM_OK);
	expect_counter(pool, N, 0);
	aqm_pool *opened = open_pool(pool);
	double *times = column(opened, "time"), *lengths = column(opened, "pkt_len");
	assert_true(isnan(times[0]) && isnan(times[N - 3]) && times[N - 2] > 0 && times[N - 1] > 0);
	assert_true(lengths[0] == 0 && lengths[N - 4] == 0 && lengths[N - 3] == (N - 3) % 1500);
	free(times);
	free(lengths);
	aqm_pool_free(opened);

	assert_int_equal(aqm_sha256_file(pool, first), AQM_OK);
	for (int threads = 1; threads < 4; threads++) {
		char again[65];
		options.threads = threads;
		assert_int_equal(parse(log, pool), AQM_OK);
		assert_int_equal(aqm_sha256_file(pool, again), AQM_OK);
		assert_string_equal(again, first);
	}
	options.threads = 0;
	for (int level = 0; level < 10; level += 9) {
		options.compression = level;
		assert_int_equal(parse(log, pool), AQM_OK);
		expect_counter(pool, N, 0);
	}
	options.compression = -1;
	free(big);
}

/* The sample of data/: what its simulator says it wrote. */
static void test_the_sample_log(void **state)
{
	const char *pool = helper_path("sample.h5");

	(void)state;
	assert_int_equal(parse(AQM_SOURCE_DIR "/data/sample-log", pool), AQM_OK);
	expect_info(pool, "\"records\": 6044, \"episodes\": 3,");
	expect_info(pool, "\"actions\": {\"enqueue\": 4855, \"drop\": 1097, \"mark\": 92}");
	expect_info(pool, "\"phantom_drops\": 29,");
	expect_info(pool, "\"skipped\": {\"damaged\": 12, \"fragment\": 0, \"chatter\": 95, \"repeat\": 0,");
}

static void expect_refused(int code, const char *words, const char *pool)
{
	assert_int_equal(code, AQM_EDATA);
	if (!strstr(aqm_error_message(), words))
		fail_msg("no '%s' in '%s'", words, aqm_error_message());
	assert_null(strchr(aqm_error_message(), '\n'));
	assert_false(aqm_path_exists(pool));
}

static void test_what_is_no_log(void **state)
{
	static uint8_t noise[100000];
	const char *pool = helper_path("none.h5");
	unsigned x = 1;

	(void)state;
	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (uint8_t)((x = x * 1103515245 + 12345) >> 16);
	expect_refused(parse(helper_file("noise", noise, sizeof noise), pool), "no record", pool);
	expect_refused(parse(helper_text_file("empty", ""), pool), "no record", pool);
	expect_refused(parse(helper_path("missing"), pool), "missing", pool);
	memcpy(noise, "\x1f\x8b\x08\0", 4);
	expect_refused(parse(helper_file("noise.gz", noise, sizeof noise), pool), "gzip data are damaged", pool);
	memcpy(noise, "BZh9", 4);
	expect_refused(parse(helper_file("noise.bz2", noise, sizeof noise), pool), "bzip2 data are damaged", pool);
	memcpy(noise, "\xfd" "7zXZ\0", 6);
	expect_refused(parse(helper_file("noise.xz", noise, sizeof noise), pool), "compressed with xz", pool);
}

/* A file that ends in the middle of its compressed data has lost lines: that is said, not passed over. */
static void test_cut_archives(void **state)
{
	const char *pool = helper_path("cut.h5");
	char *data;
	size_t bytes;

	(void)state;
	write_lines(text, 0, 50, 1);
	assert_int_equal(aqm_file_read(helper_gzip_file("whole.gz", text), 1 << 20, &data, &bytes), AQM_OK);
	expect_refused(parse(helper_file("cut.gz", data, bytes / 2), pool), "middle of its compressed data", pool);
	free(data);
	assert_int_equal(aqm_file_read(helper_bzip2_file("whole.bz2", text), 1 << 20, &data, &bytes), AQM_OK);
	expect_refused(parse(helper_file("cut.bz2", data, bytes / 2), pool), "middle of its compressed data", pool);
	/* One archive behind another is one text. */
	char *twice = malloc(2 * bytes);
	memcpy(twice, data, bytes);
	memcpy(twice + bytes, data, bytes);
	assert_int_equal(parse(helper_file("twice.bz2", twice, 2 * bytes), pool), AQM_OK);
	expect_info(pool, "\"records\": 100, \"episodes\": 2,");
	free(twice);
	free(data);
}

static void test_interruption_leaves_nothing(void **state)
{
	const char *pool = helper_path("interrupted.h5"), *log = helper_text_file("some.log", write_lines(text, 0, 50, 1));

	(void)state;
	aqm_interrupt_raise(true);
	int code = parse(log, pool);
	aqm_interrupt_raise(false);
	assert_int_equal(code, AQM_EINTERRUPTED);
	assert_false(aqm_path_exists(pool));
}

static void test_a_pool_that_cannot_be_written(void **state)
{
	const char *log = helper_text_file("some.log", write_lines(text, 0, 50, 1));

	(void)state;
	assert_int_equal(parse(log, helper_path("no/such/folder/p.h5")), AQM_ERUN);
	assert_non_null(strstr(aqm_error_message(), "no/such/folder/p.h5"));
	if (access("/dev/full", W_OK) == 0)
		assert_int_equal(parse(log, "/dev/full"), AQM_ERUN);
}

/* ---- CSV ---- */

static void test_csv_and_back(void **state)
{
	const char *pool = helper_path("csv.h5"), *again = helper_path("again.h5");
	char csv[512], digest[65];

	(void)state;
	strcpy(csv, helper_path("out.csv"));
	write_lines(text, 100, 30, 1);
	strcat(text, write_lines(other, 0, 12, 1));
	assert_int_equal(parse(helper_text_file("runs.log", text), pool), AQM_OK);
	assert_int_equal(aqm_pool_export(pool, csv), AQM_OK);
	assert_int_equal(aqm_pool_import(csv, again), AQM_OK);
	aqm_pool *a = open_pool(pool);
	strcpy(digest, aqm_pool_digest(a));
	aqm_pool_free(a);
	a = open_pool(again);
	assert_string_equal(aqm_pool_digest(a), digest);
	aqm_pool_free(a);
}

static void test_csv_labels(void **state)
{
	const char *pool = helper_path("labels.h5");
	uint8_t actions[3];

	(void)state;
	assert_int_equal(
		aqm_pool_import(
			helper_gzip_file("a.csv.gz",
	                         "\xef\xbb\xbf"
	                         "burst_allowance,\"sflags\" ,action_logged\r\n0,1,1\r\n\r\n5,1,1\r\n0,1,2.0\r\n"),
			pool),
		AQM_OK);
	aqm_pool *opened = open_pool(pool);
	assert_int_equal(aqm_pool_rows(opened), 3);
	assert_int_equal(aqm_pool_actions(opened, AQM_LABELS_EFFECTIVE, actions), AQM_OK);
	assert_int_equal(actions[0], AQM_DROP);
	assert_int_equal(actions[1], AQM_ENQUEUE);
	assert_int_equal(actions[2], AQM_MARK);
	aqm_pool_free(opened);
	/* Only one kind, and no way to tell the other: both are the same. */
	assert_int_equal(aqm_pool_import(helper_text_file("b.csv", "drops,action\n7,1\n8,0"), pool), AQM_OK);
	opened = open_pool(pool);
	assert_int_equal(aqm_pool_actions(opened, AQM_LABELS_LOGGED, actions), AQM_OK);
	assert_int_equal(actions[0], AQM_DROP);
	assert_int_equal(actions[1], AQM_ENQUEUE);
	aqm_pool_free(opened);
}

static void test_csv_episodes(void **state)
{
	const char *pool = helper_path("episodes.h5");

	(void)state;
	assert_int_equal(aqm_pool_import(helper_text_file("e.csv", "episode,action\n0,1\n0,0\n7,0\n7,0\n0,0\n"), pool),
	                 AQM_OK);
	expect_info(pool, "\"episodes\": 3,");
	assert_int_equal(aqm_pool_import(helper_text_file("e.csv", "time,action\n0.5,1\n1,0\n100,0\n101,0\n"), pool),
	                 AQM_OK);
	expect_info(pool, "\"episodes\": 2,");
	assert_int_equal(
		aqm_pool_import(helper_text_file("e.csv", "tot_bytes,action\n9000000,1\n9001500,0\n9000000,0\n15000,0\n"),
	                    pool),
		AQM_OK);
	expect_info(pool, "\"episodes\": 2,");
}

static void test_csv_faults(void **state)
{
	static const struct {
		const char *csv, *words;
	} cases[] = {
		{"", "no rows"},
		{"drops,action\n", "no rows"},
		{"drops,length\n1,2\n", "neither a column 'action' nor 'action_logged'"},
		{"drops,speed,action\n1,2,0\n", "no column is called 'speed'; known are time, queue_type,"},
		{"drops,drops,action\n1,2,0\n", "'drops' stands there twice"},
		{"drops,action\n1,0\n1\n", "line 3 has 1 cells, expected 2"},
		{"drops,action\n1,0,0\n", "line 2 has more cells"},
		{"drops,action\n-1,0\n", "line 2: drops is '-1', expected a whole number up to 4294967295"},
		{"drops,action\n4294967296,0\n", "drops is '4294967296'"},
		{"drops,action\n1.5,0\n", "drops is '1.5'"},
		{"drops,action\n,0\n", "drops is ''"},
		{"drops,action\n1,3\n", "action is '3', expected a whole number up to 2"},
		{"accu_prob,action\n18446744073709551616,1\n", "accu_prob is"},
		{"time,action\ninf,1\n", "time is 'inf', expected a number"},
		{"time,action\nx,1\n", "time is 'x', expected a number"},
		{"drops,action\n1,0x\n", "action is '0x'"},
	};
	const char *pool = helper_path("fault.h5");

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		expect_refused(aqm_pool_import(helper_text_file("fault.csv", cases[i].csv), pool), cases[i].words, pool);
	expect_refused(aqm_pool_import(helper_file("zero.csv", "drops,action\n1\0,0\n", 18), pool), "line 2 is no text",
	               pool);
	memset(other, '1', sizeof other - 1);
	other[sizeof other - 1] = '\0';
	char *huge = malloc(3 << 20);
	memset(huge, '1', 3 << 20);
	expect_refused(aqm_pool_import(helper_file("huge.csv", huge, 3 << 20), pool), "line 1 is longer", pool);
	free(huge);
}

/* ---- splits ---- */

static void split_at(const char *pool, double fraction, size_t rows, size_t expected_cut, size_t train_episodes,
                     size_t eval_episodes)
{
	char train[512], eval[512];

	strcpy(train, helper_path("train.h5"));
	strcpy(eval, helper_path("eval.h5"));
	assert_int_equal(aqm_pool_split(pool, train, eval, AQM_SPLIT_ORDER, fraction), AQM_OK);
	expect_counter(train, expected_cut, 0);
	aqm_pool *a = open_pool(train), *b = open_pool(eval);
	double *counter = column(b, "tot_pkts");
	assert_int_equal(aqm_pool_rows(b), rows - expected_cut);
	assert_true(counter[0] == (double)expected_cut);
	assert_int_equal(aqm_pool_episodes(a), train_episodes);
	assert_int_equal(aqm_pool_episodes(b), eval_episodes);
	free(counter);
	aqm_pool_free(a);
	aqm_pool_free(b);
}

static void test_splits(void **state)
{
	const char *pool = helper_path("to-split.h5");
	char path[512];

	(void)state;
	strcpy(path, pool);
	strcpy(text, "episode,tot_pkts,action\n");
	for (int i = 0; i < 100; i++)
		sprintf(text + strlen(text), "0,%d,%d\n", i, i % 3);
	assert_int_equal(aqm_pool_import(helper_text_file("one.csv", text), path), AQM_OK);
	split_at(path, 0.7, 100, 70, 1, 1);
	split_at(path, 0.999, 100, 99, 1, 1);
	split_at(path, 0.001, 100, 1, 1, 1);

	strcpy(text, "episode,tot_pkts,action\n"); /* episodes of 0, 33, 67 */
	for (int i = 0; i < 100; i++)
		sprintf(text + strlen(text), "%d,%d,%d\n", i < 33 ? 0 : i < 67 ? 1 : 2, i, i % 3);
	assert_int_equal(aqm_pool_import(helper_text_file("three.csv", text), path), AQM_OK);
	split_at(path, 0.7, 100, 67, 2, 1);  /* a whole episode lies near enough */
	split_at(path, 0.3, 100, 33, 1, 2);
	split_at(path, 0.5, 100, 50, 2, 2);  /* none does: one is parted in time */

	assert_int_equal(aqm_pool_split(path, "same.h5", "same.h5", AQM_SPLIT_ORDER, 0.5), AQM_EUSAGE);
	assert_int_equal(aqm_pool_split(path, "a.h5", "b.h5", AQM_SPLIT_ORDER, 0), AQM_EUSAGE);
	assert_int_equal(aqm_pool_split(path, "a.h5", "b.h5", AQM_SPLIT_ORDER, (double)NAN), AQM_EUSAGE);
}

/* Which counters a side has: "0-32 67-99". */
static void expect_rows(const char *path, const char *rows, size_t episodes)
{
	aqm_pool *pool = open_pool(path);
	double *counter = column(pool, "tot_pkts");
	size_t count = aqm_pool_rows(pool);
	char found[256] = "";

	for (size_t from = 0, to; from < count; from = to + 1) {
		for (to = from; to + 1 < count && counter[to + 1] == counter[to] + 1; to++)
			;
		sprintf(found + strlen(found), "%s%.0f-%.0f", from ? " " : "", counter[from], counter[to]);
	}
	assert_string_equal(found, rows);
	assert_int_equal(aqm_pool_episodes(pool), episodes);
	free(counter);
	aqm_pool_free(pool);
}

static void test_splits_of_episodes(void **state)
{
	char path[512], train[512], eval[512];

	(void)state;
	strcpy(path, helper_path("runs.h5"));
	strcpy(train, helper_path("train.h5"));
	strcpy(eval, helper_path("eval.h5"));
	strcpy(text, "episode,tot_pkts,action\n"); /* ten episodes of ten rows, and one of one */
	for (int i = 0; i <= 100; i++)
		sprintf(text + strlen(text), "%d,%d,%d\n", i / 10, i, i % 3);
	assert_int_equal(aqm_pool_import(helper_text_file("runs.csv", text), path), AQM_OK);

	assert_int_equal(aqm_pool_split(path, train, eval, AQM_SPLIT_EPISODES, 0.75), AQM_OK);
	expect_rows(eval, "20-29 60-69 100-100", 3); /* the one row makes up for what five were short */
	expect_rows(train, "0-19 30-59 70-99", 8);

	assert_int_equal(aqm_pool_split(path, train, eval, AQM_SPLIT_TIME, 0.85), AQM_OK);
	expect_rows(eval, "9-9 19-19 29-29 39-39 49-49 59-59 69-69 79-79 89-89 99-99", 10);
	assert_int_equal(aqm_pool_split(path, train, eval, AQM_SPLIT_TIME, 0.999), AQM_OK);
	expect_rows(eval, "9-9 19-19 29-29 39-39 49-49 59-59 69-69 79-79 89-89 99-99", 10);
	assert_int_equal(aqm_pool_split(path, train, eval, AQM_SPLIT_TIME, 0.001), AQM_OK);
	expect_rows(train, "0-0 10-10 20-20 30-30 40-40 50-50 60-60 70-70 80-80 90-90 100-100", 11);

	strcpy(text, "episode,tot_pkts,action\n0,0,0\n0,1,1\n0,2,2\n");
	assert_int_equal(aqm_pool_import(helper_text_file("single.csv", text), path), AQM_OK);
	assert_int_equal(aqm_pool_split(path, train, eval, AQM_SPLIT_EPISODES, 0.7), AQM_EDATA);
	assert_non_null(strstr(aqm_error_message(), "1 episodes leave nothing to hold out"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rotated_sets_are_read_in_time_order),
		cmocka_unit_test(test_dated_sets),
		cmocka_unit_test(test_sets_are_episodes),
		cmocka_unit_test(test_an_episode_starts_where_the_counter_does),
		cmocka_unit_test(test_phantom_drops_are_relabelled),
		cmocka_unit_test(test_columns_follow_what_the_log_tells),
		cmocka_unit_test(test_many_chunks),
		cmocka_unit_test(test_the_sample_log),
		cmocka_unit_test(test_what_is_no_log),
		cmocka_unit_test(test_cut_archives),
		cmocka_unit_test(test_interruption_leaves_nothing),
		cmocka_unit_test(test_a_pool_that_cannot_be_written),
		cmocka_unit_test(test_csv_and_back),
		cmocka_unit_test(test_csv_labels),
		cmocka_unit_test(test_csv_episodes),
		cmocka_unit_test(test_csv_faults),
		cmocka_unit_test(test_splits),
		cmocka_unit_test(test_splits_of_episodes),
	};
	return cmocka_run_group_tests(tests, setup, helper_teardown);
}
