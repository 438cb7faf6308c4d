#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# run.sh [OPTION]... [FILE]: fuzz the device with tests/qtest/fuzz; to be run by
# scripts/sanitized.sh, which has built it. With FILE, that one input only.
#
#   --runs=N       inputs for each isolation [1500]
#   --seed=N       of the random numbers [1]
#   --isolation=I  process or none [both]
#   --corpus=DIR   begin with the inputs there too, and add those that reach
#                  something new; DIR-I for each isolation

. "$(dirname "$0")/../../scripts/lib.sh"

runs=1500
seed=1
isolations='process none'
corpus=
file=
while [ $# -gt 0 ]; do
    case $1 in
    --runs=[0-9]*) runs=${1#*=} ;;
    --seed=[0-9]*) seed=${1#*=} ;;
    --isolation=process | --isolation=none) isolations=${1#*=} ;;
    --corpus=?*) corpus=$(realpath -m "${1#*=}") ;;
    -*) die "tests/fuzz/run.sh knows --runs, --seed, --isolation and --corpus, not $1" ;;
    *) file=$(realpath "$1") && [ -f "$file" ] || die "there is no input $1" ;;
    esac
    shift
done

fuzzer=$build/${VBU_QEMU_BUILD:-qemu-asan}/qemu-fuzz-x86_64
[ -x "$fuzzer" ] || die 'the fuzzer is not built; run make check-fuzz'
found=$build/fuzz
mkdir -p "$found"

# The disk of a fuzzer that crashed goes with it.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

# seeds DIR: the inputs of seeds.txt as files; an action has 16 bytes
seeds() {
    local line action digits
    mkdir -p "$1"
    sed '/^#/d' "$repo/tests/fuzz/seeds.txt" | while read -ra line; do
        for action in "${line[@]:1}"; do
            digits=$(printf '%-32s' "$action")
            printf "$(sed 's/../\\x&/g' <<<"${digits// /0}")"
        done >"$1/${line[0]-}"
    done
}

# fuzz ISOLATION ARGUMENT...
fuzz() {
    local isolation=$1
    shift
    "$fuzzer" "--fuzz-target=virtio-blk-uring-$isolation" -timeout=60 -rss_limit_mb=4096 \
        "-artifact_prefix=$found/$isolation-" "$@" </dev/null
}

# coverage LOG: of the device's own files what the inputs reached
coverage() {
    awk -v pattern='/(virtio-blk-uring[^/]*|restricted-ring[^/]*|passthrough-file[^/]*|ring-[^/]*)[.]c(|[.]inc):' '
        /COVERED_FUNC: / && $NF ~ pattern {
            functions++
            split($5, edge, "/")
            if ($1 == "COVERED_FUNC:") {
                covered++
                edges += edge[1]
            } else {
                missed = missed " " $6
            }
        }
        END {
            printf "  of the device'\''s own code %d of %d functions, %d edges\n", covered, functions, edges
            if (missed) print "  not reached, if not at start:" missed
        }' "$1"
}

if [ -n "$file" ]; then
    name=${file##*/}
    case $name in
    none-*) isolations=none ;;
    process-*) isolations=process ;;
    esac
    for isolation in $isolations; do
        fuzz "$isolation" "$file" || die "this input fails with isolation=$isolation; see above"
    done
    echo "fuzz: $name does nothing wrong"
    exit 0
fi

for isolation in $isolations; do
    log=$build/log/fuzz-$isolation.log
    begin=$scratch/seeds
    inputs=${corpus:-$scratch/corpus}-$isolation
    seeds "$begin"
    mkdir -p "$inputs"
    started=$SECONDS
    echo "fuzz: isolation=$isolation: $runs inputs ..."
    if ! fuzz "$isolation" -runs="$runs" -seed="$seed" -max_len=384 -len_control=0 \
        -print_final_stats=1 -print_coverage=1 "$inputs" "$begin" >"$log" 2>&1; then
        grep -v -e NEW_FUNC -e ' cov: ' -e UNCOVERED -e COVERED_FUNC "$log" | tail -n 50 >&3
        artifact=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        die "the fuzzer found something; all that it said is in ${log#"$repo"/}${artifact:+, and to see it again type: make check-fuzz FUZZ=${artifact#"$repo"/}}"
    fi
    [ "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" -ge "$runs" ] ||
        die "the fuzzer ended early; what it said is in ${log#"$repo"/}"
    printf 'fuzz: isolation=%s: %s inputs in %s s with seed %s, nothing found; %s edges\n' "$isolation" \
        "$runs" "$((SECONDS - started))" "$seed" "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)"
    coverage "$log"
done
