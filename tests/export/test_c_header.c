/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The C header of a student says what the student says, on a million states; it builds where it must run, with the stack and the size that
 * it may have.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aqmtrain/export.h"
#include "base/file.h"
#include "../check.h"
#include "helper_student.h"

enum { STATES = 1000000, STACK_MAX = 256, SIZE_MAX_DEFAULT = 16 << 10 };

static const char *const names[MADE_KINDS] = {"default", "large", "odd", "extreme", "tree", "update"};

/* Also what a kernel's translation unit would be. */
static const char unit[] =
	"#include \"student.h\"\n"
	"unsigned answer(void *state, const void *input, unsigned now, int *scores);\n"
	"unsigned answer(void *state, const void *input, unsigned now, int *scores)\n"
	"{\n"
	"#ifdef AQM_STUDENT_UPDATE\n"
	"\t(void)scores;\n"
	"\treturn aqm_student_update((struct aqm_student_state *)state, (const struct aqm_student_interval *)input, now);\n"
	"#else\n"
	"\t(void)now;\n"
	"#ifdef SCORES\n"
	"\tstruct aqm_student_state before = *(struct aqm_student_state *)state;\n"
	"\taqm_student_scores(&before, (const struct aqm_student_record *)input, scores);\n"
	"#else\n"
	"\t(void)scores;\n"
	"#endif\n"
	"\treturn (unsigned)aqm_student_decide((struct aqm_student_state *)state, (const struct aqm_student_record *)input);\n"
	"#endif\n"
	"}\n"
	"#ifdef __cplusplus\n"
	"extern \"C\" void clear(void *state);\n"
	"#else\n"
	"void clear(void *state);\n"
	"#endif\n"
	"void clear(void *state)\n"
	"{\n"
	"\taqm_student_reset((struct aqm_student_state *)state);\n"
	"}\n";

#if defined(__x86_64__)
#define NO_RED_ZONE "-mno-red-zone " /* as kernels are built: so the whole stack counts */
#else
#define NO_RED_ZONE ""
#endif
static const char freestanding[] = NO_RED_ZONE "-O2 -ffreestanding -nostdlib -mgeneral-regs-only -Wall -Wextra -Werror";

static int command(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int command(const char *format, ...)
{
	char line[1024];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	return system(line);
}

static bool has(const char *tool)
{
	return command("command -v %s >/dev/null 2>&1", tool) == 0;
}

static void make_header(enum made_kind kind)
{
	aqm_student *student = make_student(kind);

	CHECK_OK(aqm_export_c_header(student, "student.h"));
	CHECK_OK(aqm_file_write("unit.c", unit, sizeof unit - 1));
	aqm_student_free(student);
}

typedef unsigned (*answer_function)(void *state, const void *input, unsigned now, int *scores);

static answer_function load_library(void **library, const char *compiler, enum made_kind kind)
{
	char path[64];
	answer_function answer;

	snprintf(path, sizeof path, "./%s-%s.so", compiler, names[kind]);
	if (command("%s %s %s -fPIC -shared unit.c -o %s", compiler, freestanding, kind == MADE_TREE ? "" : "-DSCORES", path) != 0)
		fail_msg("%s cannot compile the header", compiler);
	*library = dlopen(path, RTLD_NOW);
	assert_non_null(*library);
	void *symbol = dlsym(*library, "answer");
	assert_non_null(symbol);
	memcpy(&answer, &symbol, sizeof answer);
	return answer;
}

static void compare_packets(const aqm_student *student, answer_function answer, uint64_t states)
{
	struct aqm_student_state state = {{0}, {0}, 0};
	uint64_t theirs[64] = {0};
	size_t seen[AQM_ACTIONS] = {0};

	for (uint64_t at = 0; at < states; at++) {
		struct aqm_record record;
		int32_t scores[AQM_ACTIONS];
		int their_scores[4];

		make_record(at, &record);
		enum aqm_action action = aqm_student_decide(student, &state, &record, scores);
		unsigned got = answer(theirs, &record, 0, their_scores);

		seen[action]++;
		if (got != action)
			fail_msg("state %llu: %u, not %d", (unsigned long long)at, got, action);
		if (student->kind == AQM_STUDENT_NETWORK && memcmp(scores, their_scores, sizeof scores) != 0)
			fail_msg("state %llu: scores %d %d %d, not %d %d %d", (unsigned long long)at, their_scores[0], their_scores[1],
			         their_scores[2], scores[0], scores[1], scores[2]);
	}
	/* Or little was compared. */
	assert_true(seen[0] < states - states / 100 && seen[1] < states - states / 100 && seen[2] < states - states / 100);
}

static void compare_updates(const aqm_student *student, answer_function answer)
{
	struct aqm_student_state state = {{0}, {0}, 0};
	uint64_t theirs[64] = {0}, features[AQM_STUDENT_INPUTS_MAX];
	uint32_t other = 0;

	for (uint64_t at = 0; at < STATES; at++) {
		uint32_t now = make_probability(at);

		make_interval(at, student->count, features);
		uint32_t next = aqm_student_update(student, &state, features, now), got = answer(theirs, features, now, NULL);

		if (got != next)
			fail_msg("state %llu: %u, not %u", (unsigned long long)at, got, next);
		other += next != 0 && next != UINT32_MAX;
	}
	assert_true(other > STATES / 10);
}

static void test_same(void **state)
{
	static const char *const compilers[] = {"gcc", "clang"};
	size_t compared = 0;

	(void)state;
	for (int kind = 0; kind < MADE_KINDS; kind++) {
		aqm_student *student = make_student((enum made_kind)kind);

		make_header((enum made_kind)kind);
		for (size_t c = 0; c < 2; c++) {
			void *library;

			if (!has(compilers[c]) || (c == 1 && kind != MADE_EXTREME && kind != MADE_UPDATE))
				continue;
			answer_function answer = load_library(&library, compilers[c], (enum made_kind)kind);

			if (kind == MADE_UPDATE)
				compare_updates(student, answer);
			else
				compare_packets(student, answer, kind == MADE_LARGE ? STATES / 10 : STATES);
			dlclose(library);
			compared++;
		}
		aqm_student_free(student);
	}
	if (compared == 0)
		skip();
}

/* Stack from -fstack-usage: "unit.c:3:10:answer	120	static". */
static long stack_of(const char *path)
{
	char line[256];
	FILE *file = fopen(path, "r");
	long most = -1, bytes;

	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		const char *tab = strchr(line, '\t');

		if (tab && sscanf(tab, "%ld", &bytes) == 1 && bytes > most)
			most = bytes;
		assert_null(strstr(line, "dynamic\n") ? strstr(line, "dynamic,bounded") ? NULL : line : NULL);
	}
	fclose(file);
	return most;
}

