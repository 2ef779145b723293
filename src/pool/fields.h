/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The fields of a record, and the types that a column of a pool can have.
 */
#ifndef AQM_POOL_FIELDS_H
#define AQM_POOL_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aqmtrain/pool.h"

/* Places of the fields in a 24-field line. The 23-field form lacks AQM_FIELD_PKT_LEN. */
enum aqm_log_field {
	AQM_FIELD_QUEUE_TYPE,
	AQM_FIELD_QDELAY_REF,
	AQM_FIELD_TUPDATE,
	AQM_FIELD_MAX_BURST,
	AQM_FIELD_MAX_ECNTH,
	AQM_FIELD_ALPHA,
	AQM_FIELD_BETA,
	AQM_FIELD_FLAGS,
	AQM_FIELD_BURST_ALLOWANCE,
	AQM_FIELD_DROP_PROB,
	AQM_FIELD_CURRENT_QDELAY,
	AQM_FIELD_QDELAY_OLD,
	AQM_FIELD_ACCU_PROB,
	AQM_FIELD_MEASUREMENT_START,
	AQM_FIELD_AVG_DQ_TIME,
	AQM_FIELD_DQ_COUNT,
	AQM_FIELD_SFLAGS,
	AQM_FIELD_TOT_PKTS,
	AQM_FIELD_TOT_BYTES,
	AQM_FIELD_LENGTH,
	AQM_FIELD_LEN_BYTES,
	AQM_FIELD_DROPS,
	AQM_FIELD_PKT_LEN,
	AQM_FIELD_ACTION_LOGGED,
	AQM_LOG_FIELDS
};

enum aqm_kind {
	AQM_KIND_U8,
	AQM_KIND_I8,
	AQM_KIND_U16,
	AQM_KIND_I16,
	AQM_KIND_U32,
	AQM_KIND_I32,
	AQM_KIND_U64,
	AQM_KIND_I64,
	AQM_KIND_F32,
	AQM_KIND_F64,
	AQM_KINDS
};

size_t aqm_kind_size(enum aqm_kind kind);
bool aqm_kind_is_float(enum aqm_kind kind);
/* Item `index` of an array of `kind`. 64-bit integers are rounded to the nearest double. */
double aqm_kind_get(enum aqm_kind kind, const void *array, size_t index);
/* Store `value`, which the caller knows to fit. */
void aqm_kind_set(enum aqm_kind kind, void *array, size_t index, double value);
/* Whether the kind holds exactly this value. */
bool aqm_kind_holds(enum aqm_kind kind, double value);
/* Print item `index` with all its digits. Returns what snprintf returns. */
int aqm_kind_print(enum aqm_kind kind, const void *array, size_t index, char *text, size_t size);

/* Every column that a pool of ours has, in the order they are written: time, the fields, action. */
struct aqm_column_type {
	const char *name, *unit, *description;
	enum aqm_kind kind;
};
enum {
	AQM_COLUMN_TIME,
	AQM_COLUMN_FIRST_FIELD,
	AQM_COLUMN_ACTION = AQM_COLUMN_FIRST_FIELD + AQM_LOG_FIELDS,
	AQM_POOL_COLUMNS
};
const struct aqm_column_type *aqm_pool_column_types(void); /* [AQM_POOL_COLUMNS] */
/* Index into aqm_pool_column_types, or AQM_POOL_COLUMNS. */
size_t aqm_pool_column_index(const char *name);
/* Of these columns, and of those that update intervals have besides; NULL for any other name. */
const struct aqm_column_type *aqm_column_type_find(const char *name);

/* What happened to the packet. The kernel logs DROP also while PIE is inactive or bursts are allowed, and then
 * enqueues the packet all the same: a phantom drop (dn_sched_l4s.c). */
static inline uint8_t aqm_effective_action(uint8_t logged, uint64_t sflags, uint64_t burst_allowance)
{
	return logged == AQM_DROP && (!(sflags & 1) || burst_allowance != 0) ? AQM_ENQUEUE : logged;
}

#endif
