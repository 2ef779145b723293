/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The scanner: every form of line that logs are known to have, and every way they break.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

#define HEAD "Aug 12 10:00:00 aqm-router-1 kernel: "
#define FIELDS                                                                                                        \
	"0,15000,15000,150000,819,1024,10240,19,0,213519568,280000,270000,17295083520,2108833000,0,0,1,1375,1124452,111," \
	"167352,125,1500,1"
#define RECORD "l4s_ecn_marking-start," FIELDS ",end "
/* The same without pkt_len */
#define FIELDS_23                                                                                                     \
	"1,15000,15000,150000,819,1024,10240,19,0,213519568,280000,270000,17295083520,2108833000,0,0,1,1375,1124452,111," \
	"167352,125,3"

static struct aqm_log_record records[64];

static void test_fields_land_in_their_places(void **state)
{
	static const uint64_t expected[AQM_LOG_FIELDS] = {
		0,           15000,      15000, 150000, 819, 1024, 10240,   19,  0,      213519568, 280000, 270000,
		17295083520, 2108833000, 0,     0,      1,   1375, 1124452, 111, 167352, 125,       1500,   AQM_ENQUEUE};
	struct aqm_parse_counts c = helper_scan(HEAD RECORD "\n", records, 64);

	(void)state;
	assert_int_equal(c.lines, 1);
	assert_int_equal(c.records, 1);
	assert_memory_equal(records[0].values, expected, sizeof expected);
	assert_true(records[0].has_pkt_len);
}

static void test_the_short_form_lacks_the_packet_length(void **state)
{
	struct aqm_parse_counts c = helper_scan(HEAD "dualpi2_ecn_marking-start," FIELDS_23 ",end \n", records, 64);

	(void)state;
	assert_int_equal(c.records, 1);
	assert_false(records[0].has_pkt_len);
	assert_int_equal(records[0].values[AQM_FIELD_PKT_LEN], 0);
	assert_int_equal(records[0].values[AQM_FIELD_DROPS], 125);
	assert_int_equal(records[0].values[AQM_FIELD_ACTION_LOGGED], AQM_MARK);
	assert_int_equal(records[0].values[AQM_FIELD_QUEUE_TYPE], 1);
}

