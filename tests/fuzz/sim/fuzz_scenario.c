/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A scenario of any bytes is refused in one line, or read, and what is then printed reads back to the same text; one that
 * passes the checks also runs, for a moment.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *dump(const struct aqm_scenario *scenario)
{
	char *text;

	if (aqm_scenario_dump(scenario, &text) != AQM_OK)
		abort();
	return text;
}

static void read_back(const struct aqm_scenario *scenario)
{
	struct aqm_scenario again;
	char *first = dump(scenario);

	aqm_scenario_init(&again);
	if (aqm_scenario_parse(&again, "dump", first, strlen(first)) != AQM_OK)
		abort();
	char *second = dump(&again);
	if (strcmp(first, second) != 0)
		abort();
	aqm_scenario_release(&again);
	free(first);
	free(second);
}

static void simulate(struct aqm_scenario *scenario)
{
	struct aqm_sim_result result;

	scenario->seconds = 0.02;
	scenario->warmup = 0;
	for (size_t i = 0; i < scenario->flow_count; i++)
		if (scenario->flows[i].arrivals > 100)
			scenario->flows[i].arrivals = 100;
	if (scenario->link.rate > 100 || scenario->flow_count > 20 || aqm_scenario_check(scenario) != AQM_OK)
		return;
	for (size_t i = 0; i < scenario->flow_count; i++)
		if (scenario->flows[i].rate > 1000 || scenario->flows[i].count > 20)
			return;
	if (aqm_sim_run(scenario, NULL, &result) != AQM_OK || result.late_events)
		abort();
	aqm_sim_result_release(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct aqm_scenario scenario;
	char *assignment = malloc(size + 1);

	if (!assignment)
		abort();
	aqm_scenario_init(&scenario);
	if (aqm_scenario_parse(&scenario, "fuzz", data, size) == AQM_OK) {
		read_back(&scenario);
		if (aqm_scenario_check(&scenario) == AQM_OK)
			simulate(&scenario);
		else if (!*aqm_error_message() || strchr(aqm_error_message(), '\n'))
			abort();
	} else if (!*aqm_error_message() || strchr(aqm_error_message(), '\n')) {
		abort();
	}
	if (size)
		memcpy(assignment, data, size);
	assignment[size] = '\0';
	(void)aqm_scenario_set(&scenario, assignment);
	aqm_scenario_release(&scenario);
	free(assignment);
	return 0;
}
