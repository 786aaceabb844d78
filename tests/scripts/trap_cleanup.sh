#!/usr/bin/env bash
# Several commands during one pause. Whatever fails, and if the script is ended, the job goes on,
# and the command does not outlive the pause.
#
#     trap_cleanup.sh MODEL_DIR COMMAND...
set -euo pipefail
model=$1
shift

MONOLITH_OWNER="ci-$$@$(hostname)"
export MONOLITH_OWNER
child=
release() {
    code=$?
    if [ -n "$child" ]; then
        kill "$child" 2> /dev/null || true
        wait "$child" || true
    fi
    monolith barrier remove "$model" || echo "the barrier is still placed" >&2
    exit "$code"
}
trap release EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

code=0
monolith barrier place --wait --timeout 30s --ttl 5m --reason "$*" "$model" > /dev/null || code=$?
[ "$code" -ne 5 ] || trap - EXIT # nothing was placed
[ "$code" -eq 0 ] || exit "$code"

"$@" &
child=$!
wait "$child" || code=$?
child=
exit "$code"
