# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the tests under mpirun, after helper.sh: skips where they cannot run.
set -o pipefail

command -v mpirun >/dev/null || {
	echo "skipped: no mpirun"
	exit 77
}
ldd "$program" >libraries
grep -q libmpi libraries || {
	echo "skipped: built without MPI"
	exit 77
}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # a container's user
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}" # MPI's own

ranks() { # N COMMAND...
	local n=$1
	shift
	timeout 120 mpirun -n "$n" "$@"
}

# interrupt PROCESS: SIGTERM to one rank of a job, or to the process itself where it is no job; the others hear of it.
interrupt() {
	kill -TERM "$(pgrep -P "$1" | tail -1 | grep . || echo "$1")"
}

# broken_off KEPT WHOLE COMMAND...: interrupted by SIGTERM to one rank after a while that is looked for: KEPT is there, and not all of it.
broken_off() {
	local kept=$1 whole=$2 delay=0.4 process status
	shift 2
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
		status=0
		"$@" >>broken_off.log 2>&1 &
		process=$!
		sleep "$delay"
		interrupt "$process" || true # it may have ended
		wait "$process" || status=$?
		[ "$status" -eq 0 ] || [ ! -s "$kept" ] || return 0
		if [ "$status" -eq 0 ]; then
			rm -rf "$whole"
			delay=$(awk -v d="$delay" 'BEGIN { print d * 0.7 }')
		else
			delay=$(awk -v d="$delay" 'BEGIN { print d * 1.6 }')
		fi
	done
	cat broken_off.log >&2
	die "nothing was kept"
}
