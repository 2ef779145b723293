/* SPDX-License-Identifier: BSD-2-Clause
 *
 * YAML events to options. A config file is a mapping of options and of sections, which are mappings of options; values
 * are scalars or lists of scalars. Nothing else of YAML is taken: no anchors, aliases, tags or further documents. So
 * the depth is bounded by the table, and nothing in a file can grow beyond the file.
 */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/size.h"
#include "config/option.h"

enum { BYTES_MAX = 1 << 18, NAME_MAX_BYTES = 128, OPTIONS_MAX = 128 };

struct reader {
	yaml_parser_t parser;
	yaml_event_t event;     /* the present one */
	const char *name;       /* of the file; or "--set", which has no lines */
	bool is_assignment;
	struct aqm_config *config;
	bool seen[OPTIONS_MAX]; /* by row */
	bool section_seen[OPTIONS_MAX]; /* by the section's first row */
};

/* Put the place in front of the stored message. */
static int located(const struct reader *r, int code, yaml_mark_t mark)
{
	if (r->is_assignment)
		return aqm_error_context(code, "%s", r->name);
	return aqm_error_context(code, "%s:%zu:%zu", r->name, mark.line + 1, mark.column + 1);
}

static int fault(const struct reader *r, const char *message)
{
	return located(r, aqm_error_set(AQM_EUSAGE, "%s", message), r->event.start_mark);
}

static int next_event(struct reader *r)
{
	const char *anchor = NULL, *tag = NULL;

	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event)) {
		const yaml_parser_t *p = &r->parser;
		yaml_mark_t mark = p->error == YAML_READER_ERROR ? p->mark : p->problem_mark;

		if (p->error == YAML_MEMORY_ERROR)
			return located(r, aqm_error_set(AQM_ERUN, "no memory"), mark);
		return located(r, aqm_error_set(AQM_EUSAGE, "not YAML: %s", p->problem ? p->problem : "broken"), mark);
	}
	switch (r->event.type) {
	case YAML_ALIAS_EVENT:
		return fault(r, "aliases are not taken");
	case YAML_SCALAR_EVENT:
		anchor = (const char *)r->event.data.scalar.anchor;
		tag = (const char *)r->event.data.scalar.tag;
		if (memchr(r->event.data.scalar.value, 0, r->event.data.scalar.length))
			return fault(r, "a string holds a NUL");
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = (const char *)r->event.data.sequence_start.anchor;
		tag = (const char *)r->event.data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = (const char *)r->event.data.mapping_start.anchor;
		tag = (const char *)r->event.data.mapping_start.tag;
		break;
	default:
		break;
	}
	return anchor ? fault(r, "anchors are not taken") : tag ? fault(r, "tags are not taken") : AQM_OK;
}

static int next_events(struct reader *r, int count)
{
	int code = AQM_OK;

	while (code == AQM_OK && count-- > 0)
		code = next_event(r);
	return code;
}

static const char *scalar_text(const struct reader *r)
{
	return (const char *)r->event.data.scalar.value;
}

static int unknown(const struct reader *r, const char *name, yaml_mark_t mark)
{
	const char *nearest = aqm_option_nearest(name);

	aqm_error_set(AQM_EUSAGE, "no option '%.80s'%s%s%s", name, nearest ? "; did you mean '" : "", nearest ? nearest : "",
	              nearest ? "'?" : "");
	return located(r, AQM_EUSAGE, mark);
}

/* The present event starts a list; leave with its end. Items are copied: an event's text dies with it. */
static int read_list(struct reader *r, const struct aqm_option *option)
{
	yaml_mark_t start = r->event.start_mark;
	char **items = NULL;
	size_t count = 0;
	int code;

	while ((code = next_event(r)) == AQM_OK && r->event.type != YAML_SEQUENCE_END_EVENT) {
		if (r->event.type != YAML_SCALAR_EVENT) {
			code = fault(r, "a list holds only single values");
			break;
		}
		char **grown = aqm_realloc_array(items, count + 1, sizeof *items);
		if (grown)
			items = grown;
		if (!grown || !(items[count] = aqm_strdup(scalar_text(r)))) {
			code = AQM_ERUN;
			break;
		}
		count++;
	}
	if (code == AQM_OK) {
		const struct aqm_option_value value = {.is_list = true, .items = (const char *const *)items, .count = count};

		code = aqm_option_set(option, r->config, &value);
		if (code != AQM_OK)
			code = located(r, code, start);
	}
	for (size_t i = 0; i < count; i++)
		free(items[i]);
	free(items);
	return code;
}

static int read_mapping(struct reader *r, const char *prefix);

/* The present event starts the value of `name`; leave with its last event. `mark` is where the name stands. */
static int read_value(struct reader *r, const char *name, yaml_mark_t mark)
{
	const struct aqm_option *option = aqm_option_find(name);
	const struct aqm_option *section = option ? NULL : aqm_option_section(name);

	if (!option && !section)
		return unknown(r, name, mark);
	bool *seen = option ? &r->seen[option - aqm_options] : &r->section_seen[section - aqm_options];
	if (*seen)
		return located(r, aqm_error_set(AQM_EUSAGE, "'%s' stands here a second time", name), mark);
	*seen = true;
	if (section) {
		if (r->event.type == YAML_MAPPING_START_EVENT)
			return read_mapping(r, name);
		if (r->event.type == YAML_SCALAR_EVENT && !*scalar_text(r))
			return AQM_OK; /* a section with nothing in it */
		aqm_error_set(AQM_EUSAGE, "'%s' wants options of its own, such as '%s'", name, section->name);
		return located(r, AQM_EUSAGE, mark);
	}
	if (r->event.type == YAML_SEQUENCE_START_EVENT)
		return read_list(r, option);
	if (r->event.type != YAML_SCALAR_EVENT)
		return located(r, aqm_error_set(AQM_EUSAGE, "'%s' has no options of its own", name), mark);
	const char *text = scalar_text(r);
	const struct aqm_option_value value = {
		.items = &text, .count = 1, .quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE};
	int code = aqm_option_set(option, r->config, &value);
	return code == AQM_OK ? AQM_OK : located(r, code, r->event.start_mark);
}

