/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/thread.h"

#include <omp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
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

int aqm_threads_most(void)
{
	return omp_get_num_procs();
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

/* The number behind a line's first word, "VmHWM:   1234 kB" or "inactive_file 1234"; 0: there is no such file or line. */
static size_t number_in(const char *path, const char *word)
{
	char line[256];
	size_t number = 0, length = strlen(word);
	FILE *file = fopen(path, "re");

	if (!file)
		return 0;
	while (fgets(line, sizeof line, file))
		if (strncmp(line, word, length) == 0 && sscanf(line + length, " %zu", &number) == 1)
			break;
	fclose(file);
	return number;
}

size_t aqm_memory_peak(void)
{
	return number_in("/proc/self/status", "VmHWM:") * 1024;
}

size_t aqm_memory_now(void)
{
	return number_in("/proc/self/status", "VmRSS:") * 1024;
}

/* ---- what is left ---- */

/* A control group's folder: what may be used on top of what cannot go. */
static size_t left_in_group(const char *folder)
{
	char path[4096];
	size_t limit, used, cache;

	snprintf(path, sizeof path, "%s/memory.max", folder);
	limit = number_in(path, ""); /* "max": no number */
	if (limit == 0)
		return SIZE_MAX;
	snprintf(path, sizeof path, "%s/memory.current", folder);
	used = number_in(path, "");
	snprintf(path, sizeof path, "%s/memory.stat", folder);
	cache = number_in(path, "inactive_file") + number_in(path, "active_file");
	used = used > cache ? used - cache : 0;
	return limit > used ? limit - used : 0;
}

/* Of the groups that this process is in, up to the root (version 2; inside a container its own group is the root). */
static size_t left_in_groups(void)
{
	static const char root[] = "/sys/fs/cgroup";
	char line[2048], folder[4096];
	size_t least = left_in_group(root);
	FILE *file = fopen("/proc/self/cgroup", "re");

	while (file && fgets(line, sizeof line, file)) {
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(folder, sizeof folder, "%s%s", root, line + 3);
		for (char *end; strlen(folder) > sizeof root && (end = strrchr(folder, '/')); *end = '\0') {
			size_t left = left_in_group(folder);

			least = left < least ? left : least;
		}
	}
	if (file)
		fclose(file);
	return least;
}

size_t aqm_memory_available(void)
{
	size_t kilobytes = number_in("/proc/meminfo", "MemAvailable:"), least = left_in_groups();
	size_t available = kilobytes ? kilobytes * 1024 : SIZE_MAX;

	return available < least ? available : least;
}
