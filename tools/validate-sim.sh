#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# validate-sim.sh [WORK_FOLDER]: the simulator beside what testbeds measured. Makes the tables of docs/simulator.md, between its
# markers. Needs a release build; takes a minute.
#
#     SEEDS="1 2 3"     runs that are averaged (default 1 2 3)
#     SECONDS_EACH=500  simulated time of each (default 500, the first 200 not counted: at 100 ms flows need that long)
#     AQMTRAIN=FILE     the program (default build/release/aqmtrain)
#
# Tolerances: classic mean delay 25 %, L mean below 1 ms and P99 below 1.5 ms, utilisation 2 points, probabilities a factor 2,
# rate ratio a factor 1.5. A figure outside of them is set in bold.
set -eu
cd "$(dirname "$0")/.."
work=${1:-build/validate-sim}
aqmtrain=${AQMTRAIN:-build/release/aqmtrain}
seeds=${SEEDS:-1 2 3}
seconds=${SECONDS_EACH:-500}
document=docs/simulator.md
mkdir -p "$work"

# run AQM SCENARIO: means over the seeds of "L mean, L P99, C mean, C P99, utilisation, rate ratio, L marked, L dropped, C dropped, udp
# share, classic marked" (delays in ms, shares in %; - where there is none).
run() {
	for seed in $seeds; do
		"$aqmtrain" sim -c "$2" --aqm "$1" --seconds "$seconds" --set warmup=$((seconds * 2 / 5)) --seed "$seed"
	done | awk '
		/^utilisation/ { util += $2; n++; if (match($0, /ratio [0-9.]+/)) { rr += substr($0, RSTART + 6); rrs++ } }
		/^(L|C|Q) / { q = $1; if ($2 != "nan") { mean[q] += $2; p99[q] += $5; seen[q]++ } mark[q] += $7; drop[q] += $8 }
		/^(prague|dctcp|cubic|reno|udp) / { all += $3; if ($1 == "udp") udp += $3 }
		function per(x, k) { return k ? sprintf("%.6g", x / k) : "-" }
		END { print per(mean["L"], seen["L"]), per(p99["L"], seen["L"]), per(mean["C"] + mean["Q"], seen["C"] + seen["Q"]),
			per(p99["C"] + p99["Q"], seen["C"] + seen["Q"]), per(util, n), per(rr, rrs), per(mark["L"], n), per(drop["L"], n),
			per(drop["C"] + drop["Q"], n), all ? sprintf("%.6g", 100 * udp / all) : "-", per(mark["C"], n) }'
}

# row NAME CHECKS REFERENCES...: a row of the table, "ours (reference)", bold where outside of the tolerance. CHECKS: a letter a figure: d
# delay 25 %, l below 1, p below 1.5, u 2 points, f factor 2, r factor 1.5, n none. The figures of run() that are shown come on stdin.
row() {
	awk -v name="$1" -v checks="$2" -v refs="$3" '
		{ n = split(refs, ref, " "); printf "| %s |", name
		for (i = 1; i <= n; i++) {
			x = $i; r = ref[i]; c = substr(checks, i, 1); bad = 0
			if (x != "-" && c == "l") bad = x >= 1
			else if (x != "-" && c == "p") bad = x >= 1.5
			else if (x != "-" && r != "-" && c != "n") {
				if (c == "d") bad = x < .75 * r || x > 1.25 * r
				if (c == "u") bad = x - r > 2 || r - x > 2
				if (c == "f") bad = x < r / 2 || x > r * 2
				if (c == "r") bad = x < r / 1.5 || x > r * 1.5
			}
			if (x == "-") printf " - |"
			else { shown = sprintf("%.3g", x + 0); if (c == "u" || r ~ /-9/) shown = sprintf("%.1f", x)
				printf " %s%s%s%s |", bad ? "**" : "", shown, bad ? "**" : "", r == "-" ? "" : " (" r ")" }
			checked += c != "n" && x != "-" && (r != "-" || c == "l" || c == "p"); failed += bad
		}
		print ""; print checked + 0, failed + 0 > "/dev/stderr" }'
}

pair() { # CLASSIC RTT_L RTT_C: a scenario of one flow of each
	{
		echo "link: {rate: 40}"
		echo "flows:"
		echo "  - {cc: prague, rtt: $2}"
		[ "$1" = none ] || echo "  - {cc: $1, rtt: $3}"
	} >"$work/pair.yaml"
}

