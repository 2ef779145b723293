/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef STUB_SYSCTL_H
#define STUB_SYSCTL_H

#define OID_AUTO   (-1)
#define CTLFLAG_RW 0
#define SYSCTL_DECL(parent) struct sysctl_stub
#define SYSCTL_INT(parent, number, name, access, pointer, value, description) \
	const int *const sysctl_stub_##name = (pointer)

#endif
