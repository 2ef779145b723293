#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Two ranks share the cells of a sweep: what comes of it is what one of them makes alone, also when it was interrupted.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_ranks.sh"

cat >grid.yaml <<'YAML'
base: {seconds: 2, series: 1, flows: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]}
axes: {aqm.kind: [dualpi2, freebsd-l4s], link.rate: [5, 20], epsilon: [0, 0.1]}
seeds: 2
YAML

# Pools of packets: the same bytes from one rank or three, and where two were interrupted and one goes on.
"$program" sim --collect one.h5 --grid grid.yaml
ranks 3 "$program" sim --collect three.h5 --grid grid.yaml --threads 2 2>three.log
cmp one.h5 three.h5
seeds=${AQM_SANITIZED:+40} # slow, and not what a sanitizer finds
seeds=${seeds:-150}
many=(--grid grid.yaml --set "seeds=$seeds" --threads 1)
broken_off long.h5.unfinished long.h5 mpirun -n 2 "$program" sim --collect long.h5 "${many[@]}"
[ ! -e long.h5 ] || die "it was whole"
expect 0 "$program" sim --collect long.h5 "${many[@]}"
says err "runs are in 'long.h5.unfinished'"
[ ! -e long.h5.unfinished ] || die "what was unfinished lies there still"
ranks 2 "$program" sim --collect again.h5 "${many[@]}" 2>>three.log
cmp long.h5 again.h5

# Pools of update intervals.
"$program" sim --collect one.h5 --grid grid.yaml --utility balanced
ranks 2 "$program" sim --collect two.h5 --grid grid.yaml --utility balanced 2>>three.log
cmp one.h5 two.h5
broken_off updates.h5.unfinished updates.h5 mpirun -n 2 "$program" sim --collect updates.h5 "${many[@]}" --utility balanced
cp updates.h5.unfinished damaged.h5.unfinished
expect 0 ranks 2 "$program" sim --collect updates.h5 "${many[@]}" --utility balanced
says err "runs are in 'updates.h5.unfinished'"
[ ! -e updates.h5.unfinished ] || die "what was unfinished lies there still"
"$program" sim --collect again.h5 "${many[@]}" --utility balanced
cmp updates.h5 again.h5
printf x | dd of=damaged.h5.unfinished bs=1 seek=5000 conv=notrunc 2>dd.log
expect 3 "$program" sim --collect damaged.h5 "${many[@]}" --utility balanced
says err "'damaged.h5.unfinished': damaged"

# The closed loop: the same lines, in whatever order, and the same summary.
closed=(eval --closed-loop --grid grid.yaml --set aqm.kind=fifo --set epsilon=0)
lines() { # what a simulation came to, without how long it took and what was typed
	sed -E 's/"(wall_s|command)": *("[^"]*"|[^,}]*),?//g' "$1/results.jsonl" | sort
}
same_results() {
	cmp <(lines "$1") <(lines "$2") || die "results of $1 and $2 differ"
	cmp <(sed 's/"command".*//' "$1/grid.json") <(sed 's/"command".*//' "$2/grid.json") || die "summaries of $1 and $2 differ"
}
"$program" "${closed[@]}" --seeds 3 -o alone >alone.txt
ranks 2 "$program" "${closed[@]}" --seeds 3 -o together >together.txt 2>together.log
same_results alone together
cmp alone.txt together.txt
broken_off broken/results.jsonl broken mpirun -n 2 "$program" "${closed[@]}" --seeds "$seeds" --threads 1 -o broken
[ ! -e broken/grid.json ] || die "it was whole"
before=$(wc -l <broken/results.jsonl)
expect 0 ranks 2 "$program" "${closed[@]}" --seeds "$seeds" --threads 1 -o broken
"$program" "${closed[@]}" --seeds "$seeds" -o whole >/dev/null
[ "$before" -lt "$(wc -l <whole/results.jsonl)" ] || die "it was not interrupted"
same_results broken whole

# Ranks that mean different things say so.
export OMPI_MCA_odls_base_sigkill_timeout=0 # nothing is left to write: mpirun need not wait
mkdir other
sed 's/link.rate: .5, 20./link.rate: [5, 21]/' grid.yaml >other/grid.yaml
cat >rank.sh <<'SH'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || cd other
exec "$@"
SH
chmod +x rank.sh
expect 2 ranks 2 ./rank.sh "$program" sim --collect astray.h5 --grid grid.yaml
says err "rank 1 on '"
says err "the digest of the runs is '"
expect 2 ranks 2 ./rank.sh "$program" "${closed[@]}" --seeds 2 -o astray
says err "the digest of the simulations is '"
rm other/grid.yaml
expect 2 ranks 2 ./rank.sh "$program" sim --collect astray.h5 --grid grid.yaml
says err "rank 1 on '"
says err "grid.yaml"
