/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Grids: overrides, checks, and the cells.
 */
#include "sim/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/random.h"
#include "base/size.h"
#include "sim/reader.h"

/* So many groups of flows are copied at most when all cells are checked. */
enum { GROUPS_MAX = 4 * AQM_GRID_CELLS_MAX };

/* What is drawn for the AQM has numbers of its own: cells of a group share the rest. */
static const uint32_t OF_AQM = UINT32_C(1) << 31;

/* ---- overrides ---- */

static void release_axis(struct aqm_grid_axis *axis)
{
	for (size_t i = 0; i < axis->count; i++)
		free(axis->values[i]);
	free(axis->values);
	axis->values = NULL;
	axis->count = 0;
}

/* What the file says of the key is gone; the axis keeps its place in the order, if it had one. */
static struct aqm_grid_axis *axis_in_place_of(struct aqm_grid *grid, const char *key)
{
	const struct aqm_setting *setting = aqm_setting_of_key(key, strlen(key));
	size_t kept = 0;

	for (size_t i = 0; i < grid->range_count; i++) {
		bool gone = grid->ranges[i].setting ? grid->ranges[i].setting == setting : strcmp(key, "epsilon") == 0;

		if (!gone)
			grid->ranges[kept++] = grid->ranges[i];
	}
	grid->range_count = kept;
	for (size_t i = 0; i < grid->axis_count; i++)
		if (strcmp(grid->axes[i].key, key) == 0) {
			release_axis(&grid->axes[i]);
			grid->axes[i].place[0] = '\0';
			return &grid->axes[i];
		}
	return aqm_grid_add_axis(grid, key);
}

static int override(struct aqm_grid *grid, const char *assignment)
{
	const char *equals = strchr(assignment, '=');
	char key[AQM_SIM_NAME_MAX];

	if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof key)
		return aqm_error_set(AQM_EUSAGE, "--set wants KEY=VALUE, not '%.80s'", assignment);
	snprintf(key, sizeof key, "%.*s", (int)(equals - assignment), assignment);
	bool counts = strcmp(key, "seeds") == 0 || strcmp(key, "draws") == 0;
	if (counts) {
		key[4] = '\0';
		counts = !strchr(equals, ',');
	}
	struct aqm_grid_axis *axis = axis_in_place_of(grid, key);
	bool numbers = axis && (axis->kind == AQM_AXIS_SEED || axis->kind == AQM_AXIS_DRAW);
	char *list = axis ? aqm_strdup(equals + 1) : NULL, *rest = list, *item;
	int code = axis ? list ? AQM_OK : AQM_ERUN : AQM_EUSAGE;

	while (code == AQM_OK && (item = strsep(&rest, ",")))
		code = numbers ? aqm_grid_add_numbers(axis, item, counts) : aqm_grid_add_value(axis, item);
	free(list);
	return code == AQM_OK ? AQM_OK : aqm_error_context(code, "--set");
}

/* ---- checks ---- */

static int wrong_axis(const struct aqm_grid *grid, const struct aqm_grid_axis *axis, int code)
{
	return aqm_error_context(code, "%s%s", axis->place[0] ? grid->file : "--set", axis->place);
}

static int check_setting(const struct aqm_grid_axis *axis)
{
	struct aqm_scenario scenario;
	struct aqm_flow_settings flow;
	int code = AQM_OK;

	aqm_scenario_init(&scenario);
	void *object = axis->setting->section == AQM_IN_FLOW ? (void *)&flow : &scenario;
	for (size_t i = 0; i < axis->count && code == AQM_OK; i++)
		code = aqm_setting_store(axis->setting, object, axis->values[i]);
	return code;
}

static int check_epsilon(const struct aqm_grid_axis *axis)
{
	for (size_t i = 0; i < axis->count; i++) {
		const char *text = axis->values[i];
		char *end;
		double value = strtod(text, &end);

		if (end == text || *end || !(value >= 0 && value <= 1))
			return aqm_error_set(AQM_EUSAGE, "'epsilon' wants a number from 0 to 1, not '%.60s'", text);
	}
	return AQM_OK;
}

static const struct aqm_grid_mix *find_mix(const struct aqm_grid *grid, const char *name)
{
	for (size_t i = 0; i < grid->mix_count; i++)
		if (strcmp(grid->mixes[i].name, name) == 0)
			return &grid->mixes[i];
	return NULL;
}

static int check_mixes(const struct aqm_grid *grid, const struct aqm_grid_axis *axis)
{
	for (size_t i = 0; i < axis->count; i++)
		if (!find_mix(grid, axis->values[i]))
			return aqm_error_set(AQM_EUSAGE, "no mix '%.60s' stands in 'mixes'", axis->values[i]);
	return AQM_OK;
}

