#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# distill, export --c-header, sim --aqm student:, bench decide --student.
. "$(dirname "$0")/helper.sh"
. "$(dirname "$0")/helper_train.sh"

make_inputs
expect 0 "$program" train -c tiny.yaml -o run

# The teacher answers once.
expect 0 "$program" distill -r run --set distill.epochs=20
says out 'network, 7 x 2 to 8'
says out 'tree on labels'
says out 'always the commonest'
says out 'answers made'
[ -s run/student/student.json ] || die "no student"
[ "$(ls run/logits | wc -l)" -eq 2 ] || die "the teacher's answers are not kept"
cp run/student/student.json first.json
expect 0 "$program" distill -r run --set distill.epochs=20
says out 'answers read'
cmp run/student/student.json first.json || die "another student the second time"

# By a configuration, a tree, as JSON.
cat >distill.yaml <<'YAML'
distill:
  teacher: run
  student: tree
  depth: 4
YAML
expect 0 "$program" distill -c distill.yaml -o tree --json
says out '"kind": "distill"'
says out '"raw_tree"'
expect 0 "$program" distill -r run --sweep --set distill.epochs=2 -o sweep
[ "$(grep -c '^network\|^tree, ' out)" -eq 11 ] || die "not every student of the sweep is told"
[ ! -e sweep/student.json ] || die "a sweep wrote a student"

# Headers: of a file, of its folder, of a run.
expect 0 "$program" export -r first.json --c-header file.h
expect 2 "$program" export -r run/student --c-header run/student/student.json
expect 0 "$program" export -r run/student --c-header folder.h
expect 0 "$program" export -r run --c-header run.h
cmp file.h folder.h && cmp file.h run.h || die "three ways to one student, three headers"
says file.h 'SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0'
expect 0 "$program" export -r tree --c-header tree.h
says tree.h 'AQM_STUDENT_ENQUEUE'
expect 1 "$program" export -r first.json --c-header nowhere/file.h

# In the queue.
expect 0 "$program" sim --aqm student:first.json --seconds 1 --json
says out '"asked"'
cp first.json "$(printf 'caf\351.json')"
expect 0 "$program" sim --aqm "student:$(printf 'caf\351.json')" --seconds 1 --json
says out "student:caf$(printf '\357\277\275').json"
expect 0 "$program" sim --aqm student:tree --seconds 1
expect 3 "$program" sim --aqm student:tiny.yaml --seconds 1

# What it takes.
expect 0 "$program" bench decide --student first.json --quick --threads 1
says out "DualPI2's own rule"
says out 'decision in the library'
if command -v "${CC:-cc}" >/dev/null; then
	says out 'decision, the C header compiled'
fi

# What cannot be.
expect 2 "$program" distill
expect 3 "$program" distill -r nowhere
expect 2 "$program" distill -r run --set distill.features=[nosuch]
expect 2 "$program" distill -r run --set distill.rounds=1
sed 's/"units":2/"units":3/' first.json >damaged.json
expect 3 "$program" export -r damaged.json --c-header damaged.h
says err 'damaged'
[ ! -e damaged.h ] || die "a header of a damaged student"

# In the closed loop, beside a discipline on the same seeds.
printf 'name: small\nseconds: 1\nwarmup: 0\nlink: {rate: 10}\nflows:\n  - {cc: prague, rtt: 10}\n  - {cc: cubic, rtt: 10}\n' >small.yaml
expect 0 "$program" eval --closed-loop --scenario small.yaml --seeds 2 --aqm dualpi2,student:first.json,student:tree -o closed
says out 'student:first.json'
[ "$(grep -c '"aqm": *"student:' closed/results.jsonl)" -eq 4 ] || die "not every student was simulated on every seed"
