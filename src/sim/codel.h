/* SPDX-License-Identifier: BSD-2-Clause
 *
 * CoDel (RFC 8289) over one queue of packets: shared by codel and by each flow of fq_codel.
 */
#ifndef AQM_SIM_CODEL_H
#define AQM_SIM_CODEL_H

#include "sim/qdisc.h"

struct aqm_codel_settings {
	aqm_time target, interval;
	bool ecn;
};

struct aqm_codel {
	aqm_time first_above; /* when to begin dropping; 0 = below the target */
	aqm_time drop_next;
	uint32_t count, last_count;
	bool dropping;
};

void aqm_codel_settings_init(struct aqm_codel_settings *codel, const struct aqm_aqm_settings *settings);
/* The next packet of the queue that is not dropped; counted as leaving. NULL when the queue has become empty. */
struct aqm_packet *aqm_codel_dequeue(struct aqm_codel *codel, const struct aqm_codel_settings *settings,
                                     struct aqm_fifo *queue, struct aqm_bottleneck *b);

#endif
