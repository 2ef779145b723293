/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Arena: one block of memory, sized before use, handed out in order and freed at once.
 *
 *   base                     used                 capacity
 *    |--- taken (64-byte aligned pieces) ---|------ free ------|
 *
 * The same code plans and takes: an arena with base == NULL only counts, so `plan` and `fill` are one function run
 * twice. Nothing allocates inside a training step; what a step needs lies here.
 */
#ifndef AQM_BASE_ARENA_H
#define AQM_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

enum { AQM_ARENA_ALIGNMENT = 64 };

struct aqm_arena {
	uint8_t *base;   /* NULL while planning */
	size_t capacity; /* bytes; SIZE_MAX while planning */
	size_t used;     /* bytes, aligned */
	bool overflowed; /* a take did not fit, or a size overflowed */
};

/* An arena that only counts: take() returns NULL (or base-less offsets) and `used` grows. */
void aqm_arena_plan(struct aqm_arena *arena);
/* Allocate `capacity` zeroed bytes of host memory. 0 or AQM_ERUN. */
int aqm_arena_init(struct aqm_arena *arena, size_t capacity);
void aqm_arena_release(struct aqm_arena *arena);
/* Hand out count * size bytes. NULL while planning, and on overflow (then `overflowed` is set). */
void *aqm_arena_take(struct aqm_arena *arena, size_t count, size_t size);

#endif