/* Every head a record may have, and whether its line ends at once. */
static void test_heads_and_tails(void **state)
{
	static const struct {
		const char *line;
		enum aqm_clock_kind clock;
		double time;
	} cases[] = {
		{RECORD, AQM_CLOCK_NONE, 0},
		{"dualpi2_ecn_marking-start," FIELDS ",end", AQM_CLOCK_NONE, 0},
		{"fq-pie2_ecn_marking-start," FIELDS ",end", AQM_CLOCK_NONE, 0},
		{HEAD RECORD "\r", AQM_CLOCK_SYSLOG, 224 * 86400.0 + 36000},
		{"Jan  1 00:00:01 a-b-c.d kernel: " RECORD, AQM_CLOCK_SYSLOG, 1},
		{"Jan  1 00:00:01.25 h kernel: " RECORD, AQM_CLOCK_SYSLOG, 1.25},
		{"Jan  1 00:00:01 <kern.info> h kernel: " RECORD, AQM_CLOCK_SYSLOG, 1},
		{"<6>Jan  1 00:00:01 h kernel: " RECORD, AQM_CLOCK_SYSLOG, 1},
		{"<6>1 2024-08-12T10:00:00.250000+02:00 h kernel - - - " RECORD, AQM_CLOCK_UTC, 1723449600.25},
		{"2024-08-12T08:00:00Z h-1 kernel: " RECORD, AQM_CLOCK_UTC, 1723449600},
		{"2000-02-29T00:00:00-01:30 h kernel: " RECORD, AQM_CLOCK_UTC, 951782400 + 5400},
		{"[12345.678] " RECORD, AQM_CLOCK_BOOT, 12345.678},
		{"[    0.500000] " RECORD, AQM_CLOCK_BOOT, 0.5},
		{"[77] " RECORD, AQM_CLOCK_BOOT, 77},
		{"Jan  1 00:00:01 h kernel: [9.5] " RECORD, AQM_CLOCK_BOOT, 9.5},
		{"Jan  1 00:00:01 h kernel[812]: " RECORD, AQM_CLOCK_SYSLOG, 1},
		{"idx queue Type: 1 " RECORD, AQM_CLOCK_NONE, 0},
		{HEAD RECORD "idx queue Type: 1", AQM_CLOCK_SYSLOG, 224 * 86400.0 + 36000},
		{"Foo 99 99:99:99 h kernel: " RECORD, AQM_CLOCK_NONE, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct aqm_parse_counts c = helper_scan(cases[i].line, records, 64);

		assert_int_equal(c.records, 1);
		assert_int_equal(records[0].clock, cases[i].clock);
		if (cases[i].clock == AQM_CLOCK_NONE)
			assert_true(isnan(records[0].time));
		else if (fabs(records[0].time - cases[i].time) > 1e-6)
			fail_msg("'%s' has time %f", cases[i].line, records[0].time);
		assert_int_equal(records[0].values[AQM_FIELD_TOT_PKTS], 1375);
	}
}

/* Lines without a whole record, each counted once under its reason. */
static void test_reasons(void **state)
{
	static const struct {
		const char *line;
		enum aqm_skip reason;
	} cases[] = {
		{HEAD "l4s_ecn_marking-start,0,15000,15000,150000,819,1024,10240,19,0,2135idx queue Type: 1 ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,0,15x00,15000,150000,819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,1,end ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-sta", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_mark", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start," FIELDS, AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start," FIELDS ",", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start," FIELDS ",en", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start," FIELDS ",7,end ", AQM_SKIP_DAMAGED},                       /* 25 fields */
		{HEAD "l4s_ecn_marking-start,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,1,end ", AQM_SKIP_DAMAGED}, /* 22 */
		{HEAD "l4s_ecn_marking-start,,15000,15000,150000,819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,1,end ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,-1,15000,15000,150000,819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,1,end ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,0,15000,15000,150000,819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,0,end ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,0,15000,15000,150000,819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,4,end ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,256,15000,15000,150000,819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,1,end ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,0,4294967296,15000,150000,819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,1,end ", AQM_SKIP_DAMAGED},
		{HEAD "l4s_ecn_marking-start,0,1,15000,150000,819,1024,10240,19,0,1,1,1,18446744073709551616,1,0,0,1,1,1,1,1,1,1500,1,end ",
	         AQM_SKIP_DAMAGED},
		{"1500,end ", AQM_SKIP_FRAGMENT},
		{HEAD "819,1024,10240,19,0,1,1,1,1,1,0,0,1,1,1,1,1,1,1500,1,end ", AQM_SKIP_FRAGMENT},
		{"ecn_marking-start," FIELDS ",end ", AQM_SKIP_FRAGMENT},
		{"0,1,endOverload: false", AQM_SKIP_CHATTER},
		{HEAD "idx queue Type: 1 ", AQM_SKIP_CHATTER},
		{HEAD "cqueue_drop_early start ", AQM_SKIP_CHATTER},
		{HEAD "fq_calculate_drop_prob", AQM_SKIP_CHATTER},
		{HEAD "Friend, end", AQM_SKIP_CHATTER},
		{"Aug 12 10:00:00 h newsyslog[812]: logfile turned over due to size>1000K", AQM_SKIP_CHATTER},
		{"last message repeated 3 times", AQM_SKIP_REPEAT},
		{" \t", AQM_SKIP_BLANK},
		{"\r", AQM_SKIP_BLANK},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct aqm_parse_counts c = helper_scan(cases[i].line, records, 64);

		assert_int_equal(c.records, 0);
		for (int r = 0; r < AQM_SKIP_REASONS; r++)
			if (c.skipped[r] != (r == (int)cases[i].reason))
				fail_msg("'%s' counted %d times as %s", cases[i].line, (int)c.skipped[r], aqm_skip_names[r]);
	}
}

static void test_largest_numbers(void **state)
{
	struct aqm_parse_counts c =
		helper_scan("x_ecn_marking-start,255,4294967295,4294967295,0,0,0,0,0,0,0,0,0,18446744073709551615,0,0,0,"
	                "4294967295,18446744073709551615,9999999999999999,12345678,123456789,0,18446744073709551615,2,end",
	                records, 64);

	(void)state;
	assert_int_equal(c.records, 1);
	assert_true(records[0].values[AQM_FIELD_ACCU_PROB] == UINT64_MAX);
	assert_true(records[0].values[AQM_FIELD_TOT_PKTS] == UINT64_MAX);
	assert_true(records[0].values[AQM_FIELD_TOT_BYTES] == 9999999999999999);
	assert_true(records[0].values[AQM_FIELD_LENGTH] == 12345678);
	assert_true(records[0].values[AQM_FIELD_LEN_BYTES] == 123456789);
	assert_true(records[0].values[AQM_FIELD_PKT_LEN] == UINT64_MAX);
	assert_int_equal(records[0].values[AQM_FIELD_QUEUE_TYPE], 255);
}

/* The number of every length, in every place of the eight-byte steps. */
static void test_numbers_of_every_length(void **state)
{
	char line[512];

	(void)state;
	for (unsigned digits = 1; digits <= 20; digits++) {
		char number[24];
		snprintf(number, sizeof number, "%.*s", (int)digits, "12345678901234567890");
		snprintf(line, sizeof line, "x_ecn_marking-start,0,0,0,0,0,0,0,0,0,0,0,0,%s,0,0,0,0,0,0,0,0,0,0,1,end", number);
		assert_int_equal(helper_scan(line, records, 64).records, 1);
		assert_true(records[0].values[AQM_FIELD_ACCU_PROB] == strtoull(number, NULL, 10));
	}
}

static void test_two_records_on_a_line(void **state)
{
	struct aqm_parse_counts c = helper_scan(HEAD RECORD RECORD "\n", records, 64);

	(void)state;
	assert_int_equal(c.records, 2);
	assert_int_equal(c.skipped[AQM_SKIP_DAMAGED], 0);
	/* The second may be the middle of one record and the tail of another: it cannot be told. */
	c = helper_scan(HEAD "l4s_ecn_marking-start,0,15000,15" RECORD "\n", records, 64);
	assert_int_equal(c.records, 0);
	assert_int_equal(c.skipped[AQM_SKIP_DAMAGED], 1);
	/* But a whole one stands, whatever begins behind it. */
	c = helper_scan(HEAD RECORD "l4s_ecn_marking-start,0,15000,15\n", records, 64);
	assert_int_equal(c.records, 1);
	assert_int_equal(c.skipped[AQM_SKIP_DAMAGED], 1);
}

static void test_repeats(void **state)
{
	struct aqm_parse_counts c =
		helper_scan(HEAD RECORD "\nAug 12 10:00:02 h last message repeated 3 times\n", records, 64);

	(void)state;
	assert_int_equal(c.records, 4);
	assert_int_equal(c.repeats_expanded, 3);
	assert_memory_equal(&records[3].values, &records[0].values, sizeof records[0].values);
	assert_true(records[3].time == records[0].time);

	/* syslogd goes on counting */
	c = helper_scan(RECORD "\nlast message repeated 2 times\nlast message repeated 5 times\n", records, 64);
	assert_int_equal(c.records, 8);
	/* of chatter, of a broken record, of nothing */
	c = helper_scan(RECORD "\nidx queue Type: 1 \nlast message repeated 2 times\n", records, 64);
	assert_int_equal(c.records, 1);
	assert_int_equal(c.skipped[AQM_SKIP_REPEAT], 1);
	c = helper_scan(RECORD "\nl4s_ecn_marking-start,0,1\nlast message repeated 2 times\n", records, 64);
	assert_int_equal(c.records, 1);
	assert_int_equal(c.skipped[AQM_SKIP_REPEAT], 1);
	/* more than anyone repeats */
	c = helper_scan(RECORD "\nlast message repeated 10001 times\n", records, 64);
	assert_int_equal(c.records, 1);
	assert_int_equal(c.skipped[AQM_SKIP_REPEAT], 1);
	c = helper_scan(RECORD "\nlast message repeated 10000 times\n", records, 64);
	assert_int_equal(c.records, 10001);
	c = helper_scan(RECORD "\nlast message repeated 99999999999999999999 times\n", records, 64);
	assert_int_equal(c.records, 1);
}

/* A repeat that comes right after a batch was handed on still finds its record. */
static void test_repeats_across_batches(void **state)
{
	size_t n = AQM_PARSE_BATCH, line = strlen(RECORD) + 1, room = 2 * AQM_PARSE_BATCH;
	char *text = malloc(n * line + 100);
	struct aqm_log_record *many = malloc(room * sizeof *many);

	(void)state;
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * line, RECORD "\n", line);
	strcpy(text + n * line, "last message repeated 2 times\n");
	struct aqm_parse_counts c = helper_scan(text, many, room);
	assert_int_equal(c.records, n + 2);
	assert_memory_equal(many[n + 1].values, many[0].values, sizeof many[0].values);
	free(text);
	free(many);
}

/* However the text arrives, the counts are the same. */
static void test_pieces(void **state)
{
	static const char text[] =
		HEAD "idx queue Type: 1 \n" HEAD RECORD "\n" HEAD "last message repeated 2 times\n1500,end \n\n" HEAD
			 "l4s_ecn_marking-start,0,15000idx queue Type: 1 \n" HEAD RECORD "\n" HEAD RECORD;
	struct aqm_parse_counts whole = helper_scan(text, records, 64);

	(void)state;
	assert_int_equal(whole.records, 5);
	assert_int_equal(whole.lines, 8);
	for (size_t step = 1; step < 80; step++) {
		struct aqm_parse_counts c = helper_scan_in_steps(text, step, records, 64);
		assert_memory_equal(&c, &whole, sizeof c);
	}
}

static void test_long_lines(void **state)
{
	size_t n = 3 * AQM_PARSE_LINE_MAX;
	char *text = malloc(n + 2000);
	struct aqm_parse_counts c;

	(void)state;
	memset(text, 'x', n);
	strcpy(text + n, RECORD "\n" HEAD RECORD "\n");
	for (size_t step = 1000; step < 2 * n; step *= 3) {
		c = helper_scan_in_steps(text, step, records, 64);
		assert_int_equal(c.records, 1);
		assert_int_equal(c.skipped[AQM_SKIP_LONG], 1);
		assert_int_equal(c.lines, 2);
	}
	/* and one that never ends */
	text[n] = '\0';
	c = helper_scan_in_steps(text, 5000, records, 64);
	assert_int_equal(c.lines, 1);
	assert_int_equal(c.skipped[AQM_SKIP_LONG], 1);
	free(text);
}

/* A stamp that is read from the stamp before must be the one that is there. */
static void test_clock_runs(void **state)
{
	helper_scan("Dec 31 23:59:59 h kernel: " RECORD "\nDec 31 23:59:59 h kernel: " RECORD
	            "\nJan  1 00:00:01 h kernel: " RECORD "\n",
	            records, 64);

	(void)state;
	assert_true(records[0].time == records[1].time);
	assert_true(records[2].time - records[1].time == 2);
}

static int refuse(void *context, const struct aqm_log_record *r, size_t count)
{
	(void)context;
	(void)r;
	return count ? AQM_ERUN : AQM_OK;
}

static void test_a_failing_sink_stops_the_scanner(void **state)
{
	struct aqm_parser *parser = malloc(sizeof *parser);
	size_t line = strlen(RECORD) + 1, n = 2 * AQM_PARSE_BATCH, used;
	char *text = calloc(n * line + AQM_PARSE_PADDING, 1);

	(void)state;
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * line, RECORD "\n", line);
	aqm_parser_init(parser, refuse, NULL);
	assert_int_equal(aqm_parser_scan(parser, text, n * line, true, &used), AQM_ERUN);
	free(text);
	free(parser);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields_land_in_their_places),
		cmocka_unit_test(test_the_short_form_lacks_the_packet_length),
		cmocka_unit_test(test_heads_and_tails),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_largest_numbers),
		cmocka_unit_test(test_numbers_of_every_length),
		cmocka_unit_test(test_two_records_on_a_line),
		cmocka_unit_test(test_repeats),
		cmocka_unit_test(test_repeats_across_batches),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_clock_runs),
		cmocka_unit_test(test_a_failing_sink_stops_the_scanner),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
