/* SPDX-License-Identifier: BSD-2-Clause
 *
 * YAML events to a grid. What axes name may stand behind them, so their values are looked at when all is read.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sim/grid.h"
#include "sim/reader.h"

enum { NUMBERS_MAX = 10000 };

static int wants(const struct aqm_reader *r, yaml_event_type_t type, const char *what)
{
	return r->event.type == type ? AQM_OK : aqm_reader_fault(r, what);
}

/* ---- axes ---- */

struct aqm_grid_axis *aqm_grid_add_axis(struct aqm_grid *grid, const char *key)
{
	static const struct {
		const char *key;
		enum aqm_axis_kind kind;
	} special[] = {{"scenario", AQM_AXIS_SCENARIO},
	               {"mix", AQM_AXIS_MIX},
	               {"epsilon", AQM_AXIS_EPSILON},
	               {"draw", AQM_AXIS_DRAW},
	               {"seed", AQM_AXIS_SEED}};
	struct aqm_grid_axis axis = {.kind = AQM_AXIS_SETTING, .setting = aqm_setting_of_key(key, strlen(key))};

	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		if (strcmp(key, special[i].key) == 0)
			axis.kind = special[i].kind;
	if (axis.kind == AQM_AXIS_SETTING && !axis.setting) {
		aqm_error_set(AQM_EUSAGE, "a scenario has no '%.60s'", key);
		return NULL;
	}
	for (size_t i = 0; i < grid->axis_count; i++)
		if (strcmp(grid->axes[i].key, key) == 0) {
			aqm_error_set(AQM_EUSAGE, "'%.60s' stands here a second time", key);
			return NULL;
		}
	if (grid->axis_count == AQM_GRID_AXES_MAX) {
		aqm_error_set(AQM_EUSAGE, "too many axes; at most %d", AQM_GRID_AXES_MAX);
		return NULL;
	}
	snprintf(axis.key, sizeof axis.key, "%s", key);
	grid->axes[grid->axis_count] = axis;
	return &grid->axes[grid->axis_count++];
}

static bool is_numbers(const struct aqm_grid_axis *axis)
{
	return axis->kind == AQM_AXIS_SEED || axis->kind == AQM_AXIS_DRAW;
}

/* "5" and "5.0" are one value: their cells would be one run counted twice. */
static bool same_value(const struct aqm_grid_axis *axis, const char *a, const char *b)
{
	char *a_end, *b_end;

	if (strcmp(a, b) == 0)
		return true;
	if (is_numbers(axis))
		return false;
	double x = strtod(a, &a_end), y = strtod(b, &b_end);
	return a_end != a && b_end != b && !*a_end && !*b_end && x == y;
}

int aqm_grid_add_value(struct aqm_grid_axis *axis, const char *text)
{
	for (size_t i = 0; i < axis->count; i++)
		if (same_value(axis, axis->values[i], text))
			return aqm_error_set(AQM_EUSAGE, "'%s' has the value %.60s twice", axis->key, text);
	if (axis->count == (is_numbers(axis) ? NUMBERS_MAX : AQM_GRID_VALUES_MAX))
		return aqm_error_set(AQM_EUSAGE, "'%s' has too many values", axis->key);
	char **grown = aqm_realloc_array(axis->values, axis->count + 1, sizeof *grown);
	if (!grown)
		return AQM_ERUN;
	axis->values = grown;
	grown[axis->count] = aqm_strdup(text);
	return grown[axis->count] ? (axis->count++, AQM_OK) : AQM_ERUN;
}

int aqm_grid_add_numbers(struct aqm_grid_axis *axis, const char *text, bool counts)
{
	errno = 0;
	unsigned long long number = strtoull(text, NULL, 10);
	int code = AQM_OK;

	if (!*text || text[strspn(text, "0123456789")] || errno)
		return aqm_error_set(AQM_EUSAGE, "'%ss' wants a whole number, 0 or more, not '%.60s'", axis->key, text);
	if (!counts)
		return aqm_grid_add_value(axis, text);
	if (number < 1 || number > NUMBERS_MAX)
		return aqm_error_set(AQM_EUSAGE, "'%ss' wants from 1 to %d of them, not %.60s", axis->key, NUMBERS_MAX, text);
	for (unsigned long long i = 1; i <= number && code == AQM_OK; i++) {
		char digits[24];

		snprintf(digits, sizeof digits, "%llu", i);
		code = aqm_grid_add_value(axis, digits);
	}
	return code;
}

