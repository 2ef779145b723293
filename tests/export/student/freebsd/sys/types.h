/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A stub of FreeBSD's header: what a dummynet scheduler needs of it.
 */
#ifndef STUB_SYS_TYPES_H
#define STUB_SYS_TYPES_H

typedef __INT8_TYPE__ int8_t;
typedef __INT16_TYPE__ int16_t;
typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __SIZE_TYPE__ size_t;
typedef uint32_t u_int;

#endif
