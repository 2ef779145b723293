#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# libaqmtrain as others have it: installed into a folder of its own, found through pkg-config, linked both ways, and
# deciding as `aqmtrain eval` does.
. "$(dirname "$0")/../cli/helper.sh"
build=$(realpath "$4")
: "${CC:=cc}" "${AQM_SANITIZE:=}"
flags="-std=gnu11 -Wall -Wextra -Werror ${AQM_SANITIZE:+-fsanitize=$AQM_SANITIZE}"

DESTDIR=$PWD/dest cmake --install "$build" >installed || die "cannot install"
export PKG_CONFIG_PATH=$(dirname "$(find "$PWD/dest" -name aqmtrain.pc)")
libraries=$(pkg-config --variable=libdir aqmtrain)
installed=$(find "$PWD/dest" -name aqmtrain -path '*/bin/*')
[ "$(pkg-config --modversion aqmtrain)" = "$("$installed" --version | cut -d' ' -f2)" ] || die "versions differ"
for page in aqmtrain.1 libaqmtrain.3 aqmtrain.yaml.5; do
	[ -n "$(find dest -name "$page")" ] || die "no $page"
done

# What can be seen from outside is the API and nothing else; the header stands alone, in C and C++.
header=$(find "$PWD/dest" -name aqmtrain.h)
api=$(grep -o 'AQM_API [a-z_ ]*[ *]\(aqm_[a-z_]*\)(' "$header" | sed 's/.*[ *]//; s/($//' | sort)
[ "$(echo "$api" | wc -l)" -ge 10 ] || die "few functions in $header: $api"
nm -g --defined-only "$libraries/libaqmtrain.a" | awk 'NF == 3 { print $3 }' | sort >symbols
echo "$api" | diff - symbols || die "the static library shows other symbols"
echo "#include <aqmtrain/aqmtrain.h>" >alone.c
$CC -std=c11 -Wall -Wextra -Wpedantic -Werror $(pkg-config --cflags aqmtrain) -fsyntax-only alone.c
if command -v c++ >/dev/null; then
	c++ -x c++ -Wall -Wextra -Wpedantic -Werror $(pkg-config --cflags aqmtrain) -fsyntax-only alone.c
fi

# A pool with every column, in two episodes, and a small policy.
awk 'BEGIN {
	srand(3)
	print "episode,time,queue_type,qdelay_ref,tupdate,max_burst,max_ecnth,alpha,beta,flags,burst_allowance,drop_prob," \
		"current_qdelay,qdelay_old,accu_prob,measurement_start,avg_dq_time,dq_count,sflags,tot_pkts,tot_bytes,length,len_bytes,drops,pkt_len,action"
	delay = 15000
	for (i = 0; i < 400; i++) {
		old = delay
		delay = 15000 + 0.8 * (delay - 15000) + (rand() - 0.5) * 14000
		if (delay < 0) delay = -delay
		action = delay > 20000 ? 1 : delay > 12000 ? 2 : 0
		printf "%d,%.3f,%d,15000,15000,150000,819,1024,10240,19,15000,%d,%d,%d,%.0f,%d,0,0,1,%d,%d,%d,%d,%d,%d,%d\n", (i >= 340), i / 100, i % 2,
			delay * 20000, delay, old, i * delay * 1000000, i * 15000, i, i * 1400, delay / 120, delay * 12.5, i / 9,
			rand() < 0.3 ? 60 : 1500, action
	}
}' >pool.csv
. "$source/tests/cli/helper_train.sh"
expect 0 "$program" pool import pool.csv -o pool.h5
expect 0 "$program" pool export pool.h5 -o all.csv
cp pool.csv mine.csv
make_inputs # for its base and configuration
expect 0 "$program" pool import mine.csv -o train.h5
expect 0 "$program" train -c tiny.yaml -o run --set pool.eval=train.h5
expect 0 "$program" export -r run --bundle policy.bundle
expect 0 "$program" eval -r policy.bundle --pool train.h5 --returns target --json
tr -d ' \n' <out | grep -o '"confusion":\[\[[0-9,]*\],\[[0-9,]*\],\[[0-9,]*\]\]' | head -1 | grep -o '[0-9]*' | tr '\n' ' ' >expected

# By the shared library and by the static one.
head -1 all.csv | grep -q '^episode,time,queue_type,' || die "other columns: $(head -1 all.csv)"
compare() {
	expect 0 "$1" policy.bundle "$PWD/base.gguf" <all.csv
	awk '{ seen[$1 " " $2]++ }
	END {
		n = split("enqueue drop mark", name, " ")
		for (i = 1; i <= n; i++) for (j = 1; j <= n; j++) printf "%d ", seen[name[i] " " name[j]]
	}' err out >found
	[ "$(cat found)" = "$(cat expected)" ] || die "$1 decides otherwise than eval: $(cat found) for $(cat expected)"
	expect 1 "$1" nothing
	says err nothing
}
example=$source/examples/decide.c
$CC $flags "$example" -o decide-shared $(pkg-config --cflags --libs aqmtrain) -Wl,-rpath,"$libraries"
compare ./decide-shared
$CC $flags "$example" -o decide-static $(pkg-config --cflags aqmtrain) \
	$(pkg-config --static --libs aqmtrain | sed 's/-laqmtrain/-l:libaqmtrain.a/')
compare ./decide-static
awk '$1 > 0 && $2 + $3 + $4 + $6 > 0 { found = 1 } END { exit !found }' expected || die "a policy that says one thing proves little"
ldd decide-static | grep libaqmtrain && die "not static" || true
