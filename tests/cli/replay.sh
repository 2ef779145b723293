#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# eval --replay: the walk against one in awk, its figures, and where a JSON file goes.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"
make_inputs
expect 0 "$program" train -c tiny.yaml --set train.epochs=1 -o run

# The same walk, written anew: columns as in pool.csv, the action given by `who`.
walk() {
	awk -F, -v n=0 -v interval="$1" -v who="$2" 'NR > 1 {
		delay[n] = $4; bytes[n] = $6; packet[n] = $7; action[n] = $8; n++
	}
	END {
		row = 0
		for (i = 0; i < 3600; i++) {
			a = who == "logged" ? action[row] : 0
			want = bytes[row] + (a == 1 ? 0 : packet[row])
			best = -1
			for (j = 0; j < n; j++) {
				far = bytes[j] - want; if (far < 0) far = -far
				if (action[j] == a && (best < 0 || far < least)) { best = j; least = far }
			}
			if (best < 0) break
			printf "%.6g\n", delay[row] / 1000
			row = i % interval == 0 ? best : row + 1
			if (row == n) break
		}
	}' pool.csv
}
# The list `delay_ms` of one part of the JSON.
part() {
	tr -d '\n ' <"$1" | awk -v key="\"$2\":{\"" '{
		$0 = substr($0, index($0, key))
		$0 = substr($0, index($0, "\"delay_ms\":[") + 12)
		$0 = substr($0, 1, index($0, "]") - 1)
		gsub(/,/, "\n"); print
	}'
}
for interval in 1 7 10 100; do
	expect 0 "$program" eval -r run --replay --interval $interval --pool pool.h5 --json -o replay-$interval.json
	cmp out replay-$interval.json || die "what is printed is not what is written"
	for who in enqueue logged; do
		walk $interval $who | awk '{ printf "%.6g\n", $1 }' >wanted
		part replay-$interval.json $([ $who = logged ] && echo no_policy || echo enqueue) | awk '{ printf "%.6g\n", $1 }' >found
		cmp wanted found || die "interval $interval, $who: another walk"
	done
done
says out '"kind": "replay"'
says out '"repeated_share":'
says out '"corrected":'
says out '"sha256":'

expect 0 "$program" eval -r run --replay --interval 10 --pool pool.h5
says out "as logged"
says out "no policy: always enqueue"
says out "1034"
[ "$(part replay-10.json logged | wc -l)" -eq 400 ] || die "not the logged rows"

# A pool without a row for the policy's action: it sticks. An interval and a policy of packets are wanted.
printf 'queue_type,burst_allowance,drop_prob,current_qdelay,accu_prob,len_bytes,pkt_len,action\n' >drops.csv
for i in 1 2 3 4; do echo "0,0,0,${i}000,0,${i}500,1500,1" >>drops.csv; done
"$program" pool import drops.csv -o drops.h5 2>/dev/null
expect 0 "$program" eval -r run --replay --interval 10 --pool drops.h5 --json
says out '"stuck": 3600'
expect 2 "$program" eval -r run --replay --pool pool.h5
expect 2 "$program" eval -r run --replay --closed-loop --interval 10 --pool pool.h5
expect 0 "$program" train -c tiny.yaml --set train.epochs=1 --set control=update -o updates
expect 2 "$program" eval -r updates --replay --interval 10 --pool pool.h5
says err "control: packet"
expect 3 "$program" eval -r run --replay --interval 10 --pool nothing.h5

# The offline evaluation writes its JSON too.
expect 0 "$program" eval -r run --pool eval.h5 -o offline.json
says out "macro-F1"
says offline.json '"kind": "offline"'
says offline.json '"command": "aqmtrain eval -r run --pool eval.h5 -o offline.json"'
