/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A student for tests whose answers one can foresee, with the interface of those that `aqmtrain export --c-header`
 * writes: L4S is marked from 1 ms on, classic from 10 ms on, and dropped from 40 ms on.
 */
#ifndef AQM_STUDENT_H
#define AQM_STUDENT_H

#include <stdint.h>

#define AQM_STUDENT_PACKET 1
enum { AQM_STUDENT_ENQUEUE, AQM_STUDENT_DROP, AQM_STUDENT_MARK };

struct aqm_student_record {
	uint32_t queue_type, qdelay_ref, tupdate, max_burst, max_ecnth, alpha, beta, flags, burst_allowance, drop_prob;
	uint32_t current_qdelay, qdelay_old;
	uint64_t accu_prob;
	uint32_t measurement_start, avg_dq_time, dq_count, sflags;
	uint64_t tot_pkts, tot_bytes;
	uint32_t length, len_bytes, drops;
	uint64_t pkt_len;
	uint32_t action_logged;
};

struct aqm_student_state {
	uint32_t decisions;
};

static inline __attribute__((always_inline)) int aqm_student_decide(struct aqm_student_state *state,
                                                                    const struct aqm_student_record *record)
{
	state->decisions++;
	if (record->queue_type)
		return record->current_qdelay >= 1000 ? AQM_STUDENT_MARK : AQM_STUDENT_ENQUEUE;
	if (record->current_qdelay >= 40000)
		return AQM_STUDENT_DROP;
	return record->current_qdelay >= 10000 ? AQM_STUDENT_MARK : AQM_STUDENT_ENQUEUE;
}

#endif
