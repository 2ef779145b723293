#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# aqmtrain sim: scenarios, figures, logs that parse back, collected pools, a policy in the queue.
. "$(dirname "$0")/helper.sh"
. "$source/tests/cli/helper_train.sh"

expect 0 "$program" sim --list
says out dualpi2-linux
says out prague

expect 0 "$program" sim --seconds 3
says out "utilisation"
for aqm in fifo codel fq_codel pie dualpi2 dualpi2-linux freebsd-l4s; do
	expect 0 "$program" sim --aqm $aqm --seconds 3 --json
	for key in aqm seconds packets wall_s utilisation rate_ratio jain queues delay_ms mean p50 p95 p99 p999 \
		mark_probability drop_probability flows cc rtt_ms goodput_mbps; do
		says out "\"$key\":"
	done
done
expect 0 "$program" sim -c "$source/configs/scenarios/web.yaml" --seconds 12 --series series.csv
says out "short flows"
says series.csv "time,rate,delay_C,delay_L,"
[ "$(wc -l <series.csv)" -gt 100 ] || die "the series is short"
expect 0 "$program" sim --seconds 2 --series series.h5
[ -s series.h5 ] || die "no series"
expect 0 "$program" sim -c "$source/configs/scenarios/overload.yaml" --dump
cp out dumped.yaml
expect 0 "$program" sim -c dumped.yaml --dump
cmp out dumped.yaml || die "a printed scenario does not read back"

# What is wrong ends in one line and status 2.
wrong() {
	expect 2 "$program" sim "$@"
	[ "$(wc -l <err)" -le 2 ] || die "more than a line for '$*'"
}
wrong --aqm red
says err "there are fifo"
wrong --set link.rate=0
wrong --set flows.rtt=-3
wrong --set nosuch=1
says err "no 'nosuch'"
wrong --set flows.cc=bbr
wrong -c nosuch.yaml
wrong stray
wrong --aqm fifo --emit-log x.log
says err "keeps no records"
[ ! -e x.log ] || die "a log is left"
wrong --collect c.h5 --aqm pie

# The sample log in data/ is what its commands make.
seed=1
for log in messages.1.bz2 messages.0.gz messages; do
	expect 0 "$program" sim -c "$source/configs/scenarios/sample.yaml" --seed $seed --chatter --emit-log sample-$log
	cmp sample-$log "$source/data/sample-log/$log" || die "data/sample-log/$log is not what data/README.md says"
	seed=$((seed + 1))
done

# A log parses back, whatever it is compressed with.
for log in messages messages.gz messages.bz2; do
	expect 0 "$program" sim -c "$source/configs/scenarios/paper.yaml" --seconds 10 --emit-log $log --json
	expect 0 "$program" pool parse $log -o $log.h5
	expect 0 "$program" pool export $log.h5 -o $log.csv
	expect 0 cmp $log.csv messages.csv
done
[ "$(wc -l <messages)" = "$(($(wc -l <messages.csv) - 1))" ] || die "records are lost"
expect 0 "$program" sim -c "$source/configs/scenarios/paper.yaml" --seconds 10 --emit-log chatter.log --chatter
expect 0 "$program" pool parse chatter.log -o chatter.h5
expect 0 "$program" pool info chatter.h5
says out "damaged"
says out "chatter"

expect 0 "$program" sim --collect pool.h5 --runs 6 --seconds 1 --epsilon 0.2 --seed 3
expect 0 "$program" pool info pool.h5
says out "episodes         6"
expect 0 "$program" sim --collect again.h5 --runs 6 --seconds 1 --epsilon 0.2 --seed 3 --threads 1
cmp pool.h5 again.h5 || die "the same seed gives another pool"

# A disk that is full while HDF5 writes: a message, no crash, nothing left.
full() {
	expect 1 sh -c 'trap "" XFSZ; ulimit -f 16; exec "$@"' sh "$program" sim "$@"
	says err "the disk may be full"
	[ -z "$(ls | grep full)" ] || die "something is left of a file that could not be written"
}
full --set seconds=10 --set series=1 --series full.h5
full --collect full.h5 --runs 6 --seconds 2

