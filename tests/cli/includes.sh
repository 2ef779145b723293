#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The check of includes and of who prints finds what it is there to find.
. "$(dirname "$0")/helper.sh"
check=$source/tests/check-includes.sh

mkdir -p src/base src/pool src/cli include/aqmtrain
fresh() {
	rm -rf src/* include/aqmtrain/*
	mkdir -p src/base src/pool src/cli
	printf '#include "aqmtrain/pool.h"\n#include "base/size.h"\n' >src/pool/pool.c
	printf '#include "pool/pool.h"\n\tprintf("x");\n\texit(1);\n' >src/cli/main.c
	printf '/* prints to stderr */\nsnprintf(s, n, "printf(");\n' >src/base/size.c
	printf '#include "aqmtrain/error.h"\n' >include/aqmtrain/pool.h
}
# refuses FILE LINE TEXT: with that line added, the check fails and says so.
refuses() {
	fresh
	mkdir -p "$(dirname "$1")"
	printf '%s\n' "$2" >>"$1"
	expect 1 "$check" .
	says out "$3"
}

fresh
expect 0 "$check" .
refuses src/base/size.c '#include "pool/pool.h"' 'src/base/size.c:3: base includes "pool/pool.h", which lies above it'
refuses src/base/size.c '#include "aqmtrain/pool.h"' 'lies above it'
refuses include/aqmtrain/config.h '#include "aqmtrain/pool.h"' 'config includes'
refuses src/pool/pool.c '#include "attic/x.h"' 'unknown room "attic"'
refuses src/pool/pool.c '#include "sibling.h"' 'a bare name'
refuses src/attic/x.c 'int x;' 'unknown room "attic"'
refuses src/pool/pool.c '	printf("x");' 'only cli/ prints or exits'
refuses src/pool/pool.c '	fputs("x", stderr);' 'only cli/ prints or exits'
refuses src/pool/pool.c '	if (x) exit(1);' 'only cli/ prints or exits'
refuses src/pool/pool.c '	abort();' 'only cli/ prints or exits'
rm -rf src include
mkdir src include
expect 1 "$check" .