/* The present event is a value, or starts a list of them; leave with its last. */
static int read_values(struct aqm_reader *r, struct aqm_grid_axis *axis)
{
	int code = AQM_OK;

	snprintf(axis->place, sizeof axis->place, ":%zu:%zu", r->event.start_mark.line + 1,
	         r->event.start_mark.column + 1);
	if (r->event.type == YAML_SCALAR_EVENT) {
		code = is_numbers(axis) ? aqm_grid_add_numbers(axis, aqm_reader_text(r), true)
		                        : aqm_grid_add_value(axis, aqm_reader_text(r));
		return code == AQM_OK ? AQM_OK : aqm_reader_located(r, code, r->event.start_mark);
	}
	if ((code = wants(r, YAML_SEQUENCE_START_EVENT, "a value or a list of values has to stand here")) != AQM_OK)
		return code;
	while ((code = aqm_reader_next(r)) == AQM_OK && r->event.type != YAML_SEQUENCE_END_EVENT) {
		if ((code = wants(r, YAML_SCALAR_EVENT, "a single value has to stand here")) != AQM_OK)
			return code;
		code = is_numbers(axis) ? aqm_grid_add_numbers(axis, aqm_reader_text(r), false)
		                        : aqm_grid_add_value(axis, aqm_reader_text(r));
		if (code != AQM_OK)
			return aqm_reader_located(r, code, r->event.start_mark);
	}
	if (code == AQM_OK && axis->count == 0)
		code = aqm_reader_fault(r, "the list of values is empty");
	return code;
}

static int read_axis(struct aqm_grid *grid, struct aqm_reader *r, const char *key, yaml_mark_t mark)
{
	struct aqm_grid_axis *axis = aqm_grid_add_axis(grid, key);

	return axis ? read_values(r, axis) : aqm_reader_located(r, AQM_EUSAGE, mark);
}

/* Seeds and draws have places of their own, where a number counts them. */
static int read_axis_entry(struct aqm_grid *grid, struct aqm_reader *r, const char *key, yaml_mark_t mark)
{
	if (strcmp(key, "seed") == 0 || strcmp(key, "draw") == 0)
		return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "they stand in '%ss', not among the axes", key), mark);
	return read_axis(grid, r, key, mark);
}

/* ---- random ---- */

static int read_number(struct aqm_reader *r, double *out)
{
	int code = wants(r, YAML_SCALAR_EVENT, "a range is two numbers: [low, high]");
	char *end;

	if (code != AQM_OK)
		return code;
	*out = strtod(aqm_reader_text(r), &end);
	return !*aqm_reader_text(r) || *end || !isfinite(*out)
	           ? aqm_reader_fault(r, "a range is two numbers: [low, high]")
	           : AQM_OK;
}

static int read_range(struct aqm_grid *grid, struct aqm_reader *r, const char *key, yaml_mark_t mark)
{
	bool epsilon = strcmp(key, "epsilon") == 0;
	struct aqm_grid_range range = {.setting = epsilon ? NULL : aqm_setting_of_key(key, strlen(key))};
	int code;

	if (!epsilon && (!range.setting ||
	                 (range.setting->kind != AQM_SETTING_NUMBER && range.setting->kind != AQM_SETTING_INT)))
		return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "a scenario has no number '%.60s'", key), mark);
	for (size_t i = 0; i < grid->range_count; i++)
		if (grid->ranges[i].setting == range.setting)
			return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "'%.60s' stands here a second time", key), mark);
	if (grid->range_count == AQM_GRID_RANDOM_MAX)
		return aqm_reader_fault(r, "too many ranges");
	if ((code = wants(r, YAML_SEQUENCE_START_EVENT, "a range is two numbers: [low, high]")) != AQM_OK ||
	    (code = aqm_reader_next(r)) != AQM_OK || (code = read_number(r, &range.low)) != AQM_OK ||
	    (code = aqm_reader_next(r)) != AQM_OK || (code = read_number(r, &range.high)) != AQM_OK ||
	    (code = aqm_reader_next(r)) != AQM_OK ||
	    (code = wants(r, YAML_SEQUENCE_END_EVENT, "a range is two numbers: [low, high]")) != AQM_OK)
		return code;
	double low = epsilon ? 0 : range.setting->low, high = epsilon ? 1 : range.setting->high;
	if (range.low < low || range.high > high || range.low > range.high)
		return aqm_reader_located(
			r, aqm_error_set(AQM_EUSAGE, "'%.60s' wants a range within %g to %g, the lower end first", key, low, high),
			mark);
	grid->ranges[grid->range_count++] = range;
	return AQM_OK;
}

