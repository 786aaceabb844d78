#!/usr/bin/env bash
# Save a checkpoint, and see whether exactly that one holds what the job has counted.
#
#     save_and_check.sh MODEL_DIR
set -euo pipefail
model=$1

IFS=$'\t' read -r step path < <(monolith job save --require-all --reason nightly "$model")
[[ -n $step && -e $path.index ]]
monolith ckpt-info --check --quiet --json --step "$step" "$model"
