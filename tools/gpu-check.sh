#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# gpu-check.sh pack BUILD ARCHIVE        what a GPU machine needs, out of a build of the preset `portable` with CUDA
# gpu-check.sh ARCHIVE|FOLDER [REPORT]   on a machine with an NVIDIA GPU, its driver and the CUDA toolkit: all GPU tests, all GPU benchmarks, the tests
#                                        under compute-sanitizer; a report that can be committed as docs/results-gpu.md
#
# One call, less than eight minutes: every step has its limit, and what the time does not suffice for is said to be left out. Bases are made
# there (25 GB in TMPDIR). Where PyTorch is installed, tools/peer_torch.py takes each training step too. The exit status is that of the first
# step that failed; 77 without a GPU.
set -u
self=$(cd "$(dirname "$0")" && pwd)
usage='usage: tools/gpu-check.sh pack BUILD ARCHIVE | ARCHIVE|FOLDER [REPORT]'

pack() {
	build=$1 archive=$2
	work=$(mktemp -d) && mkdir "$work/gpu-check" || exit 1
	trap 'rm -rf "$work"' EXIT
	for file in aqmtrain tests/cuda/test_cuda_ops tests/cuda/test_cuda_policy tests/cuda/bench_cuda_ops; do
		strip -o "$work/gpu-check/$(basename $file)" "$build/$file" || exit 1
	done
	cmocka=$(ldd "$build/tests/cuda/test_cuda_ops" | sed -n 's/.*libcmocka[^ ]* => \([^ ]*\).*/\1/p')
	[ -z "$cmocka" ] || cp -L "$cmocka" "$work/gpu-check/" || exit 1
	cp -r "$self/../data/sample-log" "$self/peer_torch.py" "$work/gpu-check/" || exit 1
	git -C "$self" describe --always --abbrev=40 --dirty >"$work/gpu-check/COMMIT" 2>/dev/null || echo unknown >"$work/gpu-check/COMMIT"
	XZ_OPT='-6 --threads=2' tar -C "$work" --sort=name -cJf "$archive" gpu-check || exit 1
	ls -l "$archive"
	[ "$(stat -c %s "$archive")" -le $((64 << 20)) ] || { echo "gpu-check.sh: '$archive' is larger than 64 MiB" >&2; exit 1; }
}

if [ "${1:-}" = pack ]; then
	[ $# -eq 3 ] || { echo "$usage" >&2; exit 2; }
	pack "$2" "$3"
	exit
fi
[ $# -ge 1 ] || { echo "$usage" >&2; exit 2; }
folder=$1 report=${2:-gpu-report.md} seconds=${AQM_GPU_SECONDS:-465} status=0
begin=$(date +%s)
# In memory where there is plenty: bases are written and read at its speed.
room=$(df --output=avail -BG /dev/shm 2>/dev/null | tail -n 1 | tr -dc 0-9)
[ "${room:-0}" -lt 40 ] || : "${TMPDIR:=/dev/shm}"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/gpu-check-XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
if [ -f "$folder" ]; then
	tar -C "$scratch" -xJf "$folder" || exit 1
	folder=$scratch/gpu-check
fi
folder=$(cd "$folder" && pwd) || exit 1
program=$folder/aqmtrain
body=$scratch/body figures=$scratch/figures
: >"$body"
: >"$figures"

# cublasLt, where the loader does not know it: beside nvcc, or in NVIDIA's Python packages.
libraries=$folder
if compiler=$(command -v nvcc); then
	libraries=$libraries:$(dirname "$(readlink -f "$compiler")")/../lib64
fi
for place in "${CUDA_HOME:-/usr/local/cuda}/lib64" \
	"$(python3 -c 'import nvidia.cu13, os; print(os.path.join(list(nvidia.cu13.__path__)[0], "lib"))' 2>/dev/null)"; do
	[ ! -d "$place" ] || libraries=$libraries:$place
done
sanitizer=$(command -v compute-sanitizer || ls "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" 2>/dev/null)
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries" OMP_WAIT_POLICY=passive TMPDIR="$scratch"
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

say() {
	printf '%s\n' "$*" | tee -a "$body"
}

left() {
	echo $((seconds - ($(date +%s) - begin)))
}

# step LIMIT TITLE COMMAND...: its output into the report, its figures into the table; the command's status.
step() {
	limit=$1 title=$2
	shift 2
	[ "$limit" -le "$(left)" ] || limit=$(left)
	say "## $title"
	say ''
	if [ "$limit" -lt 5 ]; then
		say 'Left out: no time is left.'
		say ''
		return 1
	fi
	from=$(date +%s)
	timeout -k 5 "$limit" "$@" >"$scratch/out" 2>&1
	code=$?
	say '```'
	tr -d '\r' <"$scratch/out" | grep -v '^\[ *\(RUN\|OK\) *\]' | tail -n 60 | cut -c1-400 | tee -a "$body"
	say '```'
	say ''
	case $code in
	0) verdict='done' ;;
	77) verdict=skipped ;;
	124 | 137) verdict="over its limit of $limit s" ;;
	*) verdict="failed with status $code" ;;
	esac
	say "$verdict after $(($(date +%s) - from)) s"
	say ''
	grep -E '^(step|decide|train|peer)/' "$scratch/out" | sed "s|^|$title: |" >>"$figures"
	[ $code -eq 0 ] || [ $code -eq 77 ] || [ $status -ne 0 ] || status=$code
	return $code
}

