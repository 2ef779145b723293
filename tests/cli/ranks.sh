#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Two ranks train what one trains; what goes wrong on one of them ends the job with a line that names it.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
. "$source/tests/cli/helper_ranks.sh"
make_inputs
settings=(-c tiny.yaml --set train.epochs=4 --set lora.dropout=0.1)

# losses RUN: a line a step and an epoch.
losses() {
	sed -En 's/.*"loss":([^,}]*).*/\1/p' "$1/metrics.jsonl"
}
# same_losses A B: within float rounding that some steps have amplified.
same_losses() {
	paste <(losses "$1") <(losses "$2") >pairs
	[ "$(wc -l <pairs)" -ge 20 ] || die "$(wc -l <pairs) losses in $1 and $2"
	awk 'NF != 2 || ($1 - $2) ^ 2 > ($1 * 1e-4) ^ 2 { print "line " NR ": " $0; bad = 1 } END { exit bad }' pairs ||
		die "losses of $1 and $2 differ"
}

"$program" train "${settings[@]}" -o one
ranks 2 "$program" train "${settings[@]}" -o two 2>two.log
ranks 2 "$program" train "${settings[@]}" -o again 2>again.log
ranks 3 "$program" train "${settings[@]}" -o three 2>three.log # shares of 3, 3 and 2 windows
same_losses one two
same_losses one three
cmp two/policy.h5 again/policy.h5
says two.log "2 ranks"
[ "$(grep -c 'steps: 4 epochs' two.log)" = 1 ] || die "each rank speaks"

# Two ranks, interrupted; one goes on, and is interrupted; two end it.
interrupted() { # RUN STEP COMMAND...: SIGTERM to one process once the step is done
	local run=$1 step=$2 status=0
	shift 2
	"$@" 2>>"$run.log" &
	local process=$!
	until grep -qs "\"step\":$step," "$run/metrics.jsonl"; do
		kill -0 "$process" 2>/dev/null || die "it ended before step $step: $(cat "$run.log")"
		sleep 0.02
	done
	interrupt "$process"
	wait "$process" || status=$?
	[ "$status" -ne 0 ] || die "it was not interrupted"
}
more=(-c tiny.yaml --set train.epochs=18 --set lora.dropout=0.1)
mkdir -p chain
"$program" train "${more[@]}" -o long
interrupted chain 5 mpirun -n 2 "$program" train "${more[@]}" -o chain --resume
says chain.log "interrupted after step"
interrupted chain 40 "$program" train "${more[@]}" -o chain --resume
ranks 2 "$program" train "${more[@]}" -o chain --resume 2>>chain.log
same_losses long chain

# A rank that is killed takes the job with it; what it had saved is there.
ranks 2 "$program" train "${more[@]}" -o killed 2>killed.log &
process=$!
until [ -e killed/checkpoints/latest ] && grep -qs '"step":20,' killed/metrics.jsonl; do
	kill -0 "$process" || die "it ended early"
	sleep 0.02
done
victim=$(pgrep -f -- "aqmtrain train.*-o killed" | while read -r p; do
	tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | grep -q '^OMPI_COMM_WORLD_RANK=1$' && echo "$p"
done | head -1)
[ -n "$victim" ] || die "found no rank 1"
kill -KILL "$victim"
status=0
wait "$process" || status=$?
[ "$status" -ne 0 ] || die "the job went on without its rank"
grep -Eq "process rank 1 .*node .*signal 9" killed.log || die "the launcher did not say which rank: $(cat killed.log)"
ranks 2 "$program" train "${more[@]}" -o killed --resume 2>>killed.log
same_losses long killed

# Ranks with other data, or that cannot write, say so.
export OMPI_MCA_odls_base_sigkill_timeout=0 # nothing is left to write: mpirun need not wait
mkdir other
cp base.gguf eval.h5 other/
"$program" pool split pool.h5 --train other/train.h5 --eval rest.h5 --fraction 0.6
cat >rank.sh <<'SH'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || cd other
exec "$@"
SH
chmod +x rank.sh
cp tiny.yaml other/
expect 2 ranks 2 ./rank.sh "$program" train "${settings[@]}" -o astray
says err "rank 1 on '"
says err "the SHA-256 of 'pool.train' is '"
rm other/base.gguf
expect 3 ranks 2 ./rank.sh "$program" train "${settings[@]}" -o absent
says err "rank 1 on '"
says err "base.gguf"
expect 2 ranks 2 "$program" train "${settings[@]}" --set train.windows=1 -o few
says err "too few for 2 ranks"
expect 2 ranks 2 "$program" train "${settings[@]}" --set train.clip_each=true -o each
says err "'train.clip_each' takes one window after the other"
expect 2 ranks 2 "$program" train "${settings[@]}" -o one
says err "already holds a run"

# Their steps, measured.
export TMPDIR=.
expect 0 ranks 2 "$program" bench ranks --quick --threads 1 --json
for figure in shared strong weak gradients sum waited; do
	says out "\"ranks/tiny-llama/2x1/$figure\""
done
[ "$(grep -c '"ranks/tiny-llama/2x1/shared"' out)" = 1 ] || die "each rank speaks"
expect 2 "$program" bench ranks --quick
says err "nothing to be compared with"
