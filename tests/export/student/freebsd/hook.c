/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How an AQM of FreeBSD's dummynet asks a student: builds against stubs, as a test of the header.
 */
#include <sys/types.h>
#include <netpfil/ipfw/ip_dn_private.h>

#include "student.h"

/* What PIE keeps of a queue (dn_aqm_pie.h), and the student's state beside it. */
struct pie_status {
	uint32_t burst_allowance, drop_prob, current_qdelay, qdelay_old, sflags;
	uint64_t accu_prob;
	uint32_t measurement_start, l4s;
	struct aqm_student_state student;
};

int aqm_student_enqueue(struct dn_queue *q, struct mbuf *m);

int aqm_student_enqueue(struct dn_queue *q, struct mbuf *m)
{
	struct pie_status *pst = q->aqm_status;
	struct aqm_student_record record;
	int action;

	record.queue_type = pst->l4s;
	record.qdelay_ref = record.tupdate = 15000;
	record.max_burst = 150000;
	record.max_ecnth = 819;
	record.alpha = 1024;
	record.beta = 10240;
	record.flags = 1;
	record.burst_allowance = pst->burst_allowance;
	record.drop_prob = pst->drop_prob;
	record.current_qdelay = pst->current_qdelay;
	record.qdelay_old = pst->qdelay_old;
	record.accu_prob = pst->accu_prob;
	record.measurement_start = pst->measurement_start;
	record.avg_dq_time = record.dq_count = 0;
	record.sflags = pst->sflags;
	record.tot_pkts = q->ni.tot_pkts;
	record.tot_bytes = q->ni.tot_bytes;
	record.length = q->ni.length;
	record.len_bytes = q->ni.len_bytes;
	record.drops = q->ni.drops;
	record.pkt_len = (uint64_t)m->m_pkthdr.len;
	record.action_logged = 0;
	action = aqm_student_decide(&pst->student, &record);
	if (action == AQM_STUDENT_MARK && !ecn_mark(m))
		action = AQM_STUDENT_DROP;
	return dn_enqueue(q, m, action == AQM_STUDENT_DROP);
}
