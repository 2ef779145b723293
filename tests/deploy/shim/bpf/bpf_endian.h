/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SHIM_BPF_ENDIAN_H
#define SHIM_BPF_ENDIAN_H

#include <arpa/inet.h>

#define bpf_htons(x) htons(x)

#endif
