#!/usr/bin/env bash
# Run a check while nothing moves. Its exit code counts, and the job goes on whatever it is.
#
#     hold_while_failing.sh MODEL_DIR EXIT_CODE
set -uo pipefail
model=$1

monolith barrier hold --ttl 30s --reason 'nightly check' "$model" -- \
    sh -c 'monolith barrier status --json "$1"; exit "$2"' check "$model" "$2"
code=$?

# It would be gone at once, even if that check had been killed.
monolith barrier wait --removed --timeout 5s "$model" || exit 1
exit "$code"