/* ---- mixes ---- */

static int read_mix(struct aqm_grid *grid, struct aqm_reader *r, const char *key, yaml_mark_t mark)
{
	for (size_t i = 0; i < grid->mix_count; i++)
		if (strcmp(grid->mixes[i].name, key) == 0)
			return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "'%s' stands here a second time", key), mark);
	if (grid->mix_count == AQM_GRID_MIXES_MAX)
		return aqm_reader_fault(r, "too many mixes");
	struct aqm_grid_mix *mix = &grid->mixes[grid->mix_count++];
	aqm_scenario_init(&mix->flows);
	snprintf(mix->name, sizeof mix->name, "%s", key);
	return aqm_scenario_read_flows(r, &mix->flows);
}

/* ---- all of it ---- */

typedef int (*entry_reader)(struct aqm_grid *grid, struct aqm_reader *r, const char *key, yaml_mark_t mark);

/* The present event starts a mapping; leave with its end. `entry` starts on a value's first event, leaves with its
 * last. */
static int read_entries(struct aqm_grid *grid, struct aqm_reader *r, entry_reader entry)
{
	int code = wants(r, YAML_MAPPING_START_EVENT, "a mapping has to stand here");

	while (code == AQM_OK && (code = aqm_reader_next(r)) == AQM_OK && r->event.type != YAML_MAPPING_END_EVENT) {
		yaml_mark_t mark = r->event.start_mark;
		char key[AQM_SIM_NAME_MAX];

		if ((code = wants(r, YAML_SCALAR_EVENT, "a name has to stand here")) != AQM_OK)
			return code;
		if (strlen(aqm_reader_text(r)) >= sizeof key)
			return aqm_reader_fault(r, "a name of at most 63 characters has to stand here");
		snprintf(key, sizeof key, "%s", aqm_reader_text(r));
		code = aqm_reader_next(r);
		if (code == AQM_OK)
			code = entry(grid, r, key, mark);
	}
	return code;
}

static int read_base(struct aqm_grid *grid, struct aqm_reader *r)
{
	int code = wants(r, YAML_MAPPING_START_EVENT, "'base' wants the settings of a scenario");

	grid->has_base = true;
	if (code == AQM_OK)
		code = aqm_scenario_read_mapping(r, &grid->bases[0]);
	return code;
}

static int read_name(struct aqm_grid *grid, struct aqm_reader *r)
{
	const struct aqm_setting *name = aqm_setting_of_key("name", 4);
	struct aqm_scenario scratch;
	int code = wants(r, YAML_SCALAR_EVENT, "'name' wants a single value");

	if (code != AQM_OK)
		return code;
	aqm_scenario_init(&scratch);
	if ((code = aqm_setting_store(name, &scratch, aqm_reader_text(r))) != AQM_OK)
		return aqm_reader_located(r, code, r->event.start_mark);
	memcpy(grid->name, scratch.name, sizeof grid->name);
	return AQM_OK;
}

static int read_root_entry(struct aqm_grid *grid, struct aqm_reader *r, const char *key, yaml_mark_t mark)
{
	static const char *const names[] = {"name", "scenario", "base", "axes", "mixes", "seeds", "draws", "random", NULL};
	unsigned which = 0;

	while (names[which] && strcmp(names[which], key) != 0)
		which++;
	if (!names[which])
		return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "a grid has no '%.60s'", key), mark);
	if (grid->seen & 1u << which)
		return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "'%s' stands here a second time", key), mark);
	grid->seen |= 1u << which;
	switch (which) {
	case 0:
		return read_name(grid, r);
	case 1:
		return read_axis(grid, r, "scenario", mark);
	case 2:
		return read_base(grid, r);
	case 3:
		return read_entries(grid, r, read_axis_entry);
	case 4:
		return read_entries(grid, r, read_mix);
	case 5:
		return read_axis(grid, r, "seed", mark);
	case 6:
		return read_axis(grid, r, "draw", mark);
	default:
		return read_entries(grid, r, read_range);
	}
}

int aqm_grid_read(struct aqm_grid *grid, const void *data, size_t bytes)
{
	struct aqm_reader r;
	bool empty;
	int code = aqm_reader_open(&r, grid->file, data, bytes, &empty);

	if (code == AQM_OK && !empty) {
		code = read_entries(grid, &r, read_root_entry);
		if (code == AQM_OK)
			code = aqm_reader_end(&r);
	}
	aqm_reader_close(&r);
	return code;
}