steady() {
	echo "| pair, RTT L/C ms | L mean ms | L P99 | C mean ms | C P99 | utilisation % | rate ratio | L marked % | L dropped % | C dropped % |"
	echo "|---|---|---|---|---|---|---|---|---|---|"
	while read -r classic l c refs; do
		pair "$classic" "$l" "$c"
		run dualpi2-linux "$work/pair.yaml" | row "Prague/$classic $l/$c" lpdnurfnf "$refs"
	done <<-'ROWS'
		reno 5 5 .359 .884 13.42 23.99 99.86 .909 6.63 - .157
		reno 5 10 .322 .884 13.15 25.0 99.69 1.13 6.27 - .125
		reno 5 20 - - - - - 1.81 - - -
		reno 5 50 - - 10.3 30.5 - 3.69 - - -
		reno 5 100 - - - - - 6.28 - - -
		reno 100 5 - - - - - .236 - - -
		reno 100 100 .296 .884 8.55 19.1 96.6 2.17 1.60 - .018
		none 5 5 .574 1.114 - - 99.96 - 7.98 - -
		none 100 100 .407 1.146 - - 99.2 - 3.80 - -
		cubic 5 5 .324 .884 14.85 24.1 99.9 1.01 6.34 - .130
		cubic 5 10 - - - - - 1.28 - - -
		cubic 5 20 - - - - - 1.84 - - -
		cubic 5 50 - - - - - 3.65 - - -
		cubic 5 100 - - - - - 6.07 - - -
		cubic 100 5 - - - - - .299 - - -
		cubic 100 50 - - - - - 1.01 - - -
		cubic 100 100 .335 .884 9.50 19.9 99.1 1.82 1.62 - .018
	ROWS
}

overload() {
	echo
	echo "| UDP | L mean ms | L P99 | C mean ms | C P99 | L marked % | L dropped % | C dropped % | UDP share % |"
	echo "|---|---|---|---|---|---|---|---|---|"
	while read -r ecn rate refs; do
		printf 'link: {rate: 100}\nflows:\n  - {cc: prague, rtt: 10, count: 5}\n  - {cc: cubic, rtt: 10, count: 5}\n  - {cc: udp, rate: %s, ecn: %s}\n' \
			"$rate" "$ecn" >"$work/overload.yaml"
		checks=lpdnfffn
		case $ecn$rate in ect1[12]*) checks=dnnnfffn ;; esac
		[ "$ecn" = ect1 ] && kind="ECT(1)" || kind=classic
		run dualpi2-linux "$work/overload.yaml" | awk '{ print $1, $2, $3, $4, $7, $8, $9, $10 }' |
			row "$kind $rate Mb/s" $checks "$refs"
	done <<-'ROWS'
		off 50 - - 15.0 26 - - .79 51
		off 70 - - 15.0 27 - - 1.16 71
		off 100 - - 15.0 20 - - 12.7 90
		off 140 - - 15.0 20 - - 31.7 98
		off 200 - - 15.0 19 - - 51.4 99.9
		ect1 50 .146 .52 - - 15.3 - - -
		ect1 70 .194 .59 - - 27.6 - - -
		ect1 100 15.0 17.4 - - 100 7.1 - -
		ect1 140 15.0 20 - - 100 31.6 - -
		ect1 200 15.0 19.4 - - 100 51.5 - -
	ROWS
}

others() {
	echo
	echo "| discipline, flows, RTT ms | mean ms | P99 | utilisation % | rate ratio |"
	echo "|---|---|---|---|---|"
	while read -r aqm a b rtt refs; do
		checks=dnur
		case $refs in *-96*) checks=dnnr ;; esac
		printf 'link: {rate: 40}\nflows:\n  - {cc: %s, rtt: %s, ecn: ect0}\n  - {cc: %s, rtt: %s}\n' "$a" "$rtt" "$b" "$rtt" >"$work/other.yaml"
		run "$aqm" "$work/other.yaml" | awk '{ print $3, $4, $5, $6 }' | row "$aqm, $a with ECN and $b, $rtt" "$checks" "$refs"
	done <<-'ROWS'
		pie cubic cubic 5 15.3 23 - -
		pie cubic cubic 100 9.7 - 98.2 -
		pie cubic reno 100 9.7 - 98.2 -
		fq_codel cubic cubic 5 5.35 7.9 - -
		fq_codel cubic cubic 100 - - 90-96 -
	ROWS
}

tables() {
	steady
	overload
	others
}

# The authors' rows (543,423 of ten runs) beside one run of ours, logged and parsed.
# A run of the paper's testbed, logged; its figures, of which the awk program behind them prints what it wants.
figures() { # PROGRAM OPTION...
	program=$1
	shift
	for seed in 1 2 3; do
		"$aqmtrain" sim -c configs/scenarios/paper.yaml --seed $seed --emit-log "$work/paper.log" "$@" >/dev/null
		"$aqmtrain" pool parse "$work/paper.log" -o "$work/paper.h5"
		"$aqmtrain" pool export "$work/paper.h5" -o "$work/paper.csv"
		awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
			{ n++; l += $at["queue_type"]; a[$at["action_logged"]]++; d = $at["current_qdelay"] / 1000; sum += d; hist[int(d / 10)]++
			if (d > max) max = d; bytes[$at["pkt_len"]]++; p0 += $at["drop_prob"] == 0; if ($at["drop_prob"] > pmax) pmax = $at["drop_prob"]
			if ($at["len_bytes"] > lmax) lmax = $at["len_bytes"]; tot[$at["queue_type"]] = $at["tot_bytes"] }
			END { for (i = 0; i * 10 <= max && seen < n / 2; i++) seen += hist[i]; for (v in hist) values++
			print n, 100 * l / n, 100 * bytes[1500] / n, 100 * bytes[52] / n, 100 * a[0] / n, 100 * a[1] / n, 100 * a[2] / n, values,
				(i - 1) * 10, sum / n, max, 100 * p0 / n, pmax, lmax, 100 * tot[1] / (tot[0] + tot[1]) }' "$work/paper.csv"
	done | awk '{ for (i = 1; i <= NF; i++) v[i] += $i / 3 } END { '"$program"' }'
}

