/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A student in dummynet's L4S scheduler (dn_sched_l4s), at the place where a packet is enqueued, dropped or marked.
 *
 * A queue (struct l4s_flow) gets a member of type struct dn_student, zeroed as the queue is; README.md says which lines
 * of dn_sched_l4s.c change. Calls come with the scheduler's lock held, as all of enqueueing does.
 */
#ifndef _IP_DN_STUDENT_H
#define _IP_DN_STUDENT_H

#include <netpfil/ipfw/dn_aqm.h>
#include <netpfil/ipfw/dn_aqm_pie.h>

#include <netpfil/ipfw/aqm_student.h> /* as `aqmtrain export --c-header` wrote it */

/* Of a queue. */
struct dn_student {
	struct aqm_student_state state;
	uint64_t answers[3]; /* enqueue, drop, mark: what the student has said, whether or not it could be done */
};

/* A queue's numbers without the packet that has come, as struct flow_stats has them. */
struct dn_student_counts {
	uint64_t tot_pkts, tot_bytes;
	uint32_t length, len_bytes, drops;
};

/* sysctl net.inet.ip.dummynet.student: 1 the student decides (the default), 0 the rules do. */
extern int dn_student_on;

/* What to do with a packet that has come to a queue (queue_type: 0 classic, 1 L4S): DROP, or ENQUE, with CE set where
 * the student marks. What it would mark but is not ECN-capable is dropped, as DROP is obeyed only while PIE is active
 * and no burst is allowed: as the kernel's own rules do, and as logs are read. Keeps pst->accu_prob; the caller zeroes
 * it after a drop. */
int dn_student_enqueue(struct dn_student *student, struct pie_status *pst, const struct dn_student_counts *counts,
    uint32_t queue_type, struct mbuf *m);

#endif
