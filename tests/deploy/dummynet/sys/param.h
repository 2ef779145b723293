/* SPDX-License-Identifier: BSD-2-Clause
 *
 * In place of the headers of FreeBSD's kernel: as much of them as deploy/freebsd needs, in words of our own.
 */
#ifndef STUB_PARAM_H
#define STUB_PARAM_H

#include <stdint.h>

#endif
