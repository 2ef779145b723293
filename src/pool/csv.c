/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool/csv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

static const char *const other_names[] = {"episode", "behaviour"}; /* from AQM_CSV_EPISODE on */

static const char *column_name(size_t index)
{
	return index < AQM_POOL_COLUMNS ? aqm_pool_column_types()[index].name : other_names[index - AQM_POOL_COLUMNS];
}

/* Cut the next cell out of *at: its text without quotes and blanks, NUL-terminated. *at is NULL after the last one. */
static char *next_cell(char **at)
{
	char *cell = *at, *comma = strchr(cell, ',');

	*at = comma ? comma + 1 : NULL;
	char *end = comma ? comma : cell + strlen(cell);
	while (cell < end && (*cell == ' ' || *cell == '\t'))
		cell++;
	while (end > cell && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (end - cell >= 2 && *cell == '"' && end[-1] == '"') {
		cell++;
		end--;
	}
	*end = '\0';
	return cell;
}

static int unknown_column(const struct aqm_csv *csv, const char *name)
{
	char names[1024] = "";
	size_t used = 0;

	for (size_t i = 0; i < AQM_POOL_COLUMNS && used < sizeof names; i++)
		used += (size_t)snprintf(names + used, sizeof names - used, "%s, ", aqm_pool_column_types()[i].name);
	return aqm_error_set(AQM_EDATA, "cannot read '%s': no column is called '%.60s'; known are %s%s, %s", csv->name, name,
	                     names, other_names[0], other_names[1]);
}

static int read_header(struct aqm_csv *csv, char *line)
{
	if (strncmp(line, "\xef\xbb\xbf", 3) == 0) /* byte order mark */
		line += 3;
	for (char *at = line; at;) {
		const char *name = next_cell(&at);
		size_t index = 0;

		while (index < AQM_CSV_COLUMNS && strcmp(name, column_name(index)) != 0)
			index++;
		if (index == AQM_CSV_COLUMNS)
			return unknown_column(csv, name);
		if (csv->has[index])
			return aqm_error_set(AQM_EDATA, "cannot read '%s': column '%s' stands there twice", csv->name, name);
		csv->has[index] = true;
		csv->columns[csv->count++] = index;
	}
	if (!csv->has[AQM_COLUMN_ACTION] && !csv->has[AQM_COLUMN_FIRST_FIELD + AQM_FIELD_ACTION_LOGGED])
		return aqm_error_set(AQM_EDATA, "cannot read '%s': it has neither a column 'action' nor 'action_logged'",
		                     csv->name);
	csv->has_header = true;
	return AQM_OK;
}

static uint64_t largest(size_t index)
{
	if (index == AQM_COLUMN_ACTION || index == AQM_COLUMN_FIRST_FIELD + AQM_FIELD_ACTION_LOGGED)
		return AQM_ACTIONS - 1;
	if (index == AQM_CSV_EPISODE)
		return UINT64_MAX;
	enum aqm_kind kind = aqm_pool_column_types()[index].kind;
	return kind == AQM_KIND_U8 ? UINT8_MAX : kind == AQM_KIND_U32 ? UINT32_MAX : UINT64_MAX;
}

/* Digits, and perhaps ".000" as other programs write whole numbers. */
static bool read_integer(const char *text, uint64_t most, uint64_t *value)
{
	const char *p = text;

	*value = 0;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, (uint64_t)(*p - '0'), value))
			return false;
	if (p == text || *value > most)
		return false;
	if (*p == '.')
		do
			p++;
		while (*p == '0');
	return *p == '\0';
}

static bool read_real(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return end != text && *end == '\0' && !isinf(*value);
}

static int read_values(struct aqm_csv *csv, char *line, union aqm_csv_value *values)
{
	size_t place = 0;

	for (char *at = line; at; place++) {
		const char *cell = next_cell(&at);

		if (place == csv->count)
			return aqm_error_set(AQM_EDATA, "cannot read '%s': line %llu has more cells than the %zu of the header",
			                     csv->name, (unsigned long long)csv->line, csv->count);
		size_t index = csv->columns[place];
		if (index == AQM_CSV_BEHAVIOUR) {
			values[index].text = cell;
			continue;
		}
		uint64_t most = largest(index);

		if (index == AQM_COLUMN_TIME ? !read_real(cell, &values[index].real)
		                             : !read_integer(cell, most, &values[index].integer))
			return aqm_error_set(AQM_EDATA, "cannot read '%s': line %llu: %s is '%.40s', expected a %s%.0llu",
			                     csv->name, (unsigned long long)csv->line, column_name(index), cell,
			                     index == AQM_COLUMN_TIME ? "number" : "whole number up to ",
			                     (unsigned long long)(index == AQM_COLUMN_TIME ? 0 : most));
	}
	if (place < csv->count)
		return aqm_error_set(AQM_EDATA, "cannot read '%s': line %llu has %zu cells, expected %zu", csv->name,
		                     (unsigned long long)csv->line, place, csv->count);
	return AQM_OK;
}

int aqm_csv_line(struct aqm_csv *csv, char *text, size_t bytes, union aqm_csv_value values[AQM_CSV_COLUMNS], bool *row)
{
	*row = false;
	csv->line++;
	while (bytes && (text[bytes - 1] == '\r' || text[bytes - 1] == ' '))
		bytes--;
	if (bytes == 0)
		return AQM_OK;
	if (bytes > AQM_CSV_LINE_MAX || memchr(text, '\0', bytes))
		return aqm_error_set(AQM_EDATA, "cannot read '%s': line %llu is no text of at most %d bytes", csv->name,
		                     (unsigned long long)csv->line, AQM_CSV_LINE_MAX);
	text[bytes] = '\0';
	if (!csv->has_header)
		return read_header(csv, text);
	*row = true;
	return read_values(csv, text, values);
}

int aqm_csv_buffer(const char *name, const char *text, size_t bytes, uint64_t *rows)
{
	union aqm_csv_value values[AQM_CSV_COLUMNS];
	struct aqm_csv csv = {.name = name};
	char *copy = aqm_malloc_array(bytes + 1, 1);
	int code = copy ? AQM_OK : AQM_ERUN;

	*rows = 0;
	if (copy)
		memcpy(copy, text, bytes);
	for (size_t at = 0; code == AQM_OK && at < bytes;) {
		char *newline = memchr(copy + at, '\n', bytes - at);
		size_t length = newline ? (size_t)(newline - copy) - at : bytes - at;
		bool row;

		code = aqm_csv_line(&csv, copy + at, length, values, &row);
		*rows += code == AQM_OK && row;
		at += length + 1;
	}
	if (code == AQM_OK && *rows == 0)
		code = aqm_error_set(AQM_EDATA, "cannot read '%s': it has no rows", name);
	free(copy);
	return code;
}
