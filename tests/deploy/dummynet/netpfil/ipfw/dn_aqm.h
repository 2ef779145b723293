/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef STUB_DN_AQM_H
#define STUB_DN_AQM_H

#include <stdint.h>

struct mbuf;
typedef uint32_t aqm_time_t;
int ecn_mark(struct mbuf *m); /* 1: it has CE now */

#endif
