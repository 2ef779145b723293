/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef STUB_DN_AQM_PIE_H
#define STUB_DN_AQM_PIE_H

enum { ENQUE = 1, DROP, MARKECN };
enum { PIE_ACTIVE = 1, PIE_INMEASUREMENT = 2 };

struct dn_aqm_pie_parms {
	aqm_time_t qdelay_ref, tupdate, max_burst;
	uint32_t max_ecnth, alpha, beta, flags;
};

struct pie_status {
	uint32_t burst_allowance, drop_prob;
	aqm_time_t current_qdelay, qdelay_old;
	uint64_t accu_prob;
	aqm_time_t measurement_start, avg_dq_time;
	uint32_t dq_count, sflags;
	struct dn_aqm_pie_parms *parms;
};

#endif
