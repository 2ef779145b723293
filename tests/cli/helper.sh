# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the scripts beside it, which are run as SCRIPT PROGRAM SCRATCH_FOLDER SOURCE_FOLDER. Leaves them in an
# empty scratch folder, with $program and $source absolute.
set -eu
program=$(realpath "$1")
source=$(realpath "$3")
rm -rf "$2"
mkdir -p "$2"
cd "$2"

die() {
	echo "$0: $*" >&2
	exit 1
}

# expect STATUS COMMAND...: run it with its output in ./out and ./err, and insist on its exit status.
expect() {
	expected=$1
	shift
	status=0
	"$@" >out 2>err || status=$?
	if [ "$status" -ne "$expected" ]; then
		cat out err >&2
		die "'$*' exited with $status, not $expected"
	fi
}

# says FILE TEXT: the fixed text stands in the file.
says() {
	grep -qF -e "$2" "$1" || {
		cat "$1" >&2
		die "no '$2' in $1"
	}
}
