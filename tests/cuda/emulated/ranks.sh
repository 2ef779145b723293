#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Two ranks, each with an emulated GPU, train what one trains: gradients go through an NCCL that is stricter than the real one, or, where
# it is not to be had, through the hosts' memory. Run as SCRIPT PROGRAM SCRATCH_FOLDER SOURCE_FOLDER FOLDER_OF_THE_NCCL.
nccl=$(realpath "$4")
. "$3/tests/cli/helper.sh"
. "$source/tests/cli/helper_ranks.sh"

awk 'BEGIN {
	print "drop_prob,current_qdelay,action"
	for (i = 0; i < 24; i++)
		printf("%d,%d,%d\n", i * 20000, i * 7919 % 30000, i % 3)
}' >pool.csv
"$program" pool import pool.csv -o pool.h5 2>import.log
"$program" model synth --preset tiny-llama --seed 1 -o base.gguf
cat >tiny.yaml <<'YAML'
seed: 3
threads: 1
dtype: f32
model: {path: base.gguf}
pool: {train: pool.h5}
policy: {window: 2, features: [drop_prob, current_qdelay], sequences: [], encoder_width: 8}
reward: {horizon: 5}
lora: {rank: 2, alpha: 4, dropout: 0.1}
train: {epochs: 2, windows: 6, lr: 0.002}
YAML
train=(train -c tiny.yaml --set device=cuda)

losses() {
	sed -En 's/.*"loss":([^,}]*).*/\1/p' "$1/metrics.jsonl"
}
same_losses() { # within float rounding
	paste <(losses "$1") <(losses "$2") >pairs
	[ "$(wc -l <pairs)" -ge 6 ] || die "$(wc -l <pairs) losses in $1 and $2"
	awk 'NF != 2 || ($1 - $2) ^ 2 > ($1 * 1e-5) ^ 2 { print "line " NR ": " $0; bad = 1 } END { exit bad }' pairs ||
		die "losses of $1 and $2 differ"
}

"$program" train -c tiny.yaml --set device=cpu -o cpu 2>cpu.log
export LD_LIBRARY_PATH=$nccl
ranks 2 "$program" "${train[@]}" -o two 2>two.log
if grep 'gradients go' two.log; then die "not by NCCL"; fi
same_losses cpu two

# What keeps one rank from NCCL keeps all of them, and nobody waits for it. A sum of two has the same bits wherever it is made.
cat >rank.sh <<'SH'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || unset LD_LIBRARY_PATH
exec "$@"
SH
chmod +x rank.sh
ranks 2 ./rank.sh "$program" "${train[@]}" -o hosts 2>hosts.log
says hosts.log "gradients go through the hosts' memory: rank 1 on '"
says hosts.log "'libaqm-fake-nccl.so' is missing"
cmp two/policy.h5 hosts/policy.h5
AQM_FAKE_NCCL=init:1 ranks 2 "$program" "${train[@]}" --set train.epochs=1 --set train.windows=12 -o alone 2>alone.log
says alone.log "gradients go through the hosts' memory: rank 1 on '"
says alone.log "NCCL cannot join the group: unhandled system error"

# A sum that never ends is told, and ends the job.
export OMPI_MCA_odls_base_sigkill_timeout=0
AQM_FAKE_NCCL=async:2 expect 1 ranks 2 "$program" "${train[@]}" -o stuck
says err "NCCL cannot sum: remote process exited or there was a network error"