paper() {
	program='printf "%d|%.1f %%|%.1f %%|%.1f / %.1f %%|%.2f / %.2f / %.2f %%|%d, 10 ms|%d / %.1f / %d ms|%.1f %%|%.3g|%d\n", v[1], v[2], v[15], v[3], v[4],
		v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13], v[14]'
	{
		figures "$program"
		figures "$program" --set aqm.link_tick=0
		echo "54,342|17.5 %|(see below)|62.9 / 27.9 %|99.2 / 0.73 / 0.07 %|75, 10 ms|10 / 87.4 / 910 ms|62.0 %|1.16e9|626,332"
	} | awk -F'|' 'BEGIN { split("rows a minute of 8 Mb/s|rows of the L4S queue|bytes of the L4S queue|rows of 1500 bytes / of 52 bytes|" \
			"enqueued / dropped / marked, as logged|current_qdelay: distinct values, step|current_qdelay: median / mean / largest|" \
			"rows with drop_prob 0|largest drop_prob|largest len_bytes", names, "|") }
		{ for (i = 1; i <= NF; i++) cell[i] = cell[i] " | " $i; n = NF }
		END { print "| figure | link in ticks | link served at once | the authors |"; print "|---|---|---|---|"
		for (i = 1; i <= n; i++) print "| " names[i] cell[i] " |" }'
}

# What each guess would explain.
why() {
	echo "| guess | set | rows | L rows % | L bytes % | dropped % | marked % | delay median / mean / largest | drop_prob 0 % |"
	echo "|---|---|---|---|---|---|---|---|---|"
	echo "| **the authors' 543,423 rows** | | 54,342 | **17.5** | | **0.73** | **0.07** | **10 / 87 / 910** | **62.0** |"
	echo "| an earlier recording, 10 runs | | | | 45-71 | | | | |"
	while IFS='|' read -r guess options; do
		set --
		for option in $options; do set -- "$@" --set "$option"; done
		printf '| %s | %s ' "$guess" "${options:-}"
		figures 'printf "| %d | %.1f | %.1f | %.2f | %.2f | %d / %.0f / %d | %.1f |\n", v[1], v[2], v[15], v[6], v[7], v[9], v[10], v[11], v[12]' "$@"
	done <<-END
		as configs/scenarios/paper.yaml has it|
		CUBIC and NewReno without ECN, as FreeBSD's clients are|flows.ecn=auto
		acknowledgements on a path of their own|link.acks=free
		slow start ends by HyStart++|flows.hystart=on
		losses are seen after three packets, lost repeats by the timer|flows.recovery=dupacks
		the firewall's rule matches in and out: two passes|link.passes=2
		a clock of 1 ms instead of 10 ms|aqm.tick=1
		stamps of 10 ms, but a link that serves at once|aqm.link_tick=0
		that, with recovery as in FreeBSD|aqm.link_tick=0 flows.recovery=dupacks
		that, and without ECN|aqm.link_tick=0 flows.recovery=dupacks flows.ecn=auto
		that, and HyStart++|aqm.link_tick=0 flows.recovery=dupacks flows.ecn=auto flows.hystart=on
		stamps of 10 ms, link at once, two passes|aqm.link_tick=0 link.passes=2
	END
}

tables >"$work/tables.md" 2>"$work/checks"
awk '{ c += $1; f += $2 } END { printf "\n%d figures have a tolerance, %d of them are missed.\n", c, f }' "$work/checks" >>"$work/tables.md"
paper >"$work/paper.md"
why >"$work/why.md"
cat "$work/tables.md" "$work/paper.md" "$work/why.md"

# Put the tables between their markers.
[ -e $document ] || exit 0
awk -v work="$work" '
	/^<!-- (tables|paper|why): begin/ { print; name = $2; sub(/:/, "", name); file = work "/" name ".md"; print ""
		while ((getline line < file) > 0) print line; print ""; skip = 1; next }
	/^<!-- .*: end/ { skip = 0 }
	!skip' $document >"$work/document.md"
cp "$work/document.md" $document