/* The file's name without folder and ending. */
static void keep_stem(char *path)
{
	char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	memmove(path, name, strlen(name) + 1);
	char *dot = strrchr(path, '.');
	if (dot && dot != path)
		*dot = '\0';
}

static int load_bases(struct aqm_grid *grid, const struct aqm_grid_axis *axis)
{
	struct aqm_scenario *bases;
	int code = AQM_OK;

	if (!grid->folder)
		return aqm_error_set(AQM_EUSAGE, "'scenario' is not taken here");
	if (grid->has_base)
		return aqm_error_set(AQM_EUSAGE, "cells begin with 'scenario' or with 'base', not with both");
	if (!(bases = aqm_realloc_array(grid->bases, axis->count, sizeof *bases)))
		return AQM_ERUN;
	grid->bases = bases;
	for (size_t i = 0; i < axis->count && code == AQM_OK; i++) {
		bool ours = axis->place[0] && axis->values[i][0] != '/';
		char *path = ours ? aqm_path_join(grid->folder, axis->values[i]) : aqm_strdup(axis->values[i]);

		aqm_scenario_init(&bases[i]);
		grid->base_count = i + 1;
		code = path ? aqm_scenario_read(&bases[i], path) : AQM_ERUN;
		free(path);
		keep_stem(axis->values[i]);
	}
	return code;
}

static int check_axis(struct aqm_grid *grid, const struct aqm_grid_axis *axis)
{
	switch (axis->kind) {
	case AQM_AXIS_SETTING:
		return check_setting(axis);
	case AQM_AXIS_SCENARIO:
		return load_bases(grid, axis);
	case AQM_AXIS_MIX:
		return check_mixes(grid, axis);
	case AQM_AXIS_EPSILON:
		return check_epsilon(axis);
	case AQM_AXIS_DRAW:
	case AQM_AXIS_SEED:
		break;
	}
	return AQM_OK;
}

/* The seed is the last axis: runs of one point lie side by side. */
static int seeds_last(struct aqm_grid *grid)
{
	size_t at = 0;

	while (at < grid->axis_count && grid->axes[at].kind != AQM_AXIS_SEED)
		at++;
	if (at == grid->axis_count) {
		struct aqm_grid_axis *axis = aqm_grid_add_axis(grid, "seed");

		return axis ? aqm_grid_add_numbers(axis, "1", true) : AQM_EUSAGE;
	}
	struct aqm_grid_axis seeds = grid->axes[at];
	memmove(&grid->axes[at], &grid->axes[at + 1], (grid->axis_count - at - 1) * sizeof seeds);
	grid->axes[grid->axis_count - 1] = seeds;
	return AQM_OK;
}

static int count_cells(struct aqm_grid *grid)
{
	size_t groups = 1;

	grid->cells = 1;
	for (size_t i = 0; i < grid->axis_count; i++) {
		grid->cells *= grid->axes[i].count; /* both are small enough */
		if (grid->cells > AQM_GRID_CELLS_MAX)
			return aqm_error_set(AQM_EUSAGE, "%s: more than %d cells", grid->file, AQM_GRID_CELLS_MAX);
	}
	for (size_t i = 0; i < grid->base_count; i++)
		groups = grid->bases[i].flow_count > groups ? grid->bases[i].flow_count : groups;
	for (size_t i = 0; i < grid->mix_count; i++)
		groups = grid->mixes[i].flows.flow_count > groups ? grid->mixes[i].flows.flow_count : groups;
	return groups > GROUPS_MAX / grid->cells
	           ? aqm_error_set(AQM_EUSAGE, "%s: too many groups of flows for %zu cells", grid->file, grid->cells)
	           : AQM_OK;
}

static int check_ranges(const struct aqm_grid *grid)
{
	for (size_t i = 0; i < grid->range_count; i++) {
		const struct aqm_grid_range *range = &grid->ranges[i];

		for (size_t a = 0; a < grid->axis_count; a++)
			if (range->setting ? grid->axes[a].setting == range->setting : grid->axes[a].kind == AQM_AXIS_EPSILON)
				return aqm_error_set(AQM_EUSAGE, "%s: '%s' is an axis and random", grid->file, grid->axes[a].key);
	}
	return AQM_OK;
}

/* One of each point: seeds change only what is random, and that lies in its range. */
static int check_cells(const struct aqm_grid *grid)
{
	size_t seeds = grid->axes[grid->axis_count - 1].count;
	int code = AQM_OK;

	for (size_t i = 0; i < grid->cells && code == AQM_OK; i += seeds) {
		struct aqm_cell cell;

		code = aqm_grid_cell(grid, i, &cell);
		aqm_cell_release(&cell);
	}
	return code;
}

