/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/reader.h"

#include <string.h>

int aqm_reader_located(const struct aqm_reader *r, int code, yaml_mark_t mark)
{
	return aqm_error_context(code, "%s:%zu:%zu", r->name, mark.line + 1, mark.column + 1);
}

int aqm_reader_fault(const struct aqm_reader *r, const char *message)
{
	return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "%s", message), r->event.start_mark);
}

const char *aqm_reader_text(const struct aqm_reader *r)
{
	return (const char *)r->event.data.scalar.value;
}

static int broken(const struct aqm_reader *r)
{
	const yaml_parser_t *p = &r->parser;
	yaml_mark_t mark = p->error == YAML_READER_ERROR ? p->mark : p->problem_mark;

	if (p->error == YAML_MEMORY_ERROR)
		return aqm_reader_located(r, aqm_error_set(AQM_ERUN, "no memory"), mark);
	return aqm_reader_located(r, aqm_error_set(AQM_EUSAGE, "not YAML: %s", p->problem ? p->problem : "broken"), mark);
}

int aqm_reader_next(struct aqm_reader *r)
{
	bool odd = false;

	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event))
		return broken(r);
	if (r->event.type == YAML_ALIAS_EVENT)
		return aqm_reader_fault(r, "aliases are not taken");
	if (r->event.type == YAML_SCALAR_EVENT)
		odd = r->event.data.scalar.anchor || r->event.data.scalar.tag ||
		      memchr(r->event.data.scalar.value, 0, r->event.data.scalar.length);
	else if (r->event.type == YAML_SEQUENCE_START_EVENT)
		odd = r->event.data.sequence_start.anchor || r->event.data.sequence_start.tag;
	else if (r->event.type == YAML_MAPPING_START_EVENT)
		odd = r->event.data.mapping_start.anchor || r->event.data.mapping_start.tag;
	return odd ? aqm_reader_fault(r, "anchors, tags and NULs are not taken") : AQM_OK;
}

int aqm_reader_open(struct aqm_reader *r, const char *name, const void *data, size_t bytes, bool *empty)
{
	*r = (struct aqm_reader){.name = name};
	*empty = false;
	if (bytes > AQM_READER_BYTES_MAX)
		return aqm_error_set(AQM_EUSAGE, "%s: longer than %d bytes", name, AQM_READER_BYTES_MAX);
	if (!yaml_parser_initialize(&r->parser))
		return aqm_error_set(AQM_ERUN, "%s: no memory", name);
	yaml_parser_set_input_string(&r->parser, data, bytes);
	int code = aqm_reader_next(r);
	if (code == AQM_OK)
		code = aqm_reader_next(r);
	*empty = code == AQM_OK && r->event.type == YAML_STREAM_END_EVENT;
	if (code != AQM_OK || *empty || (code = aqm_reader_next(r)) != AQM_OK)
		return code;
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return aqm_reader_fault(r, "a mapping of settings has to stand here");
	return AQM_OK;
}

int aqm_reader_end(struct aqm_reader *r)
{
	int code = aqm_reader_next(r);

	if (code == AQM_OK)
		code = aqm_reader_next(r);
	if (code == AQM_OK && r->event.type != YAML_STREAM_END_EVENT)
		code = aqm_reader_fault(r, "a second document is not taken");
	return code;
}

void aqm_reader_close(struct aqm_reader *r)
{
	yaml_event_delete(&r->event);
	yaml_parser_delete(&r->parser);
}
