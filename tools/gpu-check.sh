#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# gpu-check.sh FOLDER [REPORT]: on a machine with an NVIDIA GPU, its driver and the CUDA toolkit: the tests of the CUDA ops, the same
# under compute-sanitizer, and what each op takes, into a text report. FOLDER holds test_cuda_ops and bench_cuda_ops, built elsewhere
# (cmake --preset portable; build/portable/tests/cuda), and libcmocka.so.0 where that machine has none. Every step has its limit; all of them together take less than eight minutes.
# The exit status is that of the first step that failed.
set -u
folder=${1:?usage: tools/gpu-check.sh FOLDER [REPORT]}
report=${2:-gpu-report.txt}
status=0

# cublasLt, where the loader does not know it: beside nvcc, or in NVIDIA's Python packages.
libraries=$(cd "$folder" && pwd) || exit
if compiler=$(command -v nvcc); then
	libraries=$libraries:$(dirname "$(readlink -f "$compiler")")/../lib64
fi
for place in "${CUDA_HOME:-/usr/local/cuda}/lib64" \
	"$(python3 -c 'import nvidia.cu13, os; print(os.path.join(list(nvidia.cu13.__path__)[0], "lib"))' 2>/dev/null)"; do
	[ ! -d "$place" ] || libraries=$libraries:$place
done
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries" OMP_WAIT_POLICY=passive
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

say() {
	printf '%s\n' "$*" | tee -a "$report"
}

# step SECONDS TITLE COMMAND...
step() {
	limit=$1 title=$2
	shift 2
	say "== $title"
	begin=$(date +%s)
	timeout "$limit" "$@" >"$report.step" 2>&1
	code=$?
	tee -a "$report" <"$report.step"
	rm -f "$report.step"
	say "-- $title: status $code after $(($(date +%s) - begin)) s"
	say ''
	[ $code -eq 0 ] || [ $status -ne 0 ] || status=$code
}

: >"$report"
say "date: $(date -u +%Y-%m-%dT%H:%MZ)"
say "commit: $(git -C "$(dirname "$0")" rev-parse HEAD 2>/dev/null || echo unknown)"
say "device: $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>&1)"
say ''

step 60 'CUDA ops against the CPU' "$folder/test_cuda_ops"
for seed in 1 2 3; do
	step 30 "the same, seed $seed" env AQM_TEST_SEED=$seed "$folder/test_cuda_ops"
done
if command -v compute-sanitizer >/dev/null; then
	for tool in memcheck racecheck initcheck synccheck; do
		step 50 "compute-sanitizer $tool" env AQM_TEST_SMALL=1 compute-sanitizer --tool $tool --error-exitcode 9 \
			"$folder/test_cuda_ops"
	done
else
	say 'compute-sanitizer is not there'
fi
step 120 'what each op takes' "$folder/bench_cuda_ops"
say "status: $status"
exit $status
