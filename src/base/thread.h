/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Threads, interruption and memory of this process.
 */
#ifndef AQM_BASE_THREAD_H
#define AQM_BASE_THREAD_H

#include <stdbool.h>
#include <stddef.h>

/* Number of OpenMP threads for our loops and for OpenBLAS; 0 = one a usable core. Returns the number in force. */
int aqm_threads_set(int count);
int aqm_threads(void);
/* Usable cores. */
int aqm_threads_most(void);

/* SIGINT and SIGTERM set a flag that long operations look at between units of work; a second signal kills as usual. */
void aqm_interrupt_install(void);
bool aqm_interrupted(void);
/* For tests: as if a signal had come; false clears. */
void aqm_interrupt_raise(bool on);

/* Bytes: peak and present resident memory of this process (Linux: VmHWM, VmRSS); 0 where unknown. */
size_t aqm_memory_peak(void);
size_t aqm_memory_now(void);
/* Bytes that this process can still have without anything being swapped or killed: what the kernel calls available, or
 * what is left of the nearest limit of its control groups, whose page cache can go. SIZE_MAX where unknown. */
size_t aqm_memory_available(void);

#endif
