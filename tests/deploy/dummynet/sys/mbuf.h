/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef STUB_MBUF_H
#define STUB_MBUF_H

struct pkthdr {
	int len;
};

struct mbuf {
	struct pkthdr m_pkthdr;
	int codepoint; /* the stub's own: the ECN bits of its IP header */
};

#endif
