/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The scanner of kernel logs: text in, records out, and a count for every line that holds none.
 *
 *   Aug 12 10:00:00 host kernel: l4s_ecn_marking-start,0,15000,...,1500,1,end
 *   `------- head: clock ------' `name`              `--- 24 or 23 numbers --'
 *
 * Kernel printf goes out in pieces, so text of another processor may land inside a line. A record counts only when it
 * is unbroken from its name to ",end"; after a broken one on the same line, what follows may be the middle of one
 * record and the tail of another, so that line is damaged as a whole.
 */
#ifndef AQM_POOL_PARSE_H
#define AQM_POOL_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/clock.h"
#include "pool/fields.h"

/* Why a line gave no record: name in JSON and in the pool, meaning. */
#define AQM_SKIP_MAP(XX)                                                          \
	XX(DAMAGED, "damaged", "lines that begin a record and do not hold one")   \
	XX(FRAGMENT, "fragment", "ends of records without their beginning")       \
	XX(CHATTER, "chatter", "other messages")                                  \
	XX(REPEAT, "repeat", "repeat notes on something else than a record")      \
	XX(BLANK, "blank", "empty lines")                                         \
	XX(LONG, "long", "lines over 64 KiB")

enum aqm_skip {
#define XX(symbol, name, text) AQM_SKIP_##symbol,
	AQM_SKIP_MAP(XX)
#undef XX
	AQM_SKIP_REASONS
};
extern const char *const aqm_skip_names[AQM_SKIP_REASONS], *const aqm_skip_texts[AQM_SKIP_REASONS];

enum {
	AQM_PARSE_PADDING = 32, /* readable bytes that must follow the text given to the scanner, zeros where it ends */
	AQM_PARSE_LINE_MAX = 1 << 16,
	AQM_PARSE_REPEATS_MAX = 10000, /* a note of more repeats is not believed: syslogd writes one within minutes */
};

struct aqm_log_record {
	uint64_t values[AQM_LOG_FIELDS]; /* by enum aqm_log_field; the action as 0, 1, 2 */
	double time;                     /* NaN without a clock */
	enum aqm_clock_kind clock;
	bool has_pkt_len;                /* else its value is 0 */
};

struct aqm_parse_counts {
	uint64_t lines;
	uint64_t records;          /* repeats included */
	uint64_t repeats_expanded; /* records that stood in the log only as a number of repeats */
	uint64_t skipped[AQM_SKIP_REASONS];
};

/* Takes up to AQM_PARSE_BATCH records; a negative result stops the scanner, which returns it. */
enum { AQM_PARSE_BATCH = 256 };
typedef int (*aqm_record_sink)(void *context, const struct aqm_log_record *records, size_t count);

struct aqm_parser {
	aqm_record_sink sink; /* NULL: only count */
	void *context;
	struct aqm_parse_counts counts;
	struct aqm_clock clock;
	enum { AQM_LAST_OTHER, AQM_LAST_RECORD } last_line;
	bool in_long_line;    /* dropping text until the next newline */
	size_t batched;
	/* [0]: the last record of the batch before, which a repeat may need */
	struct aqm_log_record batch[1 + AQM_PARSE_BATCH];
};

/* The parser is large: keep it off the stack of threads. */
void aqm_parser_init(struct aqm_parser *parser, aqm_record_sink sink, void *context);
/* A new set of files: clock and repeats start afresh. Counts go on. */
void aqm_parser_start_set(struct aqm_parser *parser);
/* Scan the whole lines of `text`, which AQM_PARSE_PADDING readable bytes must follow; with `last`, where those must
 * be zeros, also a line that no newline ends. *used: how many bytes are done with; the caller presents the rest
 * again, with more behind it. */
int aqm_parser_scan(struct aqm_parser *parser, const char *text, size_t bytes, bool last, size_t *used);
/* Hand what is batched to the sink. */
int aqm_parser_flush(struct aqm_parser *parser);

/* Scan a whole log in memory (padded as above) and only count: for the fuzz target and `bench parse`. */
int aqm_parse_buffer(const char *text, size_t bytes, struct aqm_parse_counts *counts);

#endif
