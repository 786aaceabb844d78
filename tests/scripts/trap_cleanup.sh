#!/usr/bin/env bash
# Several commands during one pause. Whatever fails, and if the script is ended, the job goes on.
#
#     trap_cleanup.sh MODEL_DIR COMMAND...
set -euo pipefail
model=$1
shift

MONOLITH_OWNER="ci-$$@$(hostname)"
export MONOLITH_OWNER
release() {
    code=$?
    monolith barrier remove "$model" || echo "the barrier is still placed" >&2
    exit "$code"
}

monolith barrier place --wait --timeout 30s --ttl 5m --reason "$*" "$model" > /dev/null
trap release EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

"$@" &
wait $!
