/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool/fields.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

const char *const aqm_action_names[AQM_ACTIONS] = {"enqueue", "drop", "mark"};

#define U32(name, unit, description) {name, unit, description, 32, false}
#define U64(name, unit, description) {name, unit, description, 64, false}

/* Widths are those of the kernel's printf, but for queue_type and the action, which are tiny. */
static const struct aqm_field fields[AQM_LOG_FIELDS] = {
	{"queue_type", "", "queue of the packet: 0 classic, 1 L4S", 8, false},
	U32("qdelay_ref", "us", "target delay"),
	U32("tupdate", "us", "interval between updates of drop_prob"),
	U32("max_burst", "us", "burst allowance at the start of a busy period"),
	U32("max_ecnth", "1/8192", "drop probability above which marking gives way to dropping"),
	U32("alpha", "1/8192", "weight of the delay's distance from its target"),
	U32("beta", "1/8192", "weight of the delay's change"),
	U32("flags", "", "configuration: 1 ECN, 2 CAPDROP, 4 ONOFF, 8 DEPRATEEST, 16 DERAND"),
	U32("burst_allowance", "us", "what is left of max_burst"),
	U32("drop_prob", "1/2^31", "drop probability"),
	U32("current_qdelay", "us", "queueing delay now"),
	U32("qdelay_old", "us", "queueing delay at the update before"),
	U64("accu_prob", "1/2^31", "sum of drop probabilities since the last drop or mark"),
	U32("measurement_start", "us", "clock of the queue's measurements, modulo 2^32"),
	U32("avg_dq_time", "us", "average time of a dequeue"),
	U32("dq_count", "bytes", "dequeued in this measurement"),
	U32("sflags", "", "state: 1 active, 2 in a measurement"),
	U64("tot_pkts", "packets", "enqueued since the queue was made"),
	U64("tot_bytes", "bytes", "enqueued since the queue was made"),
	U32("length", "packets", "in the queue, without this one"),
	U32("len_bytes", "bytes", "in the queue, without this packet"),
	U32("drops", "packets", "dropped since the queue was made"),
	U64("pkt_len", "bytes", "length of this packet"),
	{"action_logged", "", "action as logged: 0 enqueue, 1 drop, 2 mark", 8, false},
};

const struct aqm_field *aqm_fields(size_t *count)
{
	if (count)
		*count = AQM_LOG_FIELDS;
	return fields;
}

