/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef STUB_KERNEL_H
#define STUB_KERNEL_H
#endif