# What is for one run is not ignored where there are many; nothing that is read is written over.
expect 2 "$program" sim -c "$source/configs/scenarios/steady.yaml" --collect many.h5 --runs 2
says err "-c is for one run"
expect 2 "$program" sim --collect many.h5 --runs 2 --json
cp "$source/configs/scenarios/steady.yaml" mine.yaml
expect 2 "$program" sim -c mine.yaml --set seconds=1 --series mine.yaml
expect 2 "$program" sim -c mine.yaml --set seconds=1 --emit-log ./mine.yaml
expect 2 "$program" sim --set seconds=1 --emit-log both --series both
cp "$source/configs/grids/small.yaml" mygrid.yaml
expect 2 "$program" sim --grid mygrid.yaml --collect mygrid.yaml
cmp mine.yaml "$source/configs/scenarios/steady.yaml" && cmp mygrid.yaml "$source/configs/grids/small.yaml" || die "an input was written over"

# Over a grid: an episode a cell, named; with other axes; what is wrong is said.
expect 0 "$program" sim --grid "$source/configs/grids/small.yaml" --dump
[ "$(wc -l <out)" = 4 ] || die "not four cells"
says out "link.rate=40 flows.rtt=10 seed=1"
expect 0 "$program" sim --grid "$source/configs/grids/small.yaml" --collect grid.h5 --set seconds=2 \
	--set aqm.kind=dualpi2,freebsd-l4s --epsilon 0.1
expect 0 "$program" pool info grid.h5
says out "episodes         8"
says out "behaviours       dualpi2 epsilon=0.1: 4 episodes"
expect 0 "$program" pool split grid.h5 --train grid-a.h5 --eval grid-b.h5
says err "what is held out are other cells"
expect 0 "$program" pool info grid-b.h5 --json
says out '"behaviours": [{"name": "freebsd-l4s epsilon=0.1"'
expect 0 "$program" pool split grid.h5 --train grid-a.h5 --eval grid-b.h5 --by time
[ ! -s err ] || die "a warning without reason"
expect 0 "$program" pool info grid-b.h5
says out "episodes         8"
expect 0 "$program" pool split grid.h5 --train grid-a.h5 --eval grid-b.h5 --by episodes --fraction 0.5
expect 0 "$program" pool info grid-b.h5 --json
says out '"name": "dualpi2 epsilon=0.1"'
says out '"name": "freebsd-l4s epsilon=0.1"'
expect 2 "$program" pool split grid.h5 --train grid-a.h5 --eval grid-b.h5 --by rows
wrong --grid "$source/configs/grids/small.yaml"
wrong --grid "$source/configs/grids/small.yaml" --collect x.h5 --runs 3
wrong --grid "$source/configs/grids/small.yaml" --collect x.h5 --set link.rate=0
says err "'rate' wants a number"
printf 'axes: {link.rate: [5, x]}\n' >bad.yaml
wrong --grid bad.yaml --collect x.h5
says err "bad.yaml:1:19: 'rate' wants"
[ ! -e x.h5 ] || die "a pool is left"

# A policy decides: of packets, one in ten with a delay; of updates.
make_inputs
expect 0 "$program" train -c tiny.yaml -o run
for host in freebsd-l4s dualpi2; do
	expect 0 "$program" sim --aqm policy:run --host $host --seconds 0.2 --set link.rate=8 --json
	says out '"aqm": "policy:run"'
	says out '"asked":'
done
expect 0 "$program" sim --aqm policy:run --interval 10 --decision-delay 39 --seconds 1 --set link.rate=8
says out "decisions asked for"
expect 0 "$program" train -c tiny.yaml --set control=update -o updates
expect 0 "$program" sim --aqm policy:updates --host dualpi2 --decision-delay 39 --seconds 2
says out "decisions asked for"
expect 2 "$program" sim --aqm policy:updates --interval 10
expect 3 "$program" sim --aqm policy:nosuch
exit 0
