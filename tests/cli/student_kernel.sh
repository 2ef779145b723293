#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A student's C header in a Linux kernel module, built by the kernel's own makefiles against packaged headers; not loaded.
. "$(dirname "$0")/helper.sh"

skip() {
	echo "skipped: $*"
	exit 77
}

command -v make >/dev/null && command -v gcc >/dev/null || skip "no make, or no gcc"
headers=
for candidate in "/lib/modules/$(uname -r)/build" /lib/modules/*/build; do
	[ -r "$candidate/Makefile" ] && [ -r "$candidate/include/generated/autoconf.h" ] && headers=$candidate && break
done
[ -n "$headers" ] || skip "no kernel headers (linux-headers-amd64 or its like)"

for student in network tree; do
	mkdir $student
	expect 0 "$program" export -r "$source/tests/golden/distill/$student.json" --c-header $student/student.h
	cat >$student/aqm_student_module.c <<-'C'
		// SPDX-License-Identifier: GPL-2.0
		#include <linux/module.h>
		#include "student.h"

		noinline int aqm_student_answer(struct aqm_student_state *state, const struct aqm_student_record *record);
		noinline int aqm_student_answer(struct aqm_student_state *state, const struct aqm_student_record *record)
		{
			return aqm_student_decide(state, record);
		}
		EXPORT_SYMBOL_GPL(aqm_student_answer);
		MODULE_DESCRIPTION("a student");
		MODULE_LICENSE("GPL");
	C
	echo 'obj-m := aqm_student_module.o' >$student/Kbuild
	echo 'ccflags-y := -Wall -Werror -fstack-usage' >>$student/Kbuild # the kernel's own headers are not clean under -Wextra
	# Objects need the compiler; to link them into a module, the kernel's tools must run here too.
	if ! make -s -C "$headers" M="$PWD/$student" CC=gcc modules >$student/log 2>&1; then
		grep -qi 'gcc-.*not found\|objtool.*not found\|fixdep\|unrecognized command-line option\|plugin' $student/log &&
			skip "the kernel's headers want other tools: $(tail -n 1 $student/log)"
		cat $student/log >&2
		die "the module does not build"
	fi
	[ -s $student/aqm_student_module.ko ] || die "no module"
	stack=$(sed -n 's/.*aqm_student_answer\t\([0-9]*\)\t.*/\1/p' $student/aqm_student_module.su)
	echo "$student: stack $stack bytes in $(basename "$(realpath "$headers")")"
	[ "$stack" -lt 256 ] || die "$stack bytes of stack"
done
