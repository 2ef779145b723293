/* SPDX-License-Identifier: BSD-2-Clause
 *
 * YAML events to a scenario. The root is a mapping of settings and of the sections link, aqm and flows; flows and
 * link.changes are lists of mappings. No anchors, aliases, tags or further documents: nothing can grow beyond the
 * file.
 */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/size.h"
#include "sim/scenario_table.h"

enum { BYTES_MAX = 1 << 18, SETTINGS_MAX = 64 };

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the present one */
	const char *name;
	struct aqm_scenario *scenario;
	bool link_seen, aqm_seen, flows_seen;
};

static int located(const struct reader *r, int code, yaml_mark_t mark)
{
	return aqm_error_context(code, "%s:%zu:%zu", r->name, mark.line + 1, mark.column + 1);
}

static int fault(const struct reader *r, const char *message)
{
	return located(r, aqm_error_set(AQM_EUSAGE, "%s", message), r->event.start_mark);
}

static int next_event(struct reader *r)
{
	bool odd = false;

	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event)) {
		const yaml_parser_t *p = &r->parser;
		yaml_mark_t mark = p->error == YAML_READER_ERROR ? p->mark : p->problem_mark;

		if (p->error == YAML_MEMORY_ERROR)
			return located(r, aqm_error_set(AQM_ERUN, "no memory"), mark);
		return located(r, aqm_error_set(AQM_EUSAGE, "not YAML: %s", p->problem ? p->problem : "broken"), mark);
	}
	if (r->event.type == YAML_ALIAS_EVENT)
		return fault(r, "aliases are not taken");
	if (r->event.type == YAML_SCALAR_EVENT)
		odd = r->event.data.scalar.anchor || r->event.data.scalar.tag ||
		      memchr(r->event.data.scalar.value, 0, r->event.data.scalar.length);
	else if (r->event.type == YAML_SEQUENCE_START_EVENT)
		odd = r->event.data.sequence_start.anchor || r->event.data.sequence_start.tag;
	else if (r->event.type == YAML_MAPPING_START_EVENT)
		odd = r->event.data.mapping_start.anchor || r->event.data.mapping_start.tag;
	return odd ? fault(r, "anchors, tags and NULs are not taken") : AQM_OK;
}

static const char *text_of(const struct reader *r)
{
	return (const char *)r->event.data.scalar.value;
}

static int read_mapping(struct reader *r, enum aqm_setting_section section, void *object);

/* The present event starts a list of mappings; leave with its end. */
static int read_list(struct reader *r, enum aqm_setting_section section)
{
	struct aqm_scenario *s = r->scenario;
	int code;

	if (r->event.type != YAML_SEQUENCE_START_EVENT)
		return fault(r, section == AQM_IN_FLOW ? "'flows' wants a list: '- cc: ...'"
		                                       : "'changes' wants a list: '- at: ...'");
	while ((code = next_event(r)) == AQM_OK && r->event.type != YAML_SEQUENCE_END_EVENT) {
		void *object;

		if (r->event.type != YAML_MAPPING_START_EVENT)
			return fault(r, section == AQM_IN_FLOW ? "a mapping with 'cc' has to stand here"
			                                       : "a mapping with 'at' and 'rate' has to stand here");
		yaml_mark_t mark = r->event.start_mark;
		if (section == AQM_IN_FLOW) {
			if (s->flow_count == AQM_SIM_FLOWS_MAX)
				return fault(r, "too many groups of flows");
			object = aqm_scenario_add_flows(s, "", 1, 0);
		} else {
			if (s->link.change_count == AQM_SIM_RATES_MAX)
				return fault(r, "too many changes");
			struct aqm_rate_change *grown = aqm_realloc_array(s->link.changes, s->link.change_count + 1, sizeof *grown);

			object = grown ? &grown[s->link.change_count] : NULL;
			if (grown) {
				s->link.changes = grown;
				grown[s->link.change_count++] = (struct aqm_rate_change){-1, 0};
			}
		}
		if (!object)
			return AQM_ERUN;
		if ((code = read_mapping(r, section, object)) != AQM_OK)
			return code;
		if (section == AQM_IN_FLOW && !s->flows[s->flow_count - 1].cc[0])
			return located(r, aqm_error_set(AQM_EUSAGE, "these flows lack 'cc'"), mark);
		if (section == AQM_IN_CHANGE &&
		    (s->link.changes[s->link.change_count - 1].at < 0 || s->link.changes[s->link.change_count - 1].rate <= 0))
			return located(r, aqm_error_set(AQM_EUSAGE, "a change wants 'at' and 'rate'"), mark);
	}
	return code;
}

