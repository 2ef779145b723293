/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Teachers: answers that are those of evaluation, kept, found again, continued, and not believed when they are damaged; whole
 * distillations of packets and of updates, on pools and in the simulator.
 */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "../helper_policy.h"
#include "aqmtrain/distill.h"
#include "base/file.h"
#include "base/thread.h"
#include "distill/student.h"
#include "distill/teacher.h"

/* A policy in policy.h5, with the pool that it was fitted on in pool.h5. */
static void make_teacher(struct fixture *f, const char *const *settings, struct aqm_config *config)
{
	fixture_init(f, "llama.gguf", settings, 3, false);
	CHECK_OK(aqm_policy_save(f->policy, "policy.h5"));
	CHECK_OK(aqm_pool_save(f->pool, "pool.h5"));
	CHECK_OK(aqm_config_init(config));
	CHECK_OK(aqm_config_set(config, "distill.teacher=policy.h5"));
	CHECK_OK(aqm_config_set(config, "pool.train=pool.h5"));
	CHECK_OK(aqm_config_set(config, "distill.epochs=300"));
}

/* The only file in logits/. */
static void find_answers(char path[300])
{
	DIR *folder = opendir("logits");
	struct dirent *entry;
	int found = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)))
		if (entry->d_name[0] != '.') {
			snprintf(path, 300, "logits/%s", entry->d_name);
			found++;
		}
	closedir(folder);
	assert_int_equal(found, 1);
}

/* The same but for the order of sums, which the number of windows in a batch decides. */
static void check_near(const float *got, const float *expected)
{
	for (size_t i = 0; i < 3 * ROWS; i++)
		if (fabsf(got[i] - expected[i]) > 1e-4f)
			fail_msg("answer %zu: %g, not %g", i, (double)got[i], (double)expected[i]);
}

static void test_answers(void **state)
{
	struct aqm_config config;
	struct fixture f;
	struct aqm_teacher teacher;
	float *answers, *again, expected[3 * ROWS];
	bool known;
	char path[300];

	(void)state;
	make_teacher(&f, NULL, &config);
	CHECK_OK(aqm_teacher_open(&teacher, &config));
	CHECK_OK(aqm_teacher_answers(&teacher, NULL, f.pool, &answers, &known));
	assert_false(known);
	CHECK_OK(aqm_policy_score(f.policy, &f.rows, aqm_policy_target(f.policy), expected));
	check_near(answers, expected);
	CHECK_OK(aqm_teacher_answers(&teacher, NULL, f.pool, &again, &known));
	assert_true(known);
	assert_memory_equal(again, answers, sizeof expected);
	memcpy(expected, answers, sizeof expected);
	free(again);

	/* Another pool, other answers. */
	aqm_pool *other = make_pool(ROWS, SECOND_EPISODE, 1);
	CHECK_OK(aqm_teacher_answers(&teacher, NULL, other, &again, &known));
	assert_false(known);
	assert_memory_not_equal(again, expected, sizeof expected);
	free(again);
	aqm_pool_free(other);
	CHECK_OK(aqm_remove_tree("logits"));

	/* Interrupted at once: nothing is kept, and nothing is wrong with going on. */
	aqm_interrupt_raise(true);
	assert_int_equal(aqm_teacher_answers(&teacher, NULL, f.pool, &again, &known), AQM_EINTERRUPTED);
	assert_null(again);
	aqm_interrupt_raise(false);

	/* Half of it is there: the rest is asked for, and the whole is the same. */
	CHECK_OK(aqm_teacher_answers(&teacher, NULL, f.pool, &again, &known));
	free(again);
	find_answers(path);
	const struct aqm_answers_key key = {teacher.digest, teacher.base_digest, aqm_pool_digest(f.pool), teacher.returns, ROWS, 3,
	                                    aqm_policy_score_windows(teacher.policy, &f.rows)};
	float half[3 * ROWS];
	uint64_t windows;
	memcpy(half, expected, sizeof half);
	for (size_t i = 3 * ROWS - 6; i < 3 * ROWS; i++)
		half[i] = 77; /* to be asked for */
	CHECK_OK(aqm_answers_write(path, &key, half, key.windows - 1));
	CHECK_OK(aqm_teacher_answers(&teacher, NULL, f.pool, &again, &known));
	assert_false(known);
	check_near(again, expected);
	free(again);

	/* Damage in any place is seen, or does not matter. */
	char *bytes;
	size_t count;
	CHECK_OK(aqm_answers_read(path, &key, expected, &windows));
	assert_true(windows == key.windows);
	CHECK_OK(aqm_file_read(path, 1 << 20, &bytes, &count));
	for (size_t at = 0; at < count; at += 61) {
		float got[3 * ROWS];

		bytes[at] = (char)(bytes[at] ^ 0x10);
		CHECK_OK(aqm_file_write(path, bytes, count));
		bytes[at] = (char)(bytes[at] ^ 0x10);
		CHECK_OK(aqm_answers_read(path, &key, got, &windows));
		if (windows == key.windows)
			assert_memory_equal(got, expected, sizeof got);
	}
	free(bytes);
	free(answers);
	aqm_teacher_close(&teacher);
	fixture_release(&f);
	aqm_config_release(&config);
}

