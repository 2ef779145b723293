/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Any text is a log, and its counts do not depend on the pieces in which it arrives. The first byte picks their size.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pool/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Blocks of exactly the size they claim, so that AddressSanitizer sees a read past the padding. */
static char *padded(const char *text, size_t bytes)
{
	char *copy = calloc(bytes + AQM_PARSE_PADDING, 1);

	if (!copy)
		abort();
	if (bytes)
		memcpy(copy, text, bytes);
	return copy;
}

static struct aqm_parse_counts scan_in_pieces(const char *text, size_t bytes, size_t step)
{
	static struct aqm_parser parser;
	size_t held = 0, used, at = 0;
	char *rest = padded("", 0);

	aqm_parser_init(&parser, NULL, NULL);
	for (;;) {
		size_t n = bytes - at < step ? bytes - at : step;
		char *block = calloc(held + n + AQM_PARSE_PADDING, 1);

		if (!block)
			abort();
		memcpy(block, rest, held);
		memcpy(block + held, text + at, n);
		held += n;
		at += n;
		if (aqm_parser_scan(&parser, block, held, n == 0, &used) != AQM_OK || used > held)
			abort();
		held -= used;
		free(rest);
		rest = padded(block + used, held);
		free(block);
		if (n == 0)
			break;
	}
	free(rest);
	if (held || aqm_parser_flush(&parser) != AQM_OK)
		abort();
	return parser.counts;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_parse_counts whole;

	if (size == 0)
		return 0;
	char *text = padded((const char *)data + 1, size - 1);
	if (aqm_parse_buffer(text, size - 1, &whole) != AQM_OK)
		abort();
	uint64_t skipped = 0;
	for (int i = 0; i < AQM_SKIP_REASONS; i++)
		skipped += whole.skipped[i];
	if (skipped > whole.lines || whole.repeats_expanded > whole.records)
		abort();
	struct aqm_parse_counts pieces = scan_in_pieces(text, size - 1, (size_t)data[0] * 8 + 1);
	if (memcmp(&whole, &pieces, sizeof whole) != 0)
		abort();
	free(text);
	return 0;
}
