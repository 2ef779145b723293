#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# deploy/linux-bpf between two network namespaces: marks and drops of real packets, as counted; removal under load.
. "$(dirname "$0")/../cli/helper.sh"
build=$(realpath "$4")

skip() {
	echo "skipped: $*"
	exit 77
}

[ -z "${AQM_SANITIZE:-}" ] || skip "nothing here runs under sanitizers"
[ "$(id -u)" -eq 0 ] || skip "not root"
for tool in clang ip tc bpftool; do
	command -v $tool >/dev/null || skip "no $tool"
done
[ -r /usr/include/bpf/bpf_helpers.h ] || skip "no bpf/bpf_helpers.h (libbpf-dev)"
"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror "$source/tests/deploy/traffic.c" -o traffic || die "cannot compile traffic.c"

a=aqm-a-$$ b=aqm-b-$$ background=
finish() {
	for process in $background; do
		kill "$process" 2>/dev/null || true
	done
	ip netns del $a 2>/dev/null || true
	ip netns del $b 2>/dev/null || true
}
trap finish EXIT
ip netns add $a 2>why && ip netns add $b && ip link add va netns $a type veth peer name vb netns $b 2>why ||
	skip "no network namespaces with veth: $(cat why)"
ip netns exec $a true 2>why || skip "no program can run in a network namespace here: $(cat why)"
for end in a:1 b:2; do
	eval "space=\$${end%:*}"
	ip -n "$space" addr add 10.99.0.${end#*:}/24 dev v${end%:*}
	ip -n "$space" link set lo up
	ip -n "$space" link set v${end%:*} up gso_max_segs 1
done
ip -n $a neigh replace 10.99.0.2 lladdr "$(ip -n $b link show vb | sed -n 's/.*ether \([^ ]*\).*/\1/p')" dev va

student() {
	ip netns exec $a "$source/deploy/linux-bpf/aqm-student" "$@"
}
header=$source/tests/deploy/by_delay.h
student attach va "$header" rate=50mbit >why 2>&1 ||
	if grep -qi 'not permitted\|not supported\|no clsact\|denied' why; then
		skip "this kernel refuses: $(tail -1 why)"
	else
		die "$(cat why)"
	fi

# udp TOS RATE COUNT: datagrams of 1500 bytes with their headers, through the student; sets $received $missing $ce
udp() {
	ip netns exec $b ./traffic udp-receive 5001 >udp &
	receiver=$!
	background="$background $receiver"
	sleep 0.3
	ip netns exec $a ./traffic udp-send 10.99.0.2 5001 "$1" "$2" "$3" 1458
	wait $receiver
	read -r _ received _ missing _ ce _ <udp
}

# counter NAME: $classic and $l4s
counter() {
	student show va >shown
	set -- $(sed -n "s/^$1  *//p" shown)
	classic=$1 l4s=$2
}

# Below the rate nothing is touched, in any codepoint.
for tos in 0 1 2 3; do
	udp $tos 400 200
	[ "$received $missing" = "200 0" ] || die "TOS $tos below the rate: $(cat udp)"
	[ "$ce" = $([ $tos = 3 ] && echo 200 || echo 0) ] || die "TOS $tos below the rate: $ce CE"
done
counter marked && [ "$classic $l4s" = "0 0" ] || die "$(cat shown)"
counter packets && [ "$l4s" = 400 ] && [ "$classic" -ge 400 ] || die "$(cat shown)"

# 250 packets of 1500 bytes a second.
student set va rate=3mbit limit=370000
# ECT(1) above the rate: marked, every mark is seen by the receiver, nothing is lost before the queue's limit.
udp 1 1300 230
counter marked
[ "$missing" = 0 ] && [ "$ce" -gt 100 ] && [ "$ce" = "$l4s" ] && [ "$classic" = 0 ] || die "ECT(1): $(cat udp shown)"
sleep 1

# ECT(0): marked first, then dropped.
udp 2 1400 200
counter marked && marks=$classic
counter dropped
[ "$ce" -gt 0 ] && [ "$ce" = "$marks" ] && [ "$missing" -gt 0 ] && [ "$missing" = "$classic" ] || die "ECT(0): $(cat udp shown)"
drops=$classic
sleep 0.5

# Not ECT: never marked; what would be is dropped.
udp 0 1400 200
counter marked && [ "$classic" = "$marks" ] && [ "$ce" = 0 ] || die "not ECT, but marked: $(cat udp shown)"
counter dropped
[ "$missing" -gt 0 ] && [ "$missing" = $((classic - drops)) ] || die "not ECT: $(cat udp shown)"

# Watching: counted, but untouched.
student set va watch=1
udp 0 1400 200
[ "$missing $ce" = "0 0" ] || die "watching: $(cat udp)"
old=$classic
counter dropped && [ "$classic" -gt "$old" ] || die "watching counts nothing: $(cat shown)"
student set va watch=0

# ce_packets: that the receiver's kernel has seen.
ce_packets() {
	ip netns exec $b awk '
		/^IpExt:/ && !n { n = split($0, name); next }
		/^IpExt:/ { split($0, value); for (i = 2; i <= n; i++) if (name[i] == "InCEPkts") print value[i] }' /proc/net/netstat
}

# tcp BYTES: in the background
tcp() {
	ip netns exec $b ./traffic tcp-receive 5002 >tcp &
	receiver=$!
	background="$background $receiver"
	sleep 0.3
	ip netns exec $a ./traffic tcp-send 10.99.0.2 5002 "$1" &
	sender=$!
	background="$background $sender"
}

# TCP arrives whole, with ECN and without; with it the receiver sees marks, without it none.
student set va rate=40mbit limit=0
for ecn in 1 0; do
	for space in $a $b; do
		ip netns exec $space sh -c "echo $ecn >/proc/sys/net/ipv4/tcp_ecn"
	done
	before=$(ce_packets)
	counter marked && marks=$((classic + l4s))
	counter dropped && drops=$((classic + l4s))
	tcp 800000
	wait $sender || die "TCP could not send"
	wait $receiver || die "TCP arrived broken"
	grep -qx 'bytes 800000' tcp || die "TCP: $(cat tcp)"
	seen=$(($(ce_packets) - before))
	counter marked && marks=$((classic + l4s - marks))
	counter dropped && drops=$((classic + l4s - drops))
	if [ $ecn = 1 ]; then
		[ "$seen" -gt 0 ] && [ "$seen" = "$marks" ] || die "TCP with ECN: $seen CE seen, $marks marked"
	else
		[ "$seen$marks" = 00 ] && [ "$drops" -gt 0 ] || die "TCP without ECN: $seen CE seen, $marks marked, $drops dropped"
	fi
	echo "TCP, tcp_ecn=$ecn: $seen packets with CE seen, $marks marked, $drops dropped"
done

# Replaced and removed under load, nothing is lost.
student set va rate=100mbit
(
	for change in replace detach attach detach; do
		sleep 0.4
		case $change in
		replace) student attach va "$header" ;;
		attach) student attach va "$header" rate=100mbit ;;
		detach) student detach va ;;
		esac
	done
) &
changes=$!
udp 2 2000 4000
wait $changes || die "cannot replace and remove under load"
[ "$received $missing $ce" = "4000 0 0" ] || die "replaced and removed under load: $(cat udp)"
[ -z "$(ip netns exec $a tc filter show dev va egress)" ] || die "a filter is left"

# Headers as they are exported pass the verifier, and account for every packet.
for kind in network tree; do
	"$build/tests/deploy/make_student" $kind student.h || die "cannot make a $kind"
	student attach va student.h rate=20mbit >why 2>&1 || die "a $kind is refused: $(cat why)"
	udp 2 2000 300
	counter dropped
	# some may have been the datagrams that end the stream
	[ "$missing" -le "$classic" ] && [ "$classic" -le $((missing + 50)) ] || die "a $kind: $(cat udp shown)"
	student detach va
done
