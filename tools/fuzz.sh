#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# fuzz.sh [SECONDS] [TARGET...]: build the fuzz targets with clang and run each of them (default: all, 60 seconds each) on its
# corpus of tests/fuzz/corpus/. New inputs go to build/fuzz/found/, crashes to build/fuzz/crashes/.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
jobs=$(nproc)

tools/install-deps.sh --fuzz
cmake --preset fuzz
if [ $# -eq 0 ]; then
	for source in tests/fuzz/*/fuzz_*.c; do
		set -- "$@" "$(basename "$source" .c)"
	done
fi

status=0
mkdir -p build/fuzz/crashes
cmake --build --preset fuzz -j "$jobs" --target "$@"
for target; do
	name=${target#fuzz_}
	mkdir -p "build/fuzz/found/$name"
	echo "== $target: $seconds seconds"
	binary=$(find build/fuzz -type f -name "$target" -perm -u+x)
	"$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/crashes/$name-" "build/fuzz/found/$name" "tests/fuzz/corpus/$name" \
		>"build/fuzz/$name.log" 2>&1 || status=1
	grep -E '^stat::number_of_executed_units|ERROR|SUMMARY' "build/fuzz/$name.log" || true
done
ls build/fuzz/crashes
exit $status
