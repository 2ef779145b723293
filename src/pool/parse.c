/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool/parse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define XX(symbol, name, text) name,
const char *const aqm_skip_names[AQM_SKIP_REASONS] = {AQM_SKIP_MAP(XX)};
#undef XX
#define XX(symbol, name, text) text,
const char *const aqm_skip_texts[AQM_SKIP_REASONS] = {AQM_SKIP_MAP(XX)};
#undef XX

static const char mark[] = "_ecn_marking", rest_of_mark[] = "-start,";
enum { MARK_BYTES = sizeof mark - 1, START_BYTES = MARK_BYTES + sizeof rest_of_mark - 1 };

void aqm_parser_init(struct aqm_parser *parser, aqm_record_sink sink, void *context)
{
	memset(parser, 0, sizeof *parser);
	parser->sink = sink;
	parser->context = context;
	aqm_parser_start_set(parser);
}

void aqm_parser_start_set(struct aqm_parser *parser)
{
	aqm_clock_init(&parser->clock);
	parser->last_line = AQM_LAST_OTHER;
	parser->in_long_line = false;
}

int aqm_parser_flush(struct aqm_parser *parser)
{
	size_t count = parser->batched;

	if (count == 0)
		return AQM_OK;
	parser->batched = 0;
	int code = parser->sink ? parser->sink(parser->context, parser->batch + 1, count) : AQM_OK;
	parser->batch[0] = parser->batch[count];
	return code;
}

/* Room for one more record. */
static int next_record(struct aqm_parser *parser, struct aqm_log_record **record)
{
	int code = parser->batched == AQM_PARSE_BATCH ? aqm_parser_flush(parser) : AQM_OK;

	*record = &parser->batch[1 + parser->batched];
	return code;
}

/* ---- numbers ---- */

/* Read decimal digits at `p`, of which 8 bytes at least are readable, eight at a time: the first byte that is no
 * digit gives their number, a shift brings them to the end of the word behind zeros, and three multiplications add up
 * pairs, fours and eights. Returns the byte after the digits; NULL for no digits or a number over 64 bits. */
