#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Ranks share the teacher's work and the students of a sweep: what comes of it is what one of them makes alone, also when it was interrupted.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
. "$source/tests/cli/helper_ranks.sh"
make_inputs
"$program" train -c tiny.yaml -o run 2>train.log
export CC=false # nanoseconds of a decision are not what is looked at

figures() { # all that is not a time
	sed -E '/"(ranks|answers_known|teacher_seconds|seconds)":/d' "$1/distill.json"
}
keys() { # digests of all that decides a student, the teacher's answers too
	grep -o '"key":"[^"]*"' "$1/students.jsonl" | sort
}
same_figures() {
	[ "$(grep -c '"name"' "$1/distill.json")" = 11 ] || die "not every student is in $1"
	cmp <(figures "$1") <(figures "$2") || die "figures of $1 and $2 differ"
	cmp <(keys "$1") <(keys "$2") || die "$1 and $2 have learned from other answers"
}
printf 'seconds: 1\nwarmup: 0\nlink: {rate: 2}\naqm: {kind: freebsd-l4s}\nflows:\n  - {cc: prague, rtt: 10}\n' >small.yaml
met=(distill -r run --sweep --set threads=1 --set distill.epochs=5 --set distill.scenarios=[small.yaml] --set distill.seconds=0.5 --set distill.rounds=1)

# Everything anew each time: the teacher's answers, also to what students meet in the simulator.
"$program" "${met[@]}" -o one >one.txt
[ "$(find run/logits -name '*.h5' | wc -l)" -ge 3 ] || die "answers are not kept"
rm -r run/logits
ranks 2 "$program" "${met[@]}" -o two >two.txt 2>two.log
same_figures one two
cmp <(tail -n +2 one.txt) <(tail -n +2 two.txt) || die "tables differ"
rm -r run/logits
ranks 3 "$program" "${met[@]}" -o three >three.txt 2>three.log
same_figures one three
[ "$(wc -l <three/students.jsonl)" -eq 11 ] || die "not every student is kept"

# A student alone is rank 0's; the teacher's work is shared.
rm -r run/logits
"$program" distill -r run --set threads=1 --set distill.epochs=5 -o alone >alone.txt
rm -r run/logits
expect 0 ranks 2 "$program" distill -r run --set threads=1 --set distill.epochs=5 -o together
cmp alone/student.json together/student.json || die "two students"
[ "$(grep -c 'learned from' out)" = 1 ] || die "each rank speaks"
[ ! -e together/students.jsonl ] || die "a student alone is kept as of a sweep"

# Interrupted, then killed in the middle of a line; one process ends it.
epochs=${AQM_SANITIZED:+30}
long=(distill -r run --sweep --set distill.epochs="${epochs:-100}")
broken_off broken/students.jsonl broken mpirun -n 2 "$program" "${long[@]}" -o broken
[ ! -e broken/distill.json ] || die "it was whole"
before=$(wc -l <broken/students.jsonl)
[ "$before" -lt 11 ] || die "it was not interrupted"
tail -n 1 broken/students.jsonl | head -c 300 >>broken/students.jsonl
cp -r broken damaged
expect 0 "$program" "${long[@]}" -o broken
says err "$before of 11 students are in 'broken/students.jsonl'"
[ "$(wc -l <broken/students.jsonl)" -eq 11 ] || die "students twice, or torn"
"$program" "${long[@]}" -o whole >whole.txt
same_figures broken whole
cp whole/students.jsonl kept
expect 0 ranks 2 "$program" "${long[@]}" -o whole # nothing is left to do
cmp kept whole/students.jsonl
cp -r whole other
expect 0 "$program" "${long[@]}" --set distill.lr=0.003 -o other # none of these will do
[ "$(wc -l <other/students.jsonl)" -eq 22 ] || die "students of another sweep were taken"

# SIGKILL to a rank.
ranks 2 "$program" "${long[@]}" -o killed >killed.txt 2>killed.log &
process=$!
until [ -s killed/students.jsonl ]; do
	kill -0 "$process" || die "it ended early: $(cat killed.log)"
	sleep 0.01
done
kill -KILL "$(pgrep -f -- "aqmtrain distill.*-o killed" | tail -1)" 2>/dev/null || true # it may have ended
wait "$process" || true
expect 0 "$program" "${long[@]}" -o killed
same_figures killed whole

# What is damaged, and ranks that mean different things, are told.
sed -i '1s/"head":\[\[/&7/' damaged/students.jsonl
expect 3 ranks 2 "$program" "${long[@]}" -o damaged
says err "'damaged/students.jsonl', line 1"
export OMPI_MCA_odls_base_sigkill_timeout=0 # nothing is left to write: mpirun need not wait
cat >rank.sh <<'SH'
#!/bin/sh
program=$1
shift
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || set -- "$@" --set distill.lr=0.003
exec "$program" "$@"
SH
chmod +x rank.sh
expect 2 ranks 2 ./rank.sh "$program" "${long[@]}" -o astray
says err "rank 1 on '"
says err "the digest of the students is '"