/* The value of a name that is no setting: a section. The present event starts it; leave with its last. */
static int read_section(struct reader *r, enum aqm_setting_section section, const char *name, yaml_mark_t mark)
{
	struct aqm_scenario *s = r->scenario;
	bool *seen = NULL;

	if (section == AQM_IN_SCENARIO && strcmp(name, "link") == 0)
		seen = &r->link_seen;
	else if (section == AQM_IN_SCENARIO && strcmp(name, "aqm") == 0)
		seen = &r->aqm_seen;
	else if (section == AQM_IN_SCENARIO && strcmp(name, "flows") == 0)
		seen = &r->flows_seen;
	else if (section == AQM_IN_LINK && strcmp(name, "changes") == 0 && s->link.change_count == 0)
		return read_list(r, AQM_IN_CHANGE);
	if (!seen)
		return located(r, aqm_error_set(AQM_EUSAGE, "a scenario has no '%.60s' here", name), mark);
	if (*seen)
		return located(r, aqm_error_set(AQM_EUSAGE, "'%s' stands here a second time", name), mark);
	*seen = true;
	if (seen == &r->flows_seen)
		return read_list(r, AQM_IN_FLOW);
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return located(r, aqm_error_set(AQM_EUSAGE, "'%s' wants settings of its own", name), mark);
	return read_mapping(r, seen == &r->link_seen ? AQM_IN_LINK : AQM_IN_AQM, s);
}

/* The present event starts a mapping; leave with its end. */
static int read_mapping(struct reader *r, enum aqm_setting_section section, void *object)
{
	bool seen[SETTINGS_MAX] = {false};
	int code;

	while ((code = next_event(r)) == AQM_OK && r->event.type != YAML_MAPPING_END_EVENT) {
		yaml_mark_t mark = r->event.start_mark;
		char name[AQM_SIM_NAME_MAX];

		if (r->event.type != YAML_SCALAR_EVENT)
			return fault(r, "a name has to stand here");
		snprintf(name, sizeof name, "%.63s", text_of(r));
		const struct aqm_setting *setting = aqm_setting_find(section, text_of(r), strlen(text_of(r)));
		if ((code = next_event(r)) != AQM_OK)
			return code;
		if (!setting) {
			if ((code = read_section(r, section, name, mark)) != AQM_OK)
				return code;
			continue;
		}
		if (seen[setting - aqm_settings])
			return located(r, aqm_error_set(AQM_EUSAGE, "'%s' stands here a second time", name), mark);
		seen[setting - aqm_settings] = true;
		if (r->event.type != YAML_SCALAR_EVENT)
			return located(r, aqm_error_set(AQM_EUSAGE, "'%s' wants a single value", name), mark);
		if ((code = aqm_setting_store(setting, object, text_of(r))) != AQM_OK)
			return located(r, code, r->event.start_mark);
	}
	return code;
}

static int read_stream(struct reader *r)
{
	int code = next_event(r);

	if (code == AQM_OK)
		code = next_event(r);
	if (code != AQM_OK || r->event.type == YAML_STREAM_END_EVENT)
		return code;
	if ((code = next_event(r)) != AQM_OK)
		return code;
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return fault(r, "a mapping of settings has to stand here");
	if ((code = read_mapping(r, AQM_IN_SCENARIO, r->scenario)) != AQM_OK || (code = next_event(r)) != AQM_OK ||
	    (code = next_event(r)) != AQM_OK)
		return code;
	return r->event.type == YAML_STREAM_END_EVENT ? AQM_OK : fault(r, "a second document is not taken");
}

int aqm_scenario_parse(struct aqm_scenario *scenario, const char *name, const void *data, size_t bytes)
{
	struct reader r = {.name = name, .scenario = scenario};

	_Static_assert(SETTINGS_MAX >= 48, "a flag a setting");
	if (bytes > BYTES_MAX)
		return aqm_error_set(AQM_EUSAGE, "%s: longer than %d bytes", name, BYTES_MAX);
	if (!yaml_parser_initialize(&r.parser))
		return aqm_error_set(AQM_ERUN, "%s: no memory", name);
	yaml_parser_set_input_string(&r.parser, data, bytes);
	int code = read_stream(&r);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	return code;
}

int aqm_scenario_read(struct aqm_scenario *scenario, const char *path)
{
	char *data;
	size_t bytes;
	int code = aqm_file_read(path, BYTES_MAX, &data, &bytes);

	if (code != AQM_OK)
		return code == AQM_EDATA ? AQM_EUSAGE : code;
	code = aqm_scenario_parse(scenario, path, data, bytes);
	free(data);
	if (code == AQM_OK && (code = aqm_scenario_check(scenario)) != AQM_OK)
		aqm_error_context(code, "%s", path);
	return code;
}
