/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/thread.h"

#include <omp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* OpenBLAS (OpenMP variant) follows omp_get_max_threads() at every call, so there is one number for both. */
int aqm_threads_set(int count)
{
	omp_set_dynamic(0); /* as many threads as asked for, always: sums are split the same way in every run */
	omp_set_num_threads(count > 0 ? count : omp_get_num_procs());
	return omp_get_max_threads();
}

int aqm_threads(void)
{
	return omp_get_max_threads();
}

static atomic_bool interrupted;

static void on_signal(int number)
{
	struct sigaction usual = {.sa_handler = SIG_DFL};

	(void)number;
	atomic_store(&interrupted, true);
	sigaction(SIGINT, &usual, NULL);
	sigaction(SIGTERM, &usual, NULL);
}

void aqm_interrupt_install(void)
{
	/* No SA_RESTART: a read that waits for standard input is to wake up. */
	struct sigaction action = {.sa_handler = on_signal};

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool aqm_interrupted(void)
{
	return atomic_load_explicit(&interrupted, memory_order_relaxed);
}

void aqm_interrupt_raise(bool on)
{
	atomic_store(&interrupted, on);
}

/* A "VmHWM:   1234 kB" line of /proc/self/status, in bytes. */
static size_t status_bytes(const char *name)
{
	char line[256];
	size_t kilobytes = 0, length = strlen(name);
	FILE *status = fopen("/proc/self/status", "re");

	if (!status)
		return 0;
	while (fgets(line, sizeof line, status))
		if (strncmp(line, name, length) == 0 && sscanf(line + length, ": %zu kB", &kilobytes) == 1)
			break;
	fclose(status);
	return kilobytes * 1024;
}

size_t aqm_memory_peak(void)
{
	return status_bytes("VmHWM");
}

size_t aqm_memory_now(void)
{
	return status_bytes("VmRSS");
}