/* The present event starts a mapping; leave with its end. */
static int read_mapping(struct reader *r, const char *prefix)
{
	char name[NAME_MAX_BYTES];
	int code;

	while ((code = next_event(r)) == AQM_OK && r->event.type != YAML_MAPPING_END_EVENT) {
		yaml_mark_t mark = r->event.start_mark;

		if (r->event.type != YAML_SCALAR_EVENT)
			return fault(r, "a name has to stand here");
		int length = snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", scalar_text(r));
		if (length < 0 || (size_t)length >= sizeof name)
			return unknown(r, scalar_text(r), mark);
		if ((code = next_event(r)) != AQM_OK || (code = read_value(r, name, mark)) != AQM_OK)
			return code;
	}
	return code;
}

/* One document whose root is the mapping of all options or, with a name, that name's value. */
static int read_stream(struct reader *r, const char *name)
{
	int code = next_events(r, 2); /* stream start; document start or stream end */

	if (code != AQM_OK)
		return code;
	if (r->event.type == YAML_STREAM_END_EVENT) { /* nothing but blanks and comments */
		const char *nothing = "";
		const struct aqm_option_value value = {.items = &nothing, .count = 1};
		const struct aqm_option *option = name ? aqm_option_find(name) : NULL;

		if (!name)
			return AQM_OK;
		if (!option)
			return unknown(r, name, r->event.start_mark);
		code = aqm_option_set(option, r->config, &value);
		return code == AQM_OK ? AQM_OK : located(r, code, r->event.start_mark);
	}
	if ((code = next_event(r)) != AQM_OK)
		return code;
	if (name)
		code = read_value(r, name, r->event.start_mark);
	else if (r->event.type == YAML_MAPPING_START_EVENT)
		code = read_mapping(r, "");
	else if (r->event.type != YAML_SCALAR_EVENT || *scalar_text(r))
		code = fault(r, "a mapping of options has to stand here");
	if (code == AQM_OK)
		code = next_events(r, 2); /* document end; stream end */
	if (code != AQM_OK)
		return code;
	return r->event.type == YAML_STREAM_END_EVENT ? AQM_OK : fault(r, "a second document is not taken");
}

static int parse(struct aqm_config *config, const char *place, const char *name, const void *data, size_t bytes)
{
	struct reader r = {.name = place, .is_assignment = name != NULL, .config = config};

	if (bytes > BYTES_MAX)
		return aqm_error_set(AQM_EUSAGE, "%s: longer than %d bytes", place, BYTES_MAX);
	if (!yaml_parser_initialize(&r.parser))
		return aqm_error_set(AQM_ERUN, "%s: no memory", place);
	yaml_parser_set_input_string(&r.parser, data, bytes);
	int code = read_stream(&r, name);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	return code;
}

int aqm_config_parse(struct aqm_config *config, const char *name, const void *data, size_t bytes)
{
	return parse(config, name, NULL, data, bytes);
}

int aqm_config_read(struct aqm_config *config, const char *path)
{
	char *data;
	size_t bytes;
	int code = aqm_file_read(path, BYTES_MAX, &data, &bytes);

	if (code != AQM_OK)
		return code == AQM_EDATA ? AQM_EUSAGE : code;
	code = aqm_config_parse(config, path, data, bytes);
	free(data);
	return code;
}

/* `text` as a YAML string that says just that, whatever YAML would make of a '#', ':' or bracket in it. Owned by the caller. */
static char *quote(const char *text)
{
	char *quoted = aqm_malloc_array(strlen(text) + 2, 2), *to = quoted;

	if (!quoted)
		return NULL;
	*to++ = '\'';
	for (; *text; text++) {
		if (*text == '\'')
			*to++ = '\'';
		*to++ = *text;
	}
	*to++ = '\'';
	*to = '\0';
	return quoted;
}

/* Paths and names go as they are, unless they come in quotes, or as one of YAML's words for nothing. */
static bool is_bare_string(const char *name, const char *text)
{
	const struct aqm_option *option = aqm_option_find(name);

	return option && option->kind == AQM_OPTION_STRING && !strchr("'\"", *text) && strcmp(text, "~") != 0 &&
	       strcmp(text, "null") != 0;
}

int aqm_config_set(struct aqm_config *config, const char *assignment)
{
	const char *equals = strchr(assignment, '=');

	if (!equals || equals == assignment)
		return aqm_error_set(AQM_EUSAGE, "--set wants KEY=VALUE, not '%.80s'", assignment);
	char *name = aqm_strdup(assignment);
	if (!name)
		return AQM_ERUN;
	name[equals - assignment] = '\0';
	const char *whole = aqm_option_whole_name(name), *value = equals + 1;
	char *quoted = is_bare_string(whole, value) ? quote(value) : NULL;
	int code = is_bare_string(whole, value) && !quoted
	               ? AQM_ERUN
	               : parse(config, "--set", whole, quoted ? quoted : value, strlen(quoted ? quoted : value));
	free(quoted);
	free(name);
	return code;
}
