#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What `export --c-header` writes fits every deployment: each compiles with a network and with a tree.
. "$(dirname "$0")/../cli/helper.sh"
build=$(realpath "$4")
mkdir -p netpfil/ipfw
for kind in network tree; do
	"$build/tests/deploy/make_student" $kind netpfil/ipfw/aqm_student.h || die "cannot make a $kind"
	"${CC:-cc}" -std=gnu11 -O2 -ffreestanding -Wall -Wextra -Werror -I. -I"$source/tests/deploy/dummynet" -I"$source/deploy/freebsd" \
		-c "$source/deploy/freebsd/dn_student.c" -o dn_student.o || die "dn_student.c does not compile with a $kind"
	if command -v clang >/dev/null && [ -r /usr/include/bpf/bpf_helpers.h ]; then
		clang -O2 -g -Wall -Wextra -Werror -target bpf -ffreestanding -idirafter "/usr/include/$(uname -m)-linux-gnu" \
			-include "$PWD/netpfil/ipfw/aqm_student.h" -c "$source/deploy/linux-bpf/student_tc.bpf.c" -o student.o ||
			die "student_tc.bpf.c does not compile with a $kind"
	else
		echo "not compiled for eBPF: no clang or no bpf/bpf_helpers.h (libbpf-dev)"
	fi
done
