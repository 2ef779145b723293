/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The C header in the running kernel: compiled for BPF, loaded past the verifier, and asked by BPF_PROG_TEST_RUN what the reference says of
 * the same states. Where the machine cannot: exit status 77, and why.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aqmtrain/export.h"
#include "../check.h"
#include "helper_student.h"

enum { STATES = 10000, SKIPPED = 77, ETHERNET = 14 };

static int skipped(const char *why)
{
	printf("skipped: %s\n", why);
	return SKIPPED;
}

static int open_pinned(const char *path)
{
	union bpf_attr attribute;

	memset(&attribute, 0, sizeof attribute);
	attribute.pathname = (uint64_t)(uintptr_t)path;
	return (int)syscall(SYS_bpf, BPF_OBJ_GET, &attribute, sizeof attribute);
}

static int test_run(int program, const void *data, uint32_t bytes, uint32_t *answer)
{
	union bpf_attr attribute;

	memset(&attribute, 0, sizeof attribute);
	attribute.test.prog_fd = (uint32_t)program;
	attribute.test.data_in = (uint64_t)(uintptr_t)data;
	attribute.test.data_size_in = bytes;
	int code = (int)syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attribute, sizeof attribute);
	*answer = attribute.test.retval;
	return code;
}

/* A student in the kernel beside the reference; 0, 1 or SKIPPED. */
static int compare(enum made_kind kind)
{
	struct aqm_student_state state = {{0}, {0}, 0};
	char packet[ETHERNET + sizeof(struct aqm_record)] = {0};
	char line[512], pin[64];
	aqm_student *student = make_student(kind);
	int status = 0;

	snprintf(pin, sizeof pin, "/sys/fs/bpf/aqm-test-%d", (int)getpid());
	CHECK_OK(aqm_export_c_header(student, "student.h"));
	snprintf(line, sizeof line,
	         "clang -O2 -g -target bpf -ffreestanding -idirafter /usr/include/$(uname -m)-linux-gnu -I. -Wall -Wextra -Werror "
	         "-c %s/tests/export/student/answer.bpf.c -o answer.o",
	         AQM_SOURCE_DIR);
	if (system(line) != 0) {
		aqm_student_free(student);
		return 1;
	}
	snprintf(line, sizeof line, "bpftool prog load answer.o %s >load.txt 2>&1", pin);
	if (system(line) != 0) {
		bool refused = system("grep -Eqi 'not permitted|not supported|denied|mount|BPF filesystem|Function not implemented' load.txt") == 0;

		if (system(refused ? "tail -n 3 load.txt" : "tail -n 30 load.txt") != 0)
			printf("no load.txt\n");
		aqm_student_free(student);
		return refused ? skipped("this kernel loads no BPF programs for us") : 1;
	}
	int program = open_pinned(pin);
	unlink(pin);
	if (program < 0) {
		aqm_student_free(student);
		return skipped("the loaded program cannot be opened");
	}
	for (uint64_t at = 0; at < STATES && status == 0; at++) {
		struct aqm_record record;
		uint32_t answer;

		make_record(at, &record);
		memcpy(packet + ETHERNET, &record, sizeof record);
		enum aqm_action action = aqm_student_decide(student, &state, &record, NULL);

		if (test_run(program, packet, sizeof packet, &answer) != 0) {
			printf("BPF_PROG_TEST_RUN: %s\n", strerror(errno));
			status = at == 0 ? skipped("this kernel runs no BPF programs for tests") : 1;
		} else if (answer != (uint32_t)action) {
			printf("state %llu: the kernel says %u, not %d\n", (unsigned long long)at, answer, (int)action);
			status = 1;
		}
	}
	close(program);
	aqm_student_free(student);
	if (status == 0)
		printf("%d states, the same in the kernel\n", STATES);
	return status;
}

int main(void)
{
	int status;

	if (getenv("AQM_SANITIZED"))
		return skipped("nothing here runs under sanitizers");
	if (geteuid() != 0)
		return skipped("not root");
	if (system("command -v clang >/dev/null 2>&1") != 0 || system("command -v bpftool >/dev/null 2>&1") != 0)
		return skipped("no clang, or no bpftool");
	status = compare(MADE_DEFAULT);
	if (status == 0)
		status = compare(MADE_TREE);
	return status;
}
