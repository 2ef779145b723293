/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What can stand in a scenario: a row a setting, which drives reading, --set, printing and range checks.
 */
#ifndef AQM_SIM_SCENARIO_TABLE_H
#define AQM_SIM_SCENARIO_TABLE_H

#include "aqmtrain/sim.h"

enum aqm_setting_kind { AQM_SETTING_NAME, AQM_SETTING_NUMBER, AQM_SETTING_INT, AQM_SETTING_SEED, AQM_SETTING_WORD };
enum aqm_setting_section { AQM_IN_SCENARIO, AQM_IN_LINK, AQM_IN_CHANGE, AQM_IN_AQM, AQM_IN_FLOW };

struct aqm_setting {
	enum aqm_setting_section section;
	const char *name;
	enum aqm_setting_kind kind;
	size_t offset;            /* in the scenario, the rate change or the group of flows */
	double low, high;         /* inclusive */
	const char *const *words; /* NULL-terminated, in the order of the enum */
};
extern const struct aqm_setting aqm_settings[];
extern const size_t aqm_setting_count;
enum { AQM_SETTINGS_MAX = 64 }; /* no more than that */

const struct aqm_setting *aqm_setting_find(enum aqm_setting_section section, const char *name, size_t bytes);
/* By its key as --set has it: "seconds", "link.rate", "aqm.kind", "flows.rtt". NULL: there is none. */
const struct aqm_setting *aqm_setting_of_key(const char *key, size_t bytes);
/* Check the text and store it in `object`, which is what offset counts from. AQM_EUSAGE. */
int aqm_setting_store(const struct aqm_setting *setting, void *object, const char *text);
/* The same into a scenario; of flows, into each group. */
int aqm_setting_assign(const struct aqm_setting *setting, struct aqm_scenario *scenario, const char *text);

#endif
