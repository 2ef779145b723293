/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "aqmtrain/error.h"
#include "base/size.h"

enum { HUGE_PAGE = 2 << 20 };

void aqm_arena_plan(struct aqm_arena *arena)
{
	*arena = (struct aqm_arena){.capacity = SIZE_MAX};
}

int aqm_arena_init(struct aqm_arena *arena, size_t capacity)
{
	size_t alignment = capacity >= HUGE_PAGE ? (size_t)HUGE_PAGE : (size_t)AQM_ARENA_ALIGNMENT;
	size_t bytes;

	*arena = (struct aqm_arena){0};
	if (aqm_size_add_overflows(capacity, alignment, &bytes))
		return aqm_error_set(AQM_ERUN, "no memory for an arena of %zu bytes", capacity);
	bytes = aqm_size_align(capacity ? capacity : 1, alignment);
	uint8_t *base = aligned_alloc(alignment, bytes);
	if (!base)
		return aqm_error_set(AQM_ERUN, "no memory for an arena of %zu bytes", capacity);
	if (capacity >= HUGE_PAGE)
		(void)madvise(base, bytes, MADV_HUGEPAGE); /* fewer TLB misses in GEMMs; no harm where refused */
	/* Touched now, so that memory which is not there is missed before an hour of training, not after. */
	memset(base, 0, bytes);
	arena->base = base;
	arena->capacity = capacity;
	return AQM_OK;
}

void aqm_arena_release(struct aqm_arena *arena)
{
	free(arena->base);
	*arena = (struct aqm_arena){0};
}

void *aqm_arena_take(struct aqm_arena *arena, size_t count, size_t size)
{
	size_t bytes, end;

	if (aqm_size_mul_overflows(count, size, &bytes) ||
	    aqm_size_add_overflows(bytes, AQM_ARENA_ALIGNMENT - 1, &end)) {
		arena->overflowed = true;
		return NULL;
	}
	bytes = aqm_size_align(bytes, AQM_ARENA_ALIGNMENT);
	if (aqm_size_add_overflows(arena->used, bytes, &end) || end > arena->capacity) {
		arena->overflowed = true;
		return NULL;
	}
	void *piece = arena->base ? arena->base + arena->used : NULL;
	arena->used = end;
	return piece;
}
