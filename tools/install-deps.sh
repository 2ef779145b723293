#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# install-deps.sh [--tests] [--mpi] [--plots] [--fuzz] [--coverage]: install what the build and the tests need and what is
# missing, on Debian and Ubuntu. Works as root or through sudo; does nothing when everything is there. --tests: also what
# some tests skip without; --mpi: Open MPI, for several ranks; --plots: gnuplot, which draws the plots of `aqmtrain report`
# where it is there.
set -eu

packages="gcc libc6-dev cmake ninja-build pkg-config git gzip bzip2
	libopenblas-openmp-dev libhdf5-dev zlib1g-dev libbz2-dev libyaml-dev libjansson-dev librandom123-dev libssl-dev
	libcmocka-dev"
optional=
for option; do
	case $option in
	--tests) optional="$optional clang iproute2 bpftool libbpf-dev mandoc gnuplot-nox libopenmpi-dev openmpi-bin" ;;
	--mpi) optional="$optional libopenmpi-dev openmpi-bin" ;;
	--plots) optional="$optional gnuplot-nox" ;;
	--fuzz) packages="$packages clang llvm libomp-dev" ;;
	--coverage) packages="$packages gcovr" ;;
	*)
		echo "usage: $0 [--tests] [--mpi] [--plots] [--fuzz] [--coverage]" >&2
		exit 2
		;;
	esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "$0: not a Debian or Ubuntu system; please install the counterparts of: $packages" >&2
	exit 1
fi

# A name counts as installed, too, when an installed package provides it (pkg-config on newer releases).
installed=$(dpkg-query -W -f '${db:Status-Abbrev},${Package},${Provides}\n' | sed -n 's/^ii *,//p' |
	tr ',' '\n' | sed 's/^ *//; s/[ :(].*//')
missing=
for package in $packages; do
	echo "$installed" | grep -qx "$package" || missing="$missing $package"
done
wanted=
for package in $optional; do
	echo "$installed" | grep -qx "$package" || wanted="$wanted $package"
done
[ -n "$missing$wanted" ] || exit 0

root=
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		[ -n "$missing" ] || exit 0
		echo "$0: missing, and neither root nor sudo to install them:$missing" >&2
		exit 1
	fi
	root=sudo
fi
$root apt-get update
for package in $wanted; do # not every release has each
	apt-cache show "$package" >/dev/null 2>&1 && missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
