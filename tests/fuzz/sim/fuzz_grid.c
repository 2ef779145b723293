/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A grid of any bytes is refused in one line, or each of its cells is a scenario that passes the checks, the same each
 * time. Behind a NUL stands an override.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct aqm_grid *grid, size_t index)
{
	struct aqm_cell cell, again;
	char *first, *second;

	if (aqm_grid_cell(grid, index, &cell) != AQM_OK || aqm_grid_cell(grid, index, &again) != AQM_OK ||
	    aqm_scenario_check(&cell.scenario) != AQM_OK || !(cell.epsilon >= 0 && cell.epsilon <= 1))
		abort();
	if (aqm_scenario_dump(&cell.scenario, &first) != AQM_OK || aqm_scenario_dump(&again.scenario, &second) != AQM_OK ||
	    strcmp(first, second) != 0 || strcmp(cell.name, again.name) != 0 || aqm_grid_group(grid, index) > index)
		abort();
	free(first);
	free(second);
	aqm_cell_release(&cell);
	aqm_cell_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	size_t bytes = nul ? (size_t)(nul - data) : size;
	char *override = nul ? malloc(size - bytes) : NULL;
	const char *overrides[] = {override};
	struct aqm_grid *grid;

	if (override) {
		memcpy(override, nul + 1, size - bytes - 1);
		override[size - bytes - 1] = '\0';
	}
	if (aqm_grid_parse(&grid, "fuzz", data, bytes, overrides, override != NULL) == AQM_OK) {
		size_t cells = aqm_grid_cells(grid);

		if (cells == 0 || cells > AQM_GRID_CELLS_MAX)
			abort();
		for (size_t i = 0; i < 20; i++)
			look_at(grid, i * (cells - 1) / 19);
		aqm_grid_free(grid);
	} else if (!*aqm_error_message() || strchr(aqm_error_message(), '\n')) {
		abort();
	}
	free(override);
	return 0;
}
