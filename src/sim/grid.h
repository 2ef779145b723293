/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What grid_read.c reads and grid.c expands.
 */
#ifndef AQM_SIM_GRID_H
#define AQM_SIM_GRID_H

#include "sim/scenario_table.h"

enum { AQM_GRID_AXES_MAX = 24, AQM_GRID_VALUES_MAX = 256, AQM_GRID_MIXES_MAX = 64, AQM_GRID_RANDOM_MAX = 24 };

enum aqm_axis_kind { AQM_AXIS_SETTING, AQM_AXIS_SCENARIO, AQM_AXIS_MIX, AQM_AXIS_EPSILON, AQM_AXIS_DRAW, AQM_AXIS_SEED };

struct aqm_grid_axis {
	char key[AQM_SIM_NAME_MAX];
	enum aqm_axis_kind kind;
	const struct aqm_setting *setting; /* of AQM_AXIS_SETTING */
	char **values;                     /* owned, each too */
	size_t count;
	char place[AQM_SIM_NAME_MAX];      /* ":line:column", for messages; "" of an override */
};

struct aqm_grid_range {
	const struct aqm_setting *setting; /* NULL: epsilon */
	double low, high;
};

struct aqm_grid_mix {
	char name[AQM_SIM_NAME_MAX];
	struct aqm_scenario flows; /* of which only these count */
};

struct aqm_grid {
	char name[AQM_SIM_NAME_MAX];
	char *file, *folder;        /* owned; folder NULL: no files are read */
	struct aqm_scenario *bases; /* owned: one, or one a value of the axis "scenario" */
	size_t base_count;
	unsigned seen;              /* of the names at the root, a bit each */
	bool has_base;              /* one of these: "base" */
	struct aqm_grid_axis axes[AQM_GRID_AXES_MAX];
	size_t axis_count;
	struct aqm_grid_mix mixes[AQM_GRID_MIXES_MAX];
	size_t mix_count;
	struct aqm_grid_range ranges[AQM_GRID_RANDOM_MAX];
	size_t range_count;
	size_t cells;
};

/* YAML into an empty grid; values of axes are not looked at yet. */
int aqm_grid_read(struct aqm_grid *grid, const void *data, size_t bytes);
/* An empty axis; an error when the key is none or stands there already. NULL with a message. */
struct aqm_grid_axis *aqm_grid_add_axis(struct aqm_grid *grid, const char *key);
/* A value, copied. */
int aqm_grid_add_value(struct aqm_grid_axis *axis, const char *text);
/* Of seeds and draws: "3" becomes 1, 2, 3 where `counts`; else it is one of them. */
int aqm_grid_add_numbers(struct aqm_grid_axis *axis, const char *text, bool counts);

#endif
