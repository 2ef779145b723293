/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool/interval.h"

#include <math.h>
#include <string.h>

void aqm_interval_add(struct aqm_interval *interval, const uint64_t fields[AQM_LOG_FIELDS], enum aqm_action happened)
{
	if (interval->packets++ == 0)
		memcpy(interval->first, fields, sizeof interval->first);
	memcpy(interval->last, fields, sizeof interval->last);
	for (size_t i = 0; i < AQM_LOG_FIELDS; i++)
		interval->sums[i] += (double)fields[i];
	interval->peak_qdelay = fmax(interval->peak_qdelay, (double)fields[AQM_FIELD_CURRENT_QDELAY]);
	interval->dropped += happened == AQM_DROP;
	interval->marked += happened == AQM_MARK;
}

static bool is_among(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

double aqm_interval_feature(const struct aqm_interval *interval, const char *name)
{
	static const char *const first[] = {
		"queue_type", "qdelay_ref",      "tupdate",   "max_burst",         "max_ecnth", "alpha", "beta",
		"flags",      "burst_allowance", "drop_prob", "measurement_start", "sflags",    NULL};
	static const char *const last[] = {"accu_prob", "tot_pkts", "tot_bytes", "drops", NULL};
	const struct aqm_field *field = aqm_field_find(name);
	double packets = (double)interval->packets;

	if (field) {
		size_t index = (size_t)(field - aqm_fields(NULL));

		if (is_among(name, first))
			return (double)interval->first[index];
		if (is_among(name, last))
			return (double)interval->last[index];
		return interval->sums[index] / packets;
	}
	if (strcmp(name, "packets") == 0)
		return packets;
	if (strcmp(name, "arrived_bytes") == 0)
		return interval->sums[AQM_FIELD_PKT_LEN];
	if (strcmp(name, "dropped") == 0)
		return interval->dropped;
	if (strcmp(name, "marked") == 0)
		return interval->marked;
	if (strcmp(name, "qdelay_end") == 0)
		return (double)interval->last[AQM_FIELD_CURRENT_QDELAY];
	if (strcmp(name, "qdelay_peak") == 0)
		return interval->peak_qdelay;
	return strcmp(name, "time") == 0 ? interval->time : NAN;
}
