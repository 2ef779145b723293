/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/updates.h"

#include <math.h>
#include <stdlib.h>

#include "base/size.h"

const char *const aqm_updates_columns[AQM_UPDATES_COLUMNS] = {
	"time",
	"queue_type",
	"qdelay_ref",
	"tupdate",
	"alpha",
	"beta",
	"flags",
	"sflags",
	"burst_allowance",
	"drop_prob",
	"current_qdelay",
	"qdelay_old",
	"accu_prob",
	"length",
	"len_bytes",
	"packets",
	"arrived_bytes",
	"dropped",
	"marked",
	"qdelay_end",
	"qdelay_peak",
	"elapsed",
	"other_bytes",
	"other_dropped",
	"other_marked",
	"other_qdelay",
	"rule_drop_prob",
	"controller_delay",
	"controller_delay_old",
	"slow_bytes",
	"slow_other_bytes",
	"slow_delay",
	"slow_swing",
	"slow_drop_prob",
	"utility",
	"utility_rank",
	"next_drop_prob",
};

static int grow(struct aqm_updates_rows *rows)
{
	size_t capacity = rows->capacity ? 2 * rows->capacity : 1024;
	void *grown = aqm_realloc_array(rows->rows, capacity, sizeof *rows->rows);

	if (!grown)
		return AQM_ERUN;
	rows->rows = grown;
	rows->capacity = capacity;
	return AQM_OK;
}

static int update(void *context, const struct aqm_update *update, double *next)
{
	struct aqm_updates *u = context;
	struct aqm_updates_rows *rows = &u->of[update->controller];
	int code = u->inner.update ? u->inner.update(u->inner.context, update, next) : AQM_OK;

	if (code == AQM_OK && rows->count == rows->capacity)
		code = grow(rows);
	if (code != AQM_OK)
		return code;
	double *row = rows->rows[rows->count++];
	for (size_t c = 0; c + 1 < AQM_UPDATES_COLUMNS; c++)
		row[c] = update->feature(update, aqm_updates_columns[c]);
	row[AQM_UPDATES_COLUMNS - 1] = floor(fmin(fmax(*next, 0), 1) * 0x1p31);
	return AQM_OK;
}

void aqm_updates_init(struct aqm_updates *updates, struct aqm_sim_hook *hook)
{
	*updates = (struct aqm_updates){.inner = *hook};
	*hook = (struct aqm_sim_hook){updates, NULL, update, hook->delay};
}

void aqm_updates_release(struct aqm_updates *updates)
{
	for (size_t i = 0; i < AQM_QUEUES; i++)
		free(updates->of[i].rows);
	*updates = (struct aqm_updates){0};
}
