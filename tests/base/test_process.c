/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/thread.h"

static void test_threads(void **state)
{
	int used = 0;

	(void)state;
	assert_int_equal(aqm_threads_set(3), 3);
	assert_int_equal(aqm_threads(), 3);
#pragma omp parallel
#pragma omp single
	used = omp_get_num_threads();
	assert_int_equal(used, 3);
	assert_int_equal(aqm_threads_set(0), omp_get_num_procs());
}

static void test_interrupt(void **state)
{
	(void)state;
	assert_false(aqm_interrupted());
	aqm_interrupt_raise(true);
	assert_true(aqm_interrupted());
	aqm_interrupt_raise(false);
	assert_false(aqm_interrupted());
}

/* The first signal is a flag; the second, of either kind, kills. */
static void test_signals(void **state)
{
	int status;

	(void)state;
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		aqm_interrupt_install();
		raise(SIGINT);
		if (!aqm_interrupted())
			_exit(9);
		raise(SIGTERM);
		_exit(8);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void test_memory(void **state)
{
	size_t before = aqm_memory_peak(), bytes = (size_t)64 << 20;
	char *block = malloc(bytes);

	(void)state;
	assert_non_null(block);
	memset(block, 1, bytes);
	size_t now = aqm_memory_now(), peak = aqm_memory_peak(), slack = 1 << 20; /* the kernel counts in batches */
	assert_true(now + slack >= bytes);
	assert_true(peak + slack >= now);
	assert_true(peak > before);
	free(block);
}

static void keep_line(void *context, enum aqm_log_level level, const char *line)
{
	snprintf(context, 100, "%d %s", (int)level, line);
}

static void test_log(void **state)
{
	char line[100] = "nothing";

	(void)state;
	aqm_log_warning("lost");
	aqm_log_set_sink(keep_line, line);
	aqm_log_warning("%d skipped", 3);
	assert_string_equal(line, "2 3 skipped");
	aqm_log_set_sink(NULL, NULL);
	aqm_log_info("lost");
	assert_string_equal(line, "2 3 skipped");
}

static void test_seconds_left(void **state)
{
	struct aqm_progress p = {.total = 100, .first = 20, .done = 20, .started = 50};

	(void)state;
	assert_true(aqm_progress_seconds_left(&p, 60) < 0); /* nothing done yet */
	p.done = 40;                                        /* 20 in 10 s; 60 to go */
	assert_true(aqm_progress_seconds_left(&p, 60) == 30.0);
	p.done = 100;
	assert_true(aqm_progress_seconds_left(&p, 60) == 0.0);
	p.total = 0;
	assert_true(aqm_progress_seconds_left(&p, 60) < 0);
}

static void test_drawing(void **state)
{
	struct aqm_progress p;
	char *text;
	size_t bytes;
	FILE *terminal = open_memstream(&text, &bytes);

	(void)state;
	aqm_progress_start(&p, "training", 100, 0);
	p.started -= 10;
	aqm_progress_update(&p, 1); /* no terminal, no bar */
	aqm_progress_set_output(terminal);
	p.started += 10;
	aqm_progress_update(&p, 2); /* not in the first second */
	fflush(terminal);
	assert_int_equal(bytes, 0);

	p.started -= 10;
	aqm_progress_note(&p, "loss %.2f", 0.5);
	aqm_progress_update(&p, 50);
	fflush(terminal);
	assert_non_null(strstr(text, "training [############------------]  50%  0:10 left  loss 0.50"));
	size_t drawn = bytes;
	aqm_progress_update(&p, 51); /* not again so soon */
	fflush(terminal);
	assert_int_equal(bytes, drawn);

	aqm_progress_hide();
	assert_true(bytes > drawn);
	drawn = bytes;
	aqm_progress_hide(); /* nothing left to clear */
	aqm_progress_end(&p);
	fflush(terminal);
	assert_int_equal(bytes, drawn);
	aqm_progress_set_output(NULL);
	fclose(terminal);
	free(text);
}

static void pass(struct aqm_progress *p, double seconds)
{
	p->started -= seconds;
	p->told -= seconds;
}

/* Where there is no terminal: lines, at pauses that grow. */
static void test_lines(void **state)
{
	static const double pauses[] = {20, 40, 80, 160, 320, 600, 600};
	struct aqm_progress p, inner;
	char *text;
	size_t bytes, before;
	FILE *file = open_memstream(&text, &bytes);

	(void)state;
	fflush(file); /* tells `bytes` */
	aqm_progress_set_lines(file, "> ");
	aqm_progress_start(&p, "training", 1000, 0);
	aqm_progress_note(&p, "loss %.2f", 0.5);
	for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
		before = bytes;
		pass(&p, pauses[i] - 1);
		aqm_progress_update(&p, 100 * (i + 1));
		fflush(file);
		assert_int_equal(bytes, before);
		pass(&p, 1);
		aqm_progress_update(&p, 100 * (i + 1));
		fflush(file);
		assert_true(bytes > before);
		if (i == 0)
			assert_string_equal(text, "> training 10 %, 3:00 left, loss 0.50\n");
	}

	before = bytes;
	aqm_progress_start(&inner, "learning", 10, 0); /* what is within something else is not told */
	pass(&inner, 1000);
	aqm_progress_update(&inner, 5);
	fflush(file);
	assert_int_equal(bytes, before);
	pass(&p, 600);
	aqm_progress_update(&inner, 6);
	aqm_progress_end(&inner);
	fflush(file);
	assert_non_null(strstr(text + before, "> training 70 %"));
	before = bytes;
	aqm_progress_end(&p);

	aqm_progress_start(&inner, "counting", 0, 0);
	pass(&inner, 70);
	aqm_progress_update(&inner, 5);
	aqm_progress_end(&inner);
	fflush(file);
	assert_string_equal(text + before, "> counting 5, 1:10 so far\n");
	aqm_progress_set_lines(NULL, NULL);
	fclose(file);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signals), cmocka_unit_test(test_threads),      cmocka_unit_test(test_interrupt),
		cmocka_unit_test(test_memory),  cmocka_unit_test(test_log),          cmocka_unit_test(test_seconds_left),
		cmocka_unit_test(test_drawing), cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
