#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Twenty times SIGKILL at random moments; every time the run goes on, and ends with the weights of an undisturbed one.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
set -o pipefail
make_inputs

settings=(--set train.epochs=20 --set threads=1)
kills=10
[ -z "${AQM_SANITIZED:-}" ] || kills=2 # slow, and not what a sanitizer finds

# train RUN [EXTRA...]
train() {
	local run=$1
	shift
	"$program" train -c tiny.yaml "${settings[@]}" -o "$run" "$@" 2>>"$run.log"
}

# kill_and_resume RUN KILLS SECONDS [EXTRA...]: SECONDS is what an undisturbed run takes.
kill_and_resume() {
	local run=$1 kills=$2 seconds=$3 killed=0 process
	shift 3
	while [ "$killed" -lt "$kills" ]; do
		# not the function: $! would be the shell around the program, and only that would die
		"$program" train -c tiny.yaml "${settings[@]}" -o "$run" --resume "$@" 2>>"$run.log" &
		process=$!
		sleep "$(awk -v r="$RANDOM" -v s="$seconds" 'BEGIN { print 0.01 + r / 32768 * s / 6 }')"
		kill -KILL "$process" 2>/dev/null || true
		wait "$process" 2>/dev/null || true
		killed=$((killed + 1))
	done
	train "$run" --resume "$@"
}

for every in 0 1; do
	began=$(date +%s.%N)
	train "whole-$every" --set train.checkpoint_every=$every
	seconds=$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { print b - a }')
	kill_and_resume "killed-$every" "$kills" "$seconds" --set train.checkpoint_every=$every
	cmp "whole-$every/policy.h5" "killed-$every/policy.h5"
	cmp "whole-$every/best/policy.h5" "killed-$every/best/policy.h5"
	# The same lines, but for the clock.
	for run in whole killed; do
		sed -E 's/"(elapsed_s|tokens_per_s)":[^,}]*//g' "$run-$every/metrics.jsonl" >"$run-$every.lines"
	done
	cmp "whole-$every.lines" "killed-$every.lines"
	echo "checkpoint_every $every: an undisturbed run takes $seconds s; killed $kills times: the same"
done
