#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# test.sh: install what is missing, build, and run every test: first under the sanitizers, then as released.
set -eu
cd "$(dirname "$0")/.."
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # a pinned kernel is slower, and another one than users run
jobs=$(nproc)

tools/install-deps.sh --tests

for preset in asan release; do
	cmake --preset $preset
	cmake --build --preset $preset -j "$jobs"
	ctest --preset $preset -j "$jobs"
done
