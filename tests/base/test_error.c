/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "aqmtrain/error.h"

static void test_message(void **state)
{
	(void)state;
	assert_int_equal(aqm_error_set(AQM_EDATA, "cannot read '%s': ends after %d bytes", "x", 7), AQM_EDATA);
	assert_string_equal(aqm_error_message(), "cannot read 'x': ends after 7 bytes");
	errno = ENOENT;
	assert_int_equal(aqm_error_errno(AQM_ERUN, "cannot open '%s'", "y"), AQM_ERUN);
	assert_string_equal(aqm_error_message(), "cannot open 'y': No such file or directory");
}

static void test_context(void **state)
{
	(void)state;
	aqm_error_set(AQM_EDATA, "too short");
	assert_int_equal(aqm_error_context(AQM_EDATA, "line %d", 3), AQM_EDATA);
	assert_string_equal(aqm_error_message(), "line 3: too short");
	aqm_error_set(AQM_EDATA, "again: %s", aqm_error_message());
	assert_string_equal(aqm_error_message(), "again: line 3: too short");
}

/* A message is one printable line of bounded length, whatever a file's names hold. */
static void test_hostile_text(void **state)
{
	char *longest = malloc(5000);

	(void)state;
	aqm_error_set(AQM_EDATA, "tensor '%s'", "a\nb\033[2Jc\x7f");
	assert_string_equal(aqm_error_message(), "tensor 'a?b?[2Jc?'");
	memset(longest, 'x', 4999);
	longest[4999] = '\0';
	aqm_error_set(AQM_EDATA, "%s", longest);
	size_t length = strlen(aqm_error_message());
	assert_in_range(length, 500, 1023);
	aqm_error_context(AQM_EDATA, "in front");
	assert_memory_equal(aqm_error_message(), "in front: xxx", 13);
	free(longest);
}

static void *fail_elsewhere(void *context)
{
	aqm_error_set(AQM_ERUN, "elsewhere");
	*(int *)context = strcmp(aqm_error_message(), "elsewhere");
	return NULL;
}

static void test_thread_local(void **state)
{
	pthread_t thread;
	int difference = 1;

	(void)state;
	aqm_error_set(AQM_EDATA, "here");
	assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &difference), 0);
	pthread_join(thread, NULL);
	assert_int_equal(difference, 0);
	assert_string_equal(aqm_error_message(), "here");
}

static void test_exit_status(void **state)
{
	(void)state;
	assert_int_equal(aqm_exit_status(AQM_OK), 0);
	assert_int_equal(aqm_exit_status(AQM_ERUN), 1);
	assert_int_equal(aqm_exit_status(AQM_EUSAGE), 2);
	assert_int_equal(aqm_exit_status(AQM_EDATA), 3);
	assert_int_equal(aqm_exit_status(AQM_ENOTFOUND), 3);
	assert_int_equal(aqm_exit_status(AQM_EINTERRUPTED), 130);
	assert_int_equal(aqm_exit_status(-99), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),      cmocka_unit_test(test_context),     cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_thread_local), cmocka_unit_test(test_exit_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