const struct aqm_field *aqm_field_find(const char *name)
{
	for (size_t i = 0; i < AQM_LOG_FIELDS; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

/* ---- columns ---- */

static struct aqm_column_type column_types[AQM_POOL_COLUMNS];
static pthread_once_t column_types_made = PTHREAD_ONCE_INIT;

static void make_column_types(void)
{
	column_types[AQM_COLUMN_TIME] = (struct aqm_column_type){
		"time", "s", "clock of the log: since the start of its first year, or of 1970, or since boot", AQM_KIND_F64};
	for (size_t i = 0; i < AQM_LOG_FIELDS; i++)
		column_types[AQM_COLUMN_FIRST_FIELD + i] = (struct aqm_column_type){
			fields[i].name, fields[i].unit, fields[i].description,
			fields[i].bits == 8 ? AQM_KIND_U8 : fields[i].bits == 32 ? AQM_KIND_U32 : AQM_KIND_U64};
	column_types[AQM_COLUMN_ACTION] = (struct aqm_column_type){
		"action", "", "what happened to the packet: 0 enqueue, 1 drop, 2 mark", AQM_KIND_U8};
}

const struct aqm_column_type *aqm_pool_column_types(void)
{
	pthread_once(&column_types_made, make_column_types);
	return column_types;
}

size_t aqm_pool_column_index(const char *name)
{
	const struct aqm_column_type *types = aqm_pool_column_types();
	size_t i = 0;

	while (i < AQM_POOL_COLUMNS && strcmp(types[i].name, name) != 0)
		i++;
	return i;
}

/* What aqm_pool_updates() adds. */
static const struct aqm_column_type update_types[] = {
	{"packets", "packets", "that arrived in the interval", AQM_KIND_U32},
	{"arrived_bytes", "bytes", "that arrived in the interval", AQM_KIND_U64},
	{"dropped", "packets", "of those, dropped", AQM_KIND_U32},
	{"marked", "packets", "of those, marked", AQM_KIND_U32},
	{"qdelay_end", "us", "queueing delay at the last packet of the interval", AQM_KIND_U32},
	{"qdelay_peak", "us", "largest queueing delay in the interval", AQM_KIND_U32},
	{"next_drop_prob", "1/2^31", "drop probability that the controller set at the interval's end", AQM_KIND_U32},
};

const struct aqm_column_type *aqm_column_type_find(const char *name)
{
	size_t index = aqm_pool_column_index(name);

	if (index < AQM_POOL_COLUMNS)
		return &aqm_pool_column_types()[index];
	for (size_t i = 0; i < sizeof update_types / sizeof *update_types; i++)
		if (strcmp(update_types[i].name, name) == 0)
			return &update_types[i];
	return NULL;
}

/* ---- kinds ---- */

/* kind, C type, lowest and first too high value, format of the widest type */
#define KIND_MAP(XX)                                                \
	XX(U8, uint8_t, 0.0, 0x1p8, PRIu64, uint64_t)               \
	XX(I8, int8_t, -0x1p7, 0x1p7, PRId64, int64_t)              \
	XX(U16, uint16_t, 0.0, 0x1p16, PRIu64, uint64_t)            \
	XX(I16, int16_t, -0x1p15, 0x1p15, PRId64, int64_t)          \
	XX(U32, uint32_t, 0.0, 0x1p32, PRIu64, uint64_t)            \
	XX(I32, int32_t, -0x1p31, 0x1p31, PRId64, int64_t)          \
	XX(U64, uint64_t, 0.0, 0x1p64, PRIu64, uint64_t)            \
	XX(I64, int64_t, -0x1p63, 0x1p63, PRId64, int64_t)

size_t aqm_kind_size(enum aqm_kind kind)
{
	static const unsigned char sizes[AQM_KINDS] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};

	return sizes[kind];
}

bool aqm_kind_is_float(enum aqm_kind kind)
{
	return kind == AQM_KIND_F32 || kind == AQM_KIND_F64;
}

double aqm_kind_get(enum aqm_kind kind, const void *array, size_t index)
{
	switch (kind) {
#define XX(name, type, low, high, format, wide) \
	case AQM_KIND_##name: return (double)((const type *)array)[index];
	KIND_MAP(XX)
#undef XX
	case AQM_KIND_F32: return (double)((const float *)array)[index];
	default: return ((const double *)array)[index];
	}
}

void aqm_kind_set(enum aqm_kind kind, void *array, size_t index, double value)
{
	switch (kind) {
#define XX(name, type, low, high, format, wide) \
	case AQM_KIND_##name: ((type *)array)[index] = (type)value; break;
	KIND_MAP(XX)
#undef XX
	case AQM_KIND_F32: ((float *)array)[index] = (float)value; break;
	default: ((double *)array)[index] = value; break;
	}
}

bool aqm_kind_holds(enum aqm_kind kind, double value)
{
	switch (kind) {
#define XX(name, type, low, high, format, wide) \
	case AQM_KIND_##name: return value >= low && value < high && value == trunc(value);
	KIND_MAP(XX)
#undef XX
	case AQM_KIND_F32: return (double)(float)value == value || isnan(value);
	default: return true;
	}
}

int aqm_kind_print(enum aqm_kind kind, const void *array, size_t index, char *text, size_t size)
{
	switch (kind) {
#define XX(name, type, low, high, format, wide) \
	case AQM_KIND_##name: return snprintf(text, size, "%" format, (wide)((const type *)array)[index]);
	KIND_MAP(XX)
#undef XX
	case AQM_KIND_F32: return snprintf(text, size, "%.9g", (double)((const float *)array)[index]);
	default: return snprintf(text, size, "%.17g", ((const double *)array)[index]);
	}
}
