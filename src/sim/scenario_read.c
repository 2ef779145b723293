/* SPDX-License-Identifier: BSD-2-Clause
 *
 * YAML events to a scenario. The root is a mapping of settings and of the sections link, aqm and flows; flows and
 * link.changes are lists of mappings. No anchors, aliases, tags or further documents: nothing can grow beyond the
 * file.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "sim/reader.h"
#include "sim/scenario_table.h"

/* One scenario that is being read. */
struct place {
	struct aqm_reader *r;
	struct aqm_scenario *scenario;
	bool link_seen, aqm_seen, flows_seen;
};

static int read_mapping(struct place *p, enum aqm_setting_section section, void *object);

/* The present event starts a list of mappings; leave with its end. */
static int read_list(struct place *p, enum aqm_setting_section section)
{
	struct aqm_reader *r = p->r;
	struct aqm_scenario *s = p->scenario;
	int code;

	if (r->event.type != YAML_SEQUENCE_START_EVENT)
		return aqm_reader_fault(r, section == AQM_IN_FLOW ? "'flows' wants a list: '- cc: ...'"
		                                       : "'changes' wants a list: '- at: ...'");
	while ((code = aqm_reader_next(r)) == AQM_OK && r->event.type != YAML_SEQUENCE_END_EVENT) {
		void *object;

		if (r->event.type != YAML_MAPPING_START_EVENT)
			return aqm_reader_fault(r, section == AQM_IN_FLOW ? "a mapping with 'cc' has to stand here"
			                                       : "a mapping with 'at' and 'rate' has to stand here");
		yaml_mark_t mark = r->event.start_mark;
		if (section == AQM_IN_FLOW) {
			if (s->flow_count == AQM_SIM_FLOWS_MAX)
				return aqm_reader_fault(r, "too many groups of flows");
			object = aqm_scenario_add_flows(s, "", 1, 0);
		} else {
			if (s->link.change_count == AQM_SIM_RATES_MAX)
				return aqm_reader_fault(r, "too many changes");
			struct aqm_rate_change *grown = aqm_realloc_array(s->link.changes, s->link.change_count + 1, sizeof *grown);

			object = grown ? &grown[s->link.change_count] : NULL;
			if (grown) {
				s->link.changes = grown;
				grown[s->link.change_count++] = (struct aqm_rate_change){-1, 0};
			}
		}
		if (!object)
			return AQM_ERUN;
		if ((code = read_mapping(p, section, object)) != AQM_OK)
			return code;
		if (section == AQM_IN_FLOW && !s->flows[s->flow_count - 1].cc[0])
			return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "these flows lack 'cc'"), mark);
		if (section == AQM_IN_CHANGE &&
		    (s->link.changes[s->link.change_count - 1].at < 0 || s->link.changes[s->link.change_count - 1].rate <= 0))
			return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "a change wants 'at' and 'rate'"), mark);
	}
	return code;
}

/* The value of a name that is no setting: a section. The present event starts it; leave with its last. */
static int read_section(struct place *p, enum aqm_setting_section section, const char *name, yaml_mark_t mark)
{
	struct aqm_reader *r = p->r;
	struct aqm_scenario *s = p->scenario;
	bool *seen = NULL;

	if (section == AQM_IN_SCENARIO && strcmp(name, "link") == 0)
		seen = &p->link_seen;
	else if (section == AQM_IN_SCENARIO && strcmp(name, "aqm") == 0)
		seen = &p->aqm_seen;
	else if (section == AQM_IN_SCENARIO && strcmp(name, "flows") == 0)
		seen = &p->flows_seen;
	else if (section == AQM_IN_LINK && strcmp(name, "changes") == 0 && s->link.change_count == 0)
		return read_list(p, AQM_IN_CHANGE);
	if (!seen)
		return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "a scenario has no '%.60s' here", name), mark);
	if (*seen)
		return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "'%s' stands here a second time", name), mark);
	*seen = true;
	if (seen == &p->flows_seen)
		return read_list(p, AQM_IN_FLOW);
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "'%s' wants settings of its own", name), mark);
	return read_mapping(p, seen == &p->link_seen ? AQM_IN_LINK : AQM_IN_AQM, s);
}

/* The present event starts a mapping; leave with its end. */
static int read_mapping(struct place *p, enum aqm_setting_section section, void *object)
{
	struct aqm_reader *r = p->r;
	bool seen[AQM_SETTINGS_MAX] = {false};
	int code;

	while ((code = aqm_reader_next(r)) == AQM_OK && r->event.type != YAML_MAPPING_END_EVENT) {
		yaml_mark_t mark = r->event.start_mark;
		char name[AQM_SIM_NAME_MAX];

		if (r->event.type != YAML_SCALAR_EVENT)
			return aqm_reader_fault(r, "a name has to stand here");
		snprintf(name, sizeof name, "%.63s", aqm_reader_text(r));
		const struct aqm_setting *setting = aqm_setting_find(section, aqm_reader_text(r), strlen(aqm_reader_text(r)));
		if ((code = aqm_reader_next(r)) != AQM_OK)
			return code;
		if (!setting) {
			if ((code = read_section(p, section, name, mark)) != AQM_OK)
				return code;
			continue;
		}
		if (seen[setting - aqm_settings])
			return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "'%s' stands here a second time", name), mark);
		seen[setting - aqm_settings] = true;
		if (r->event.type != YAML_SCALAR_EVENT)
			return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "'%s' wants a single value", name), mark);
		if ((code = aqm_setting_store(setting, object, aqm_reader_text(r))) != AQM_OK)
			return aqm_reader_located(r, code, r->event.start_mark);
	}
	return code;
}

int aqm_scenario_read_mapping(struct aqm_reader *r, struct aqm_scenario *scenario)
{
	struct place place = {.r = r, .scenario = scenario};

	return read_mapping(&place, AQM_IN_SCENARIO, scenario);
}

int aqm_scenario_read_flows(struct aqm_reader *r, struct aqm_scenario *scenario)
{
	struct place place = {.r = r, .scenario = scenario};

	return read_list(&place, AQM_IN_FLOW);
}

int aqm_scenario_parse(struct aqm_scenario *scenario, const char *name, const void *data, size_t bytes)
{
	struct aqm_reader r;
	bool empty;

	int code = aqm_reader_open(&r, name, data, bytes, &empty);
	if (code == AQM_OK && !empty) {
		code = aqm_scenario_read_mapping(&r, scenario);
		if (code == AQM_OK)
			code = aqm_reader_end(&r);
	}
	aqm_reader_close(&r);
	return code;
}

int aqm_scenario_read(struct aqm_scenario *scenario, const char *path)
{
	char *data;
	size_t bytes;
	int code = aqm_file_read(path, AQM_READER_BYTES_MAX, &data, &bytes);

	if (code != AQM_OK)
		return code == AQM_EDATA ? AQM_EUSAGE : code;
	code = aqm_scenario_parse(scenario, path, data, bytes);
	free(data);
	if (code == AQM_OK && (code = aqm_scenario_check(scenario)) != AQM_OK)
		aqm_error_context(code, "%s", path);
	return code;
}
