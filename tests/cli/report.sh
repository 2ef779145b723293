#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# report: a page of real runs, alone and side by side; what it promises of itself; what it says when something is missing.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
expect 0 "$program" train -c tiny.yaml -o run
expect 0 "$program" train -c tiny.yaml --set lora.rank=8 -o "run two"
expect 0 "$program" eval -r run --pool eval.h5 -o run/eval.json
expect 0 "$program" eval -r run --pool eval.h5 --last --returns target -o run/eval-target.json

# A training says what it was made from.
for key in version finished base sha256 architecture train eval rows actions trainable memory_peak_bytes elapsed_s; do
	says run/run.json "\"$key\":"
done
says run/run.json '"finished": true'

expect 0 "$program" report -r run -o report.html
says err "wrote report 'report.html'"
for text in 'majority class' 'decision tree' 'lora.rank' 'run/eval.json' 'aqmtrain eval -r run' 'aqmtrain train -c run/config.yaml' \
	'aqmtrain report -r run -o report.html' 'prefers-color-scheme:dark' 'width=device-width'; do
	says report.html "$text"
done
digest=$(sed -n 's/.*"sha256": "\([0-9a-f]*\)".*/\1/p' run/run.json | head -n 1)
says report.html "$digest"

# Nothing is fetched: no src at all, and references only to places in the page or to data.
! grep -o 'src="[^"]*"' report.html || die "something is fetched"
! grep -oE 'href="[^"]*"' report.html | grep -vE 'href="(#|data:)' || die "a reference out of the page"
! grep -qE '<script|url\(|@import' report.html || die "scripts or fetches"

# The same again is the same.
cp report.html first.html
expect 0 "$program" report -r run -o report.html
cmp report.html first.html || die "the same report twice differs"

# Side by side, as arguments too; a difference is marked.
expect 0 "$program" report -r run "run two" -o both.html --title "A <title> & more" --paper
says both.html 'A &lt;title&gt; &amp; more'
says both.html '<tr class="diff"><th scope="row">lora.rank'
says both.html 'id="paper"'
says both.html '&#39;run two&#39;'

# Plots, where there is a gnuplot, each with words; without one, the tables.
if command -v gnuplot >/dev/null; then
	says report.html 'role="img"'
	says report.html '<desc'
	expect 0 "$program" report -r run -o report.html --png png
	[ -s png/loss.png ] || die "no PNG"
fi
absolute=$(command -v "$program")
mkdir empty
PATH_BEFORE=$PATH
PATH=$PWD/empty
"$absolute" report -r run -o bare.html 2>err || { PATH=$PATH_BEFORE; die "no report without gnuplot"; }
PATH=$PATH_BEFORE
says err "no gnuplot on PATH"
says bare.html "There are no plots: gnuplot is not installed"
says bare.html '<details open="open">'
[ -z "$(find . -name '*.tmp-*')" ] || die "a temporary file is left"

# A run that was cut off: what is there is shown, what is not is said.
mkdir cut
head -c 500 run/metrics.jsonl >cut/metrics.jsonl
printf '{"rows": 3, "macro' >cut/eval.json
expect 0 "$program" report -r cut -o cut.html
says cut.html "lines are damaged"
says cut.html "eval.json is not read"
says cut.html "no configuration"

expect 2 "$program" report -r run "run two" ./run/ -o twice.html
says err "run './run/' is named twice"

# Nothing that it is made of is written over.
cp run/eval.json before.json
expect 2 "$program" report -r run -o run/eval.json
expect 2 "$program" report -r run -o run/config.yaml
cmp before.json run/eval.json || die "an evaluation was written over"

expect 2 "$program" report
expect 2 "$program" report -r run
expect 2 "$program" report -o x.html
expect 3 "$program" report -r nothing -o x.html
says err "'nothing' holds no run"
expect 1 "$program" report -r run -o nowhere/x.html
[ ! -e x.html ] || die "a report of nothing"
