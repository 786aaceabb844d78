#!/usr/bin/env bash
# The native core under AddressSanitizer and UBSan, with FUZZ_RUNS mutated inputs (a million by
# default) over FUZZ_JOBS processes (all cores), each with a seed of its own from FUZZ_SEED on.
#
# Usage: tests/fuzz/run.sh [BUILD_DIR]. Ends with 0 if no sanitizer had anything to report. To see
# an input again, run BUILD_DIR/fuzz_native with the seed shown, and FUZZ_TRACE=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

build=${1:-build/fuzz}
runs=${FUZZ_RUNS:-1000000}
jobs=${FUZZ_JOBS:-$(getconf _NPROCESSORS_ONLN)}
seed=${FUZZ_SEED:-1}
native=monolith_cli/native
flags=(-std=c++17 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all "-I$native")
# Sizes in a file must not become allocations unchecked: no record is longer than 64 MiB here.
export ASAN_OPTIONS=${ASAN_OPTIONS:-max_allocation_size_mb=512}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# Each file by itself, so that all cores compile, and only what is newer than its object.
mkdir -p "$build"
compile() {
    local source=$1 object=$2
    if [[ -e $object ]] && ! find "$native" tests/fuzz -newer "$object" | grep -q .; then
        return
    fi
    printf 'compiling %s\n' "$source"
    "${CXX:-c++}" "${flags[@]}" -c "$source" -o "$object"
}

# Waits for all processes and fails if one did.
wait_for() {
    local pid status=0
    for pid in "$@"; do
        wait "$pid" || status=$?
    done
    return "$status"
}

objects=()
pids=()
for source in tests/fuzz/fuzz_native.cc "$native"/*.cc; do
    [[ $source == */bind*.cc ]] && continue
    object=$build/$(basename "$source" .cc).o
    objects+=("$object")
    compile "$source" "$object" &
    pids+=($!)
    if ((${#pids[@]} == jobs)); then
        wait_for "${pids[@]}"
        pids=()
    fi
done
wait_for ${pids[@]+"${pids[@]}"}
"${CXX:-c++}" "${flags[@]}" "${objects[@]}" -o "$build/fuzz_native"

pids=()
for ((job = 0; job < jobs; ++job)); do
    share=$((runs * (job + 1) / jobs - runs * job / jobs))
    "$build/fuzz_native" "$share" "$((seed + job))" &
    pids+=($!)
done
wait_for "${pids[@]}"
