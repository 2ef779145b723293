/* SPDX-License-Identifier: BSD-2-Clause */
#include <sys/param.h>
#include <sys/kernel.h>
#include <sys/mbuf.h>
#include <sys/sysctl.h>

#include <netpfil/ipfw/dn_student.h>

int dn_student_on = 1;

SYSCTL_DECL(_net_inet_ip_dummynet);
SYSCTL_INT(_net_inet_ip_dummynet, OID_AUTO, student, CTLFLAG_RW, &dn_student_on, 0,
    "a student decides in the L4S scheduler");

/* The log line of this decision, field by field: same names, same units. */
static void
fill_record(struct aqm_student_record *record, const struct pie_status *pst, const struct dn_student_counts *counts,
    uint32_t queue_type, uint64_t bytes)
{
	const struct dn_aqm_pie_parms *parms = pst->parms;

	record->queue_type = queue_type;
	record->qdelay_ref = parms->qdelay_ref;
	record->tupdate = parms->tupdate;
	record->max_burst = parms->max_burst;
	record->max_ecnth = parms->max_ecnth;
	record->alpha = parms->alpha;
	record->beta = parms->beta;
	record->flags = parms->flags;
	record->burst_allowance = pst->burst_allowance;
	record->drop_prob = pst->drop_prob;
	record->current_qdelay = pst->current_qdelay;
	record->qdelay_old = pst->qdelay_old;
	record->accu_prob = pst->accu_prob;
	record->measurement_start = pst->measurement_start;
	record->avg_dq_time = pst->avg_dq_time;
	record->dq_count = pst->dq_count;
	record->sflags = pst->sflags;
	record->tot_pkts = counts->tot_pkts;
	record->tot_bytes = counts->tot_bytes;
	record->length = counts->length;
	record->len_bytes = counts->len_bytes;
	record->drops = counts->drops;
	record->pkt_len = bytes;
	record->action_logged = 0;
}

int
dn_student_enqueue(struct dn_student *student, struct pie_status *pst, const struct dn_student_counts *counts,
    uint32_t queue_type, struct mbuf *m)
{
	struct aqm_student_record record;

	/* With the packet's own share, and begun anew where nothing is to be dropped: as the rules do before they decide. */
	pst->accu_prob = pst->drop_prob == 0 ? 0 : pst->accu_prob + pst->drop_prob;
	fill_record(&record, pst, counts, queue_type, (uint64_t)m->m_pkthdr.len);
	int answer = aqm_student_decide(&student->state, &record);

	student->answers[answer]++;
	if (answer == AQM_STUDENT_ENQUEUE || !(pst->sflags & PIE_ACTIVE) || pst->burst_allowance != 0)
		return (ENQUE);
	pst->accu_prob = 0;
	if (answer == AQM_STUDENT_MARK && ecn_mark(m))
		return (ENQUE);
	return (DROP);
}
