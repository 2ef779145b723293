/* SPDX-License-Identifier: BSD-2-Clause
 *
 * deploy/freebsd against stubs of the kernel's headers: each field gets where it belongs, and answers are obeyed as the
 * kernel's own are.
 */
#include "../check.h"

#include <string.h>

#include <sys/param.h>

#define aqm_student_decide decide_by_delay
#include "by_delay.h"
#undef aqm_student_decide

static struct aqm_student_record seen;
static int says;

static inline int aqm_student_decide(struct aqm_student_state *state, const struct aqm_student_record *record)
{
	(void)state;
	seen = *record;
	return says;
}

#include "dn_student.c"

int ecn_mark(struct mbuf *m)
{
	if (m->codepoint == 0)
		return 0;
	m->codepoint = 3;
	return 1;
}

static struct dn_aqm_pie_parms parms = {1, 2, 3, 4, 5, 6, 7};

static struct pie_status busy_queue(void)
{
	return (struct pie_status){0, 1000, 11, 12, 5000, 14, 15, 16, PIE_ACTIVE, &parms};
}

static void test_record(void **state)
{
	const struct dn_student_counts counts = {21, 22, 23, 24, 25};
	struct pie_status pst = busy_queue();
	struct dn_student student = {0};
	struct mbuf m = {{1500}, 0};

	(void)state;
	says = AQM_STUDENT_ENQUEUE;
	pst.burst_allowance = 9;
	assert_int_equal(dn_student_enqueue(&student, &pst, &counts, 1, &m), ENQUE);
	const struct aqm_student_record expected = {1,    1,  2,  3,  4,          5,  6,  7,  9,  1000, 11,   12,
	                                            6000, 14, 15, 16, PIE_ACTIVE, 21, 22, 23, 24, 25,   1500, 0};
#define SAME(field) assert_int_equal(seen.field, expected.field)
	SAME(queue_type), SAME(qdelay_ref), SAME(tupdate), SAME(max_burst), SAME(max_ecnth), SAME(alpha), SAME(beta);
	SAME(flags), SAME(burst_allowance), SAME(drop_prob), SAME(current_qdelay), SAME(qdelay_old), SAME(accu_prob);
	SAME(measurement_start), SAME(avg_dq_time), SAME(dq_count), SAME(sflags), SAME(tot_pkts), SAME(tot_bytes);
	SAME(length), SAME(len_bytes), SAME(drops), SAME(pkt_len), SAME(action_logged);
	assert_int_equal(pst.accu_prob, 6000);
	pst.drop_prob = 0;
	dn_student_enqueue(&student, &pst, &counts, 0, &m);
	assert_int_equal(seen.accu_prob, 0);
	assert_int_equal(student.answers[AQM_STUDENT_ENQUEUE], 2);
}

static void test_answers(void **state)
{
	const struct dn_student_counts counts = {0};
	struct dn_student student = {0};
	struct mbuf plain = {{1500}, 0}, capable = {{1500}, 2};

	(void)state;
	for (int quiet = 0; quiet < 3; quiet++) { /* a busy queue, one that is not active, one whose burst is allowed */
		struct pie_status pst = busy_queue();

		pst.sflags = quiet == 1 ? 0 : PIE_ACTIVE;
		pst.burst_allowance = quiet == 2 ? 15000 : 0;
		capable.codepoint = 2;
		says = AQM_STUDENT_DROP;
		assert_int_equal(dn_student_enqueue(&student, &pst, &counts, 0, &capable), quiet ? ENQUE : DROP);
		assert_int_equal(pst.accu_prob, quiet ? 6000 : 0);
		says = AQM_STUDENT_MARK;
		assert_int_equal(dn_student_enqueue(&student, &pst, &counts, 0, &plain), quiet ? ENQUE : DROP);
		assert_int_equal(dn_student_enqueue(&student, &pst, &counts, 0, &capable), ENQUE);
		assert_int_equal(capable.codepoint, quiet ? 2 : 3);
		assert_int_equal(pst.accu_prob, quiet ? 8000 : 0);
	}
	assert_int_equal(student.answers[AQM_STUDENT_DROP], 3);
	assert_int_equal(student.answers[AQM_STUDENT_MARK], 6);
	assert_ptr_equal(sysctl_stub_student, &dn_student_on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_record), cmocka_unit_test(test_answers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