# A training step of ours, and the same one of the peer's.
training() {
	title=$1
	shift
	step 60 "$title" "$program" bench step --peer "$@" --set device=cuda || return
	command=$(grep '^python3 tools/peer_torch.py' "$scratch/out") || return
	[ "$torch" != none ] || return 0
	# shellcheck disable=SC2086 # words
	step 60 "$title: the peer's" ${command%% tools/*} "$folder/${command#* tools/}"
}

# The paper's pool has 2,490 rows: as many of the sample log. And 80 epochs on it, the time as a figure.
cat >"$scratch/pool.sh" <<'END'
"$program" pool parse "$folder/sample-log" -o "$scratch/all.h5" &&
	"$program" pool export "$scratch/all.h5" -o "$scratch/all.csv" &&
	head -n 2491 "$scratch/all.csv" >"$scratch/some.csv" && "$program" pool import "$scratch/some.csv" -o "$scratch/pool.h5"
END
cat >"$scratch/epochs.sh" <<'END'
printf '%s\n' 'device: cuda' "model: {path: $1}" "pool: {train: $scratch/pool.h5}" \
	'train: {epochs: 80, windows: 32, checkpoint_every: 1000000, keep_checkpoints: 1}' >"$scratch/train.yaml"
start=$(date +%s)
"$program" train -c "$scratch/train.yaml" -o "$scratch/run" || exit
printf 'train/llama2-7b/80-epochs %30d s\n' $(($(date +%s) - start))
END
export program folder scratch

wait_for() {
	while [ ! -f "$scratch/$1.made" ] && [ "$(left)" -gt 5 ]; do sleep 1; done
	[ -f "$scratch/$1.made" ]
}

write_report() {
	{
		echo '# What a GPU gave'
		echo
		echo "One call of tools/gpu-check.sh; $(date -u +%Y-%m-%dT%H:%MZ), $(($(date +%s) - begin)) s."
		echo
		echo "- device: $gpu"
		echo "- commit: $(cat "$folder/COMMIT" 2>/dev/null || git -C "$self" rev-parse HEAD 2>/dev/null || echo unknown)"
		echo "- toolkit: $(nvcc --version 2>/dev/null | sed -n 's/.*release /CUDA /p' | head -n 1)"
		echo "- peer: $torch"
		echo "- status: $status"
		echo
		if [ -s "$figures" ]; then
			echo '| figure | value | | of its limit |'
			echo '|---|---|---|---|'
			sed -E 's/^(.*): ([a-z]+\/[^ ]+) +([0-9.einf]+) +([^ ]+) *(.*)$/| \1: \2 | \3 | \4 | \5 |/' "$figures"
			echo
		else
			echo 'No figure was measured.'
			echo
		fi
		cat "$body"
	} >"$report"
	echo "report: $report"
}

# ---- what is there ----

gpu=$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null) || gpu=none
torch=$(python3 -c 'import torch, peft, transformers; assert torch.cuda.is_available(); print("torch", torch.__version__)' 2>/dev/null) || torch=none
[ "$torch" != none ] || say 'No peer: PyTorch with PEFT and a GPU is not installed here.'

if [ "$gpu" = none ]; then
	say 'No GPU is here: every test and benchmark of one is skipped. What can be seen without:'
	say ''
	step 30 'GPU tests say that they skip' "$folder/test_cuda_ops"
	step 30 'GPU tests of policies say that they skip' "$folder/test_cuda_policy"
	step 60 'device: auto falls back' "$program" bench step --quick --peer --set device=auto
	step 30 'a base of the kind that is measured' "$program" model synth --preset tiny-llama --type q4_0 -o "$scratch/tiny.gguf"
	step 30 'the pool of 2,490 rows' sh "$scratch/pool.sh"
	: >"$figures"
	[ $status -ne 0 ] || status=77
	write_report
	exit $status
fi

# ---- on a GPU ----

# Bases are made beside the tests, which leave the processor alone; each is there when its file is.
for base in gpt2:f32 llama2-7b:q4_0 llama2-7b:bf16 llama2-7b:q8_0; do
	type=${base#*:}
	"$program" model synth --preset "${base%:*}" --type "$type" -o "$scratch/$type.gguf" >"$scratch/synth-$type.log" 2>&1 &&
		: >"$scratch/$type.made"
done &
maker=$!
trap 'kill $maker 2>/dev/null; rm -rf "$scratch"' EXIT

step 60 'CUDA ops against the CPU' "$folder/test_cuda_ops"
step 60 'policies against the CPU, decisions, resuming' "$folder/test_cuda_policy"
step 30 'CUDA ops with other numbers' env AQM_TEST_SEED=7 "$folder/test_cuda_ops"
step 60 'what each op takes' "$folder/bench_cuda_ops"
wait_for f32 && training 'GPT-2 small, everything trained' --model "$scratch/f32.gguf" --set lora.rank=0 --set train.windows=32
if wait_for q4_0; then
	training 'Llama-2-7B Q4_0, 32 windows' --model "$scratch/q4_0.gguf" --set train.windows=32
	training 'Llama-2-7B Q4_0, 32 windows, checkpoints' --model "$scratch/q4_0.gguf" --set train.windows=32 \
		--set train.checkpoint_activations=true
	training 'Llama-2-7B Q4_0, one window' --model "$scratch/q4_0.gguf" --set train.windows=1
	step 40 'a decision, Llama-2-7B Q4_0' "$program" bench decide --model "$scratch/q4_0.gguf" --set device=cuda
	step 40 '16 routers, Llama-2-7B Q4_0' "$program" bench decide --batch 16 --model "$scratch/q4_0.gguf" --set device=cuda
fi
if wait_for bf16; then
	training 'Llama-2-7B bf16, 32 windows' --model "$scratch/bf16.gguf" --set train.windows=32
	step 40 'a decision, Llama-2-7B bf16' "$program" bench decide --model "$scratch/bf16.gguf" --set device=cuda
	step 20 'the pool of 2,490 rows' sh "$scratch/pool.sh" && step 200 '80 epochs of 2,490 rows, Llama-2-7B bf16' sh "$scratch/epochs.sh" "$scratch/bf16.gguf"
fi
wait_for q8_0 && step 40 'a decision, Llama-2-7B Q8_0' "$program" bench decide --model "$scratch/q8_0.gguf" --set device=cuda
if [ -n "$sanitizer" ]; then
	for tool in memcheck racecheck initcheck synccheck; do
		step 50 "compute-sanitizer $tool, ops" env AQM_TEST_SMALL=1 "$sanitizer" --tool $tool --error-exitcode 9 "$folder/test_cuda_ops"
	done
	step 50 'compute-sanitizer memcheck, policies' env AQM_TEST_SMALL=1 "$sanitizer" --tool memcheck --error-exitcode 9 \
		"$folder/test_cuda_policy"
else
	say 'compute-sanitizer is not there.'
fi
write_report
exit $status