static inline const char *read_number(const char *p, uint64_t *value)
{
	uint64_t total = 0;

	for (unsigned digits = 0; digits <= 16; digits += 8) {
		uint64_t word;

		memcpy(&word, p + digits, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		word = __builtin_bswap64(word);
#endif
		word ^= 0x3030303030303030;
		uint64_t others = ((word + 0x7676767676767676) | word) & 0x8080808080808080;
		unsigned n = others ? (unsigned)__builtin_ctzll(others) >> 3 : 8;

		if (n) {
			static const uint32_t powers[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

			word <<= 64 - 8 * n;
			word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ff;
			word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffff;
			word = (word * 10000 + (word >> 32)) & 0xffffffff;
			if (digits &&
			    (__builtin_mul_overflow(total, powers[n], &total) || __builtin_add_overflow(total, word, &total)))
				return NULL;
			if (!digits)
				total = word;
		}
		if (n < 8) {
			*value = total;
			return digits + n ? p + digits + n : NULL;
		}
	}
	return NULL;
}

/* Read the numbers after "-start,": true when there are 24 or 23 of them, in range, and then "end". *after: where
 * reading stopped. */
static bool read_record(const char *p, struct aqm_log_record *record, const char **after)
{
	uint64_t *values = record->values, last;
	size_t n = 0;

	do {
		const char *q = read_number(p, &values[n]);

		*after = p;
		if (!q || *q != ',')
			return false;
		p = q + 1;
		n++;
	} while (n < AQM_LOG_FIELDS && *p != 'e');
	*after = p;
	if (n < AQM_LOG_FIELDS - 1 || memcmp(p, "end", 3) != 0)
		return false;
	*after = p + 3;
	record->has_pkt_len = n == AQM_LOG_FIELDS;
	last = values[n - 1];
	if (!record->has_pkt_len)
		values[AQM_FIELD_PKT_LEN] = 0;
	values[AQM_FIELD_ACTION_LOGGED] = last - 1;

	/* All 32-bit fields at once: a bit above 32 in any of them shows in the union. */
	uint64_t wide = 0;
	for (size_t i = AQM_FIELD_QDELAY_REF; i <= AQM_FIELD_DROPS; i++)
		wide |= i == AQM_FIELD_ACCU_PROB || i == AQM_FIELD_TOT_PKTS || i == AQM_FIELD_TOT_BYTES ? 0 : values[i];
	return wide <= UINT32_MAX && values[AQM_FIELD_QUEUE_TYPE] <= UINT8_MAX && last - 1 < AQM_ACTIONS;
}

/* ---- lines ---- */

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* First "_ecn_marking" in [p, end), or NULL; then *cut tells whether the line ends inside it. */
static const char *find_mark(const char *p, const char *end, bool *cut)
{
	enum { TELLING = 5 }; /* "_ecn_" is enough of it */

	*cut = false;
	for (; (p = memchr(p, '_', (size_t)(end - p))); p++) {
		size_t left = (size_t)(end - p);

		if (left >= MARK_BYTES) {
			if (memcmp(p, mark, MARK_BYTES) == 0)
				return p;
		} else if (left >= TELLING && memcmp(p, mark, left) == 0) {
			*cut = true;
		}
	}
	return NULL;
}

/* A record is whole up to `end` only; the padding behind the text is readable, but not part of it. */
static int take_record(struct aqm_parser *parser, const char *line, const char *found, const char *end,
                       const char **after, bool *whole)
{
	struct aqm_log_record *record;
	int code = next_record(parser, &record);

	*whole = false;
	*after = end;
	if (code != AQM_OK || end - found < START_BYTES ||
	    memcmp(found + MARK_BYTES, rest_of_mark, sizeof rest_of_mark - 1) != 0)
		return code;
	*whole = read_record(found + START_BYTES, record, after) && *after <= end;
	if (!*whole)
		return AQM_OK;
	const char *head_end = found;
	while (head_end > line && is_name(head_end[-1]))
		head_end--;
	record->time = aqm_clock_read(&parser->clock, line, (size_t)(head_end - line), &record->clock);
	parser->batched++;
	parser->counts.records++;
	return AQM_OK;
}

/* "last message repeated 3 times": N, or 0 for anything else. */
static uint64_t repeats_in(const char *line, const char *end)
{
	static const char words[] = "last message repeated ";
	const char *p = memmem(line, (size_t)(end - line), words, sizeof words - 1);
	uint64_t n = 0;

	if (!p)
		return 0;
	for (p += sizeof words - 1; p < end && *p >= '0' && *p <= '9' && n < UINT32_MAX; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	return end - p >= 5 && memcmp(p, " time", 5) == 0 ? n : 0;
}

static int expand_repeats(struct aqm_parser *parser, uint64_t n)
{
	int code = AQM_OK;

	for (uint64_t i = 0; code == AQM_OK && i < n; i++) {
		struct aqm_log_record *record;

		code = next_record(parser, &record);
		*record = record[-1];
		parser->batched++;
	}
	parser->counts.records += n;
	parser->counts.repeats_expanded += n;
	return code;
}

/* The tail of a record: a digit, ",end", and no word of which that is only the beginning. */
static bool is_fragment(const char *line, const char *end)
{
	if (!memchr(line, ',', (size_t)(end - line)))
		return false;
	for (const char *p = line; (p = memmem(p, (size_t)(end - p), ",end", 4)); p += 4)
		if (p > line && p[-1] >= '0' && p[-1] <= '9' && (p + 4 == end || !is_name(p[4])))
			return true;
	return false;
}

/* A line in which no record begins. */
static int take_other_line(struct aqm_parser *parser, const char *line, const char *end)
{
	uint64_t *skipped = parser->counts.skipped;
	uint64_t n;

	while (end > line && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\t'))
		end--;
	if (line == end) {
		skipped[AQM_SKIP_BLANK]++; /* says nothing about the line before it either */
	} else if ((n = repeats_in(line, end)) > 0) {
		if (parser->last_line == AQM_LAST_RECORD && n <= AQM_PARSE_REPEATS_MAX)
			return expand_repeats(parser, n);
		skipped[AQM_SKIP_REPEAT]++;
	} else {
		skipped[is_fragment(line, end) ? AQM_SKIP_FRAGMENT : AQM_SKIP_CHATTER]++;
		parser->last_line = AQM_LAST_OTHER;
	}
	return AQM_OK;
}

static int take_line(struct aqm_parser *parser, const char *line, const char *end)
{
	bool cut, whole = true, any = false;
	const char *found, *p = line;
	int code = AQM_OK;

	parser->counts.lines++;
	if ((size_t)(end - line) > AQM_PARSE_LINE_MAX) {
		parser->counts.skipped[AQM_SKIP_LONG]++;
		parser->last_line = AQM_LAST_OTHER;
		return AQM_OK;
	}
	while (code == AQM_OK && whole && (found = find_mark(p, end, &cut))) {
		code = take_record(parser, line, found, end, &p, &whole);
		any = true;
	}
	if (code != AQM_OK)
		return code;
	if (!any && !cut)
		return take_other_line(parser, line, end);
	if (!whole || cut)
		parser->counts.skipped[AQM_SKIP_DAMAGED]++;
	parser->last_line = whole && !cut ? AQM_LAST_RECORD : AQM_LAST_OTHER;
	return AQM_OK;
}

int aqm_parser_scan(struct aqm_parser *parser, const char *text, size_t bytes, bool last, size_t *used)
{
	const char *p = text, *end = text + bytes, *newline;
	int code = AQM_OK;

	while (code == AQM_OK && p < end && (newline = memchr(p, '\n', (size_t)(end - p)))) {
		if (!parser->in_long_line)
			code = take_line(parser, p, newline);
		parser->in_long_line = false;
		p = newline + 1;
	}
	if (code == AQM_OK && p < end) {
		if (parser->in_long_line) {
			p = end;
		} else if (last) {
			code = take_line(parser, p, end);
			p = end;
		} else if (end - p > AQM_PARSE_LINE_MAX) {
			code = take_line(parser, p, end);
			p = end;
			parser->in_long_line = true;
		}
	}
	if (last)
		parser->in_long_line = false;
	*used = (size_t)(p - text);
	return code;
}

int aqm_parse_buffer(const char *text, size_t bytes, struct aqm_parse_counts *counts)
{
	struct aqm_parser *parser = aqm_malloc_array(1, sizeof *parser);
	size_t used;

	*counts = (struct aqm_parse_counts){0};
	if (!parser)
		return AQM_ERUN;
	aqm_parser_init(parser, NULL, NULL);
	int code = aqm_parser_scan(parser, text, bytes, true, &used);
	if (code == AQM_OK)
		code = aqm_parser_flush(parser);
	*counts = parser->counts;
	free(parser);
	return code;
}
