/* SPDX-License-Identifier: BSD-2-Clause
 *
 * CSV with a header line of column names. Cells hold numbers, of the column
 * `behaviour` text without commas; they may stand in double quotes. Lines end in LF or CRLF.
 */
#ifndef AQM_POOL_CSV_H
#define AQM_POOL_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/fields.h"

enum { AQM_CSV_EPISODE = AQM_POOL_COLUMNS, AQM_CSV_BEHAVIOUR, AQM_CSV_COLUMNS, AQM_CSV_LINE_MAX = 1 << 16 };

struct aqm_csv {
	const char *name;              /* of the file, for messages */
	uint64_t line;                 /* number of the line read last */
	size_t count;                  /* columns */
	size_t columns[AQM_CSV_COLUMNS]; /* by place in the line: index into aqm_pool_column_types, or one of these */
	bool has[AQM_CSV_COLUMNS];     /* by that index */
	bool has_header;
};

/* One row, by the index above. */
union aqm_csv_value {
	uint64_t integer;
	double real;      /* of AQM_COLUMN_TIME */
	const char *text; /* of AQM_CSV_BEHAVIOUR: within the line */
};

/* Take a line without its newline: `text` has a byte of room behind it, and is written to. Sets *row when it held
 * values. */
int aqm_csv_line(struct aqm_csv *csv, char *text, size_t bytes, union aqm_csv_value values[AQM_CSV_COLUMNS], bool *row);
/* Read a whole file in memory, for the fuzz target: *rows good rows before the end or the first fault. */
int aqm_csv_buffer(const char *name, const char *text, size_t bytes, uint64_t *rows);

#endif