static int finish(struct aqm_grid *grid, const char *const *overrides, size_t count)
{
	int code = AQM_OK;

	for (size_t i = 0; i < count && code == AQM_OK; i++)
		code = override(grid, overrides[i]);
	if (code == AQM_OK)
		code = seeds_last(grid);
	for (size_t i = 0; i < grid->axis_count && code == AQM_OK; i++)
		if ((code = check_axis(grid, &grid->axes[i])) != AQM_OK)
			wrong_axis(grid, &grid->axes[i], code);
	if (code == AQM_OK)
		code = count_cells(grid);
	if (code == AQM_OK)
		code = check_ranges(grid);
	return code == AQM_OK ? check_cells(grid) : code;
}

/* ---- grids ---- */

void aqm_grid_free(struct aqm_grid *grid)
{
	if (!grid)
		return;
	for (size_t i = 0; i < grid->axis_count; i++)
		release_axis(&grid->axes[i]);
	for (size_t i = 0; i < grid->mix_count; i++)
		aqm_scenario_release(&grid->mixes[i].flows);
	for (size_t i = 0; i < grid->base_count; i++)
		aqm_scenario_release(&grid->bases[i]);
	free(grid->bases);
	free(grid->file);
	free(grid->folder);
	free(grid);
}

static int make(struct aqm_grid **out, const char *name, char *folder, const void *data, size_t bytes,
                const char *const *overrides, size_t count)
{
	struct aqm_grid *grid = aqm_calloc_array(1, sizeof *grid);
	int code = AQM_ERUN;

	*out = NULL;
	if (!grid) {
		free(folder);
		return AQM_ERUN;
	}
	grid->folder = folder;
	grid->file = aqm_strdup(name);
	grid->bases = aqm_calloc_array(1, sizeof *grid->bases);
	if (grid->file && grid->bases) {
		aqm_scenario_init(&grid->bases[0]);
		grid->base_count = 1;
		code = aqm_grid_read(grid, data, bytes);
	}
	if (code == AQM_OK)
		code = finish(grid, overrides, count);
	if (code == AQM_OK)
		*out = grid;
	else
		aqm_grid_free(grid);
	return code;
}

int aqm_grid_parse(struct aqm_grid **out, const char *name, const void *data, size_t bytes,
                   const char *const *overrides, size_t override_count)
{
	return make(out, name, NULL, data, bytes, overrides, override_count);
}

int aqm_grid_load(struct aqm_grid **out, const char *path, const char *const *overrides, size_t override_count)
{
	const char *slash = strrchr(path, '/');
	char *data, *folder;
	size_t bytes;
	int code = aqm_file_read(path, AQM_READER_BYTES_MAX, &data, &bytes);

	*out = NULL;
	if (code != AQM_OK)
		return code == AQM_EDATA ? AQM_EUSAGE : code;
	folder = slash ? aqm_strprintf("%.*s", (int)(slash - path + 1), path) : aqm_strdup(".");
	code = folder ? make(out, path, folder, data, bytes, overrides, override_count) : AQM_ERUN;
	free(data);
	return code;
}

const char *aqm_grid_name(const struct aqm_grid *grid)
{
	return grid->name;
}

size_t aqm_grid_cells(const struct aqm_grid *grid)
{
	return grid->cells;
}

size_t aqm_grid_axes(const struct aqm_grid *grid)
{
	return grid->axis_count;
}

struct aqm_axis aqm_grid_axis(const struct aqm_grid *grid, size_t axis)
{
	const struct aqm_grid_axis *a = &grid->axes[axis];

	return (struct aqm_axis){a->key, (const char *const *)a->values, a->count};
}

size_t aqm_grid_place(const struct aqm_grid *grid, size_t cell, size_t axis)
{
	for (size_t i = grid->axis_count - 1; i > axis; i--)
		cell /= grid->axes[i].count;
	return cell % grid->axes[axis].count;
}

static bool is_of_aqm(const struct aqm_grid_axis *axis)
{
	return axis->kind == AQM_AXIS_EPSILON || axis->kind == AQM_AXIS_DRAW ||
	       (axis->kind == AQM_AXIS_SETTING && axis->setting->section == AQM_IN_AQM);
}

size_t aqm_grid_group(const struct aqm_grid *grid, size_t cell)
{
	size_t group = 0;

	for (size_t i = 0; i < grid->axis_count; i++)
		if (!is_of_aqm(&grid->axes[i]))
			group = group * grid->axes[i].count + aqm_grid_place(grid, cell, i);
	return group;
}

/* ---- cells ---- */

