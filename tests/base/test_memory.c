/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "aqmtrain/error.h"
#include "base/arena.h"
#include "base/size.h"

static void test_overflow(void **state)
{
	size_t out = 0;

	(void)state;
	assert_true(aqm_size_mul_overflows(SIZE_MAX / 2, 3, &out));
	assert_true(aqm_size_add_overflows(SIZE_MAX, 1, &out));
	assert_false(aqm_size_mul_overflows(SIZE_MAX / 4, 4, &out));
	assert_int_equal(out, SIZE_MAX - 3);
	assert_int_equal(aqm_size_align(65, 64), 128);
	assert_int_equal(aqm_size_align(64, 64), 64);
}

static void test_arrays(void **state)
{
	(void)state;
	aqm_error_set(AQM_EDATA, "before");
	assert_null(aqm_malloc_array(SIZE_MAX / 2, 4));
	assert_non_null(strstr(aqm_error_message(), "no memory"));
	assert_null(aqm_calloc_array(SIZE_MAX / 2, 4));
	void *none = aqm_malloc_array(0, 8);
	assert_non_null(none);
	assert_null(aqm_realloc_array(none, SIZE_MAX / 2, 4)); /* `none` stays valid */
	free(none);

	int *numbers = aqm_calloc_array(1000, sizeof *numbers);
	assert_non_null(numbers);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(numbers[i], 0);
	free(numbers);

	char *text = aqm_strprintf("%s-%d", "a", 5), *copy = aqm_strdup(text);
	assert_string_equal(copy, "a-5");
	free(copy);
	free(text);
}

struct pieces {
	float *a;
	char *b;
	double *c;
};

static struct pieces take_all(struct aqm_arena *arena)
{
	return (struct pieces){
		.a = aqm_arena_take(arena, 100, sizeof(float)),
		.b = aqm_arena_take(arena, 1, 1),
		.c = aqm_arena_take(arena, 3, sizeof(double)),
	};
}

/* The size planned is exactly the size taken, pieces are aligned, zeroed and apart. */
static void test_plan_then_take(void **state)
{
	struct aqm_arena arena;

	(void)state;
	aqm_arena_plan(&arena);
	struct pieces planned = take_all(&arena);
	assert_null(planned.a);
	assert_false(arena.overflowed);
	size_t bytes = arena.used;
	assert_int_equal(bytes, 448 + 64 + 64);

	assert_int_equal(aqm_arena_init(&arena, bytes), AQM_OK);
	struct pieces p = take_all(&arena);
	assert_int_equal(arena.used, bytes);
	assert_false(arena.overflowed);
	assert_int_equal((uintptr_t)p.a % 64, 0);
	assert_int_equal((uintptr_t)p.b % 64, 0);
	assert_ptr_equal((char *)p.a + 448, p.b);
	assert_ptr_equal(p.b + 64, (char *)p.c);
	for (int i = 0; i < 100; i++)
		assert_true(p.a[i] == 0.0f);
	assert_null(aqm_arena_take(&arena, 1, 1));
	assert_true(arena.overflowed);
	aqm_arena_release(&arena);
	assert_null(arena.base);
}

static void test_arena_overflow(void **state)
{
	struct aqm_arena arena;

	(void)state;
	aqm_arena_plan(&arena);
	aqm_arena_take(&arena, SIZE_MAX / 2, 3);
	assert_true(arena.overflowed);
	aqm_arena_plan(&arena);
	aqm_arena_take(&arena, SIZE_MAX - 10, 1);
	assert_true(arena.overflowed);
	aqm_arena_plan(&arena);
	aqm_arena_take(&arena, SIZE_MAX / 2, 1);
	assert_false(arena.overflowed);
	aqm_arena_take(&arena, SIZE_MAX / 2, 1);
	assert_true(arena.overflowed);
	assert_int_equal(aqm_arena_init(&arena, SIZE_MAX - 5), AQM_ERUN);
	assert_null(arena.base);
}

/* Above the size of a huge page the arena takes another path. */
static void test_large_arena(void **state)
{
	struct aqm_arena arena;
	size_t bytes = (size_t)5 << 20;

	(void)state;
	assert_int_equal(aqm_arena_init(&arena, bytes + 7), AQM_OK);
	char *p = aqm_arena_take(&arena, bytes, 1);
	assert_non_null(p);
	memset(p, 1, bytes);
	assert_null(aqm_arena_take(&arena, 8, 1));
	aqm_arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overflow),       cmocka_unit_test(test_arrays),      cmocka_unit_test(test_plan_then_take),
		cmocka_unit_test(test_arena_overflow), cmocka_unit_test(test_large_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
