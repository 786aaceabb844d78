#!/usr/bin/env bash
# Pause a job, count what its newest checkpoint holds, and let it go on.
#
#     pause_and_count.sh MODEL_DIR
set -euo pipefail
model=$1

monolith job save --timeout 60s "$model" > /dev/null
monolith barrier place --ttl 5m --reason 'count entries' --quiet "$model" > /dev/null
trap 'monolith barrier remove "$model"' EXIT
monolith barrier wait --blocked --timeout 30s "$model"
monolith ckpt-info --quiet --json "$model"
