/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A stub of dummynet's private header: the types that an AQM's enqueue function meets, by their names there.
 */
#ifndef STUB_IP_DN_PRIVATE_H
#define STUB_IP_DN_PRIVATE_H

#include <sys/types.h>

struct mbuf {
	struct {
		int len;
	} m_pkthdr;
};

struct dn_flow_stats {
	uint64_t tot_pkts, tot_bytes;
	uint32_t length, len_bytes, drops;
};

struct dn_queue {
	struct dn_flow_stats ni;
	void *aqm_status;
};

int dn_enqueue(struct dn_queue *q, struct mbuf *m, int drop);
int ecn_mark(struct mbuf *m);

#endif
