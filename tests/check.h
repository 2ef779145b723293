/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmocka with what it wants included before it, and the check that every test of a function with an error code makes.
 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "aqmtrain/error.h"

#define CHECK_OK(call)                                                      \
	do {                                                                    \
		int check_code = (call);                                            \
		if (check_code != AQM_OK)                                           \
			fail_msg("%s: %d, %s", #call, check_code, aqm_error_message()); \
	} while (0)

#endif
