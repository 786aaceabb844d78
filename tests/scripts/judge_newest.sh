#!/usr/bin/env bash
# Says what is wrong with the newest checkpoint of MODEL_DIR, and ends with 1 if anything is.
set -uo pipefail
model=$1
wrong=0

ask() { # WHAT IS WRONG IF IT FAILS, COMMAND...
    local said code
    said=$("${@:2}" 2>&1)
    code=$?
    if ((code)); then
        printf '%s: %s (exit code %d)\n%s\n' "$model" "$1" "$code" "$said"
        wrong=1
    fi
}

ask 'not whole, or an input lags' monolith ckpt fsck --quick "$model"
ask 'a slot has grown by more than 20 %' \
    monolith ckpt history --top 5 --fail-if 'change(slot[*].entries) gt 20%' "$model"
ask 'NaN in the tables' monolith table stats --fail-if 'nan gt 0' "$model"
exit "$wrong"