void aqm_cell_release(struct aqm_cell *cell)
{
	aqm_scenario_release(&cell->scenario);
}

static const char *value_of(const struct aqm_grid *grid, size_t index, enum aqm_axis_kind kind, size_t *place)
{
	for (size_t i = 0; i < grid->axis_count; i++)
		if (grid->axes[i].kind == kind) {
			*place = aqm_grid_place(grid, index, i);
			return grid->axes[i].values[*place];
		}
	*place = 0;
	return NULL;
}

static int put_mix(struct aqm_scenario *scenario, const struct aqm_grid_mix *mix)
{
	size_t count = mix->flows.flow_count;
	struct aqm_flow_settings *flows = aqm_malloc_array(count, sizeof *flows);

	if (!flows)
		return AQM_ERUN;
	if (count)
		memcpy(flows, mix->flows.flows, count * sizeof *flows);
	free(scenario->flows);
	scenario->flows = flows;
	scenario->flow_count = count;
	return AQM_OK;
}

/* A count is drawn from all whole numbers of the range, a number from its 2^32 steps. */
static int draw(const struct aqm_grid_range *range, struct aqm_rng *rng, struct aqm_cell *cell)
{
	double u = aqm_rng_u32(rng) * 0x1p-32, value = range->low + (range->high - range->low) * u;
	char text[48];

	if (range->low > 0)
		value = fmin(fmax(range->low * pow(range->high / range->low, u), range->low), range->high);
	if (!range->setting) {
		cell->epsilon = value;
		return AQM_OK;
	}
	bool whole = range->setting->kind == AQM_SETTING_INT;
	snprintf(text, sizeof text, whole ? "%.0f" : "%.17g", value);
	return aqm_setting_assign(range->setting, &cell->scenario, text);
}

static void name_cell(const struct aqm_grid *grid, size_t index, struct aqm_cell *cell)
{
	size_t at = 0;

	cell->name[0] = '\0';
	for (size_t i = 0; i < grid->axis_count && at < sizeof cell->name; i++) {
		const struct aqm_grid_axis *axis = &grid->axes[i];

		if (axis->count > 1 || axis->kind == AQM_AXIS_SEED) /* a truncated name is still one */
			at += (size_t)snprintf(cell->name + at, sizeof cell->name - at, "%s%s=%s", at ? " " : "", axis->key,
			                       axis->values[aqm_grid_place(grid, index, i)]);
	}
}

static int fill_cell(const struct aqm_grid *grid, size_t index, struct aqm_cell *cell)
{
	struct aqm_rng rng, of_aqm;
	size_t place;
	const char *mix = value_of(grid, index, AQM_AXIS_MIX, &place);
	int code = mix ? put_mix(&cell->scenario, find_mix(grid, mix)) : AQM_OK;

	for (size_t i = 0; i < grid->axis_count && code == AQM_OK; i++)
		if (grid->axes[i].kind == AQM_AXIS_SETTING)
			code = aqm_setting_assign(grid->axes[i].setting, &cell->scenario,
			                          grid->axes[i].values[aqm_grid_place(grid, index, i)]);
	const char *epsilon = value_of(grid, index, AQM_AXIS_EPSILON, &place);
	if (epsilon)
		cell->epsilon = strtod(epsilon, NULL);
	cell->scenario.seed = strtoull(value_of(grid, index, AQM_AXIS_SEED, &place), NULL, 10);
	aqm_rng_init(&rng, cell->scenario.seed, AQM_STREAM_COLLECT, (uint32_t)aqm_grid_group(grid, index));
	aqm_rng_init(&of_aqm, cell->scenario.seed, AQM_STREAM_COLLECT, OF_AQM | (uint32_t)index);
	for (size_t i = 0; i < grid->range_count && code == AQM_OK; i++) {
		const struct aqm_setting *setting = grid->ranges[i].setting;

		code = draw(&grid->ranges[i], !setting || setting->section == AQM_IN_AQM ? &of_aqm : &rng, cell);
	}
	return code == AQM_OK ? aqm_scenario_check(&cell->scenario) : code;
}

int aqm_grid_cell(const struct aqm_grid *grid, size_t index, struct aqm_cell *cell)
{
	size_t base;

	(void)value_of(grid, index, AQM_AXIS_SCENARIO, &base);
	name_cell(grid, index, cell);
	cell->epsilon = 0;
	int code = aqm_scenario_copy(&cell->scenario, &grid->bases[base]);
	if (code == AQM_OK)
		code = fill_cell(grid, index, cell);
	return code == AQM_OK ? AQM_OK : aqm_error_context(code, "%s: cell %zu (%s)", grid->file, index, cell->name);
}
