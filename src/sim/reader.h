/* SPDX-License-Identifier: BSD-2-Clause
 *
 * YAML events of scenarios and grids. No anchors, aliases, tags or further documents: nothing can grow beyond the file.
 */
#ifndef AQM_SIM_READER_H
#define AQM_SIM_READER_H

#include <stddef.h>
#include <yaml.h>

#include "aqmtrain/sim.h"

enum { AQM_READER_BYTES_MAX = 1 << 18 };

struct aqm_reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the present one */
	const char *name;   /* of the file, for messages */
};

/* Opens on the first event of the document's root: AQM_EUSAGE when it is not a mapping. `*empty`: there is none. */
int aqm_reader_open(struct aqm_reader *r, const char *name, const void *data, size_t bytes, bool *empty);
/* The present event ends the root: nothing may follow. */
int aqm_reader_end(struct aqm_reader *r);
void aqm_reader_close(struct aqm_reader *r);

int aqm_reader_next(struct aqm_reader *r);
/* AQM_EUSAGE with "file:line:column: message", of the present event; or put that place before the present message. */
int aqm_reader_fault(const struct aqm_reader *r, const char *message);
int aqm_reader_located(const struct aqm_reader *r, int code, yaml_mark_t mark);
/* The present event's text; it has to be a scalar. */
const char *aqm_reader_text(const struct aqm_reader *r);

/* The present event starts a scenario's mapping, or the list of its flows; leave with its end. */
int aqm_scenario_read_mapping(struct aqm_reader *r, struct aqm_scenario *scenario);
int aqm_scenario_read_flows(struct aqm_reader *r, struct aqm_scenario *scenario);

#endif
