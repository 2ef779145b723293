/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Checked size arithmetic: every product or sum of sizes that comes from outside goes through here.
 */
#ifndef AQM_BASE_SIZE_H
#define AQM_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a op b; true when the result does not fit (and *out is then not to be used). */
static inline bool aqm_size_add_overflows(size_t a, size_t b, size_t *out) { return __builtin_add_overflow(a, b, out); }
static inline bool aqm_size_mul_overflows(size_t a, size_t b, size_t *out) { return __builtin_mul_overflow(a, b, out); }

/* Round up to a multiple of a power of two. The caller knows that it fits. */
static inline size_t aqm_size_align(size_t n, size_t alignment) { return (n + alignment - 1) & ~(alignment - 1); }

/* malloc and calloc for count items of `size` bytes, with the product checked. NULL and an error message (AQM_ERUN)
 * when it overflows or memory is short. A count of 0 gives a pointer that may be freed. */
void *aqm_malloc_array(size_t count, size_t size);
void *aqm_calloc_array(size_t count, size_t size);
/* realloc likewise; on failure `old` stays valid. */
void *aqm_realloc_array(void *old, size_t count, size_t size);
/* strdup with the error message set on failure. */
char *aqm_strdup(const char *s);
/* printf into a fresh string, owned by the caller; NULL with the error message on failure. */
char *aqm_strprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
