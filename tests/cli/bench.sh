#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# aqmtrain bench: every bench runs, prints figures with their limits, and JSON with the keys that are promised.
. "$(dirname "$0")/helper.sh"

export TMPDIR=.
for bench in gemm step decide parse sim; do
	expect 0 "$program" bench $bench --quick
	says out " of "
	expect 0 "$program" bench $bench --quick --json
	for key in name value unit limit limit_is ratio; do
		says out "\"$key\":"
	done
	expect 2 "$program" bench $bench stray
done
expect 0 "$program" bench step --quick --profile
says err "gemm"
says err "attention"

expect 0 "$program" bench step --quick --peer
says out "python3 tools/peer_torch.py --arch llama --layers 3 --width 96"
expect 0 "$program" bench decide --quick --batch 3
says out "decide/tiny-llama/q4_0/cpu/batch3/whole"
expect 2 "$program" bench decide --quick --batch 0
expect 2 "$program" bench step --quick --batch 3

expect 0 "$program" model synth --preset tiny-gpt2 -o base.gguf
expect 0 "$program" bench decide --quick --model base.gguf
says out "decide/model/cpu"
expect 0 "$program" bench step --quick --model base.gguf
says out "step/model/cpu"
expect 3 "$program" bench decide --quick --model nosuch.gguf
expect 2 "$program" bench gemm --threads 0

# Ctrl-C ends a bench between two measurements.
for what in 'gemm' 'step --model base.gguf'; do
	# shellcheck disable=SC2086
	"$program" bench $what >out 2>err &
	process=$!
	until grep -q '^SigCgt:.*[2367abef]$' "/proc/$process/status"; do # SIGINT is caught
		sleep 0.05
	done
	sleep 0.1
	kill -INT "$process"
	status=0
	wait "$process" || status=$?
	[ "$status" -eq 130 ] || { cat out err >&2; die "bench $what: SIGINT gave status $status"; }
done

ls aqmtrain-bench-* 2>/dev/null && die "temporary files are left"
exit 0