/* text + rodata + data of an object. */
static long size_of(const char *object)
{
	long text = -1;
	char line[128];

	if (!has("size") || command("size %s | tail -n 1 >size.txt", object) != 0)
		return 0;
	FILE *file = fopen("size.txt", "r");
	assert_non_null(file);
	if (!fgets(line, sizeof line, file) || sscanf(line, "%ld", &text) != 1)
		text = -1;
	fclose(file);
	return text;
}

/* Of a size that one would put into a kernel. */
static bool is_usual(int kind)
{
	return kind == MADE_DEFAULT || kind == MADE_TREE || kind == MADE_UPDATE;
}

static void test_builds(void **state)
{
	(void)state;
	for (int kind = 0; kind < MADE_KINDS; kind++) {
		make_header((enum made_kind)kind);
		if (has("gcc")) {
			assert_int_equal(command("gcc -std=gnu11 %s -Wdeclaration-after-statement -Wshadow -Wundef -fstack-usage -c unit.c -o unit.o", freestanding), 0);
			long stack = stack_of("unit.su"), size = size_of("unit.o");

			print_message("%-8s gcc: stack %ld bytes, size %ld\n", names[kind], stack, size);
			assert_true(stack >= 0 && (stack < STACK_MAX || !is_usual(kind)));
			assert_true(size >= 0 && (size < SIZE_MAX_DEFAULT || kind == MADE_LARGE));
			/* Nothing is called, from outside or in it. */
			assert_int_equal(command("nm -u unit.o | grep -v _GLOBAL_OFFSET_TABLE_ | grep . >undefined.txt"), 256);
			/* No division. */
			assert_int_equal(command("objdump -d unit.o | grep -Eq '[[:space:]]i?div[bwlq]?[[:space:]]'"), 256);
			assert_int_equal(command("gcc -std=gnu90 -O1 %s -c unit.c -o unit90.o", freestanding), 0);
			assert_int_equal(command("gcc %s -m32 -c unit.c -o unit32.o 2>/dev/null || gcc -m32 -E - </dev/null >/dev/null 2>&1", freestanding), 0);
		}
		if (has("g++"))
			assert_int_equal(command("g++ -x c++ %s -c unit.c -o unitpp.o", freestanding), 0);
		if (has("clang")) {
			assert_int_equal(command("clang -std=gnu11 %s -fstack-usage -c unit.c -o unitc.o", freestanding), 0);
			assert_true(access("unitc.su", R_OK) != 0 || stack_of("unitc.su") < STACK_MAX || !is_usual(kind));
			if (is_usual(kind))
				assert_int_equal(command("clang -O2 -g -target bpf -ffreestanding -idirafter /usr/include/$(uname -m)-linux-gnu "
				                         "-Wall -Wextra -Werror -DAQM_STUDENT_TYPES -include stdint.h -c unit.c -o unitb.o"),
				                 0);
		}
	}
}

/* A program of FreeBSD's dummynet, against a stub of what it includes. */
static void test_freebsd(void **state)
{
	(void)state;
	if (!has("cc"))
		skip();
	make_header(MADE_DEFAULT);
	assert_int_equal(command("cc %s -std=gnu99 -D_KERNEL -nostdinc -I. -I%s/tests/export/student/freebsd -c "
	                         "%s/tests/export/student/freebsd/hook.c -o hook.o",
	                         freestanding, AQM_SOURCE_DIR, AQM_SOURCE_DIR),
	                 0);
}

/* What a file says of a teacher cannot leave its comment. */
static void test_comment(void **state)
{
	char *text;
	size_t bytes;

	(void)state;
	make_header(MADE_DEFAULT);
	CHECK_OK(aqm_file_read("student.h", 1 << 20, &text, &bytes));
	assert_non_null(strstr(text, "SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0"));
	assert_null(strstr(text, "made up */"));
	assert_non_null(strstr(text, "made up ?/ #define"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_builds),
		cmocka_unit_test(test_freebsd),
		cmocka_unit_test(test_comment),
	};

	return cmocka_run_group_tests_name("c_header", tests, NULL, NULL);
}