static void test_returns(void **state)
{
	struct aqm_config config;
	struct fixture f;
	struct aqm_teacher teacher;
	float *answers, expected[3 * ROWS];

	(void)state;
	make_teacher(&f, NULL, &config);
	CHECK_OK(aqm_config_set(&config, "distill.returns=logged"));
	CHECK_OK(aqm_teacher_open(&teacher, &config));
	assert_string_equal(teacher.returns, "logged");
	CHECK_OK(aqm_teacher_answers(&teacher, NULL, f.pool, &answers, NULL));
	CHECK_OK(aqm_policy_score(f.policy, &f.rows, (double)NAN, expected));
	check_near(answers, expected);
	free(answers);
	aqm_teacher_close(&teacher);
	fixture_release(&f);
	aqm_config_release(&config);
}

static void test_distill(void **state)
{
	struct aqm_distill_result result;
	struct aqm_config config;
	struct fixture f;
	aqm_student *student;
	char *text;

	(void)state;
	make_teacher(&f, NULL, &config);
	CHECK_OK(aqm_distill(&config, "out", &(struct aqm_distill_options){0}, &result));
	assert_int_equal(result.count, 1);
	assert_int_equal(result.students[0].train.rows, ROWS);
	assert_int_equal(result.students[0].held_out.rows, 0);
	assert_true(result.students[0].train.fidelity >= result.trivial.fidelity);
	assert_true(result.teacher.fidelity == 1 && result.raw_tree.rows == ROWS);
	assert_false(result.answers_known);
	CHECK_OK(aqm_student_load(&student, "out"));
	assert_memory_equal(&student->network, &result.students[0].student->network, sizeof student->network);
	assert_int_equal(strlen(student->origin.pool_digest), 64);
	assert_int_equal(strlen(student->origin.teacher_digest), 64);
	aqm_student_free(student);
	CHECK_OK(aqm_distill_format(&result, NULL, false, &text));
	assert_non_null(strstr(text, "tree on labels"));
	free(text);
	aqm_distill_release(&result);

	/* A tree, on held-out rows, and a sweep. */
	CHECK_OK(aqm_config_set(&config, "pool.eval=pool.h5"));
	CHECK_OK(aqm_config_set(&config, "distill.student=tree"));
	CHECK_OK(aqm_distill(&config, "out", &(struct aqm_distill_options){0}, &result));
	assert_true(result.answers_known);
	assert_true(result.students[0].held_out.fidelity == result.students[0].train.fidelity && result.students[0].train.fidelity > 0.9);
	aqm_distill_release(&result);
	CHECK_OK(aqm_config_set(&config, "distill.epochs=2"));
	CHECK_OK(aqm_distill(&config, "swept", &(struct aqm_distill_options){.sweep = true}, &result));
	assert_true(result.count > 6 && access("swept/distill.json", R_OK) == 0 && access("swept/student.json", R_OK) != 0);
	aqm_distill_release(&result);
	CHECK_OK(aqm_config_set(&config, "distill.rounds=1"));
	assert_int_equal(aqm_distill(&config, "out", &(struct aqm_distill_options){0}, &result), AQM_EUSAGE); /* no scenarios */
	fixture_release(&f);
	aqm_config_release(&config);
}

/* The student acts in the simulator, the teacher labels what it met. */
static void test_rounds(void **state)
{
	static const char scenario[] = "seconds: 1\nwarmup: 0\nlink: {rate: 2}\naqm: {kind: freebsd-l4s}\nflows:\n  - {cc: prague, rtt: 10}\n"
								   "  - {cc: cubic, rtt: 10}\n";
	struct aqm_distill_result result;
	struct aqm_config config;
	struct fixture f;

	(void)state;
	make_teacher(&f, NULL, &config);
	CHECK_OK(aqm_file_write("small.yaml", scenario, sizeof scenario - 1));
	CHECK_OK(aqm_config_set(&config, "distill.scenarios=[small.yaml]"));
	CHECK_OK(aqm_config_set(&config, "distill.seconds=0.5"));
	CHECK_OK(aqm_config_set(&config, "distill.rounds=2"));
	CHECK_OK(aqm_config_set(&config, "distill.student=tree"));
	CHECK_OK(aqm_distill(&config, "out", &(struct aqm_distill_options){0}, &result));
	assert_true(result.rows > ROWS + 20);
	assert_true(isfinite(result.students[0].utility));
	aqm_distill_release(&result);
	fixture_release(&f);
	aqm_config_release(&config);
}

static void test_updates(void **state)
{
	static const char *const settings[] = {"control=update", NULL};
	struct aqm_distill_result result;
	struct aqm_config config;
	struct fixture f;
	aqm_student *student;

	(void)state;
	make_teacher(&f, settings, &config);
	CHECK_OK(aqm_config_set(&config, "distill.epochs=300"));
	CHECK_OK(aqm_distill(&config, "out", &(struct aqm_distill_options){0}, &result));
	assert_int_equal(result.control, AQM_CONTROL_UPDATE);
	print_message("updates: %.3f within 10 %%, %.3f unchanged\n", result.students[0].train.fidelity, result.trivial.fidelity);
	assert_true(result.students[0].train.log_rmse < 0.5 * result.trivial.log_rmse);
	CHECK_OK(aqm_student_load(&student, "out"));
	assert_int_equal(aqm_student_control(student), AQM_CONTROL_UPDATE);
	aqm_student_free(student);
	aqm_distill_release(&result);
	CHECK_OK(aqm_config_set(&config, "distill.student=tree"));
	assert_int_equal(aqm_distill(&config, "out", &(struct aqm_distill_options){0}, &result), AQM_EUSAGE);
	fixture_release(&f);
	aqm_config_release(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_returns, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_distill, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_rounds, scratch_enter, scratch_leave),
		cmocka_unit_test_setup_teardown(test_updates, scratch_enter, scratch_leave),
	};

	return cmocka_run_group_tests_name("teacher", tests, NULL, NULL);
}
