#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# run.sh [PATTERN]: what ./configure says when a machine is not fit for it, and
# the rules that lay our files into QEMU's source; the benchmark's report; and
# what becomes of nested tests whose machine is lost.
# TAP on standard output.
#
# Nothing of the machine is changed: what a test pretends, it pretends in a
# namespace of its own, in a copy of the repository.

set -u
repo=$(cd "$(dirname "$0")/../.." && pwd)
pattern=${1:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

copy=$scratch/repo
mkdir "$copy"
tar -C "$repo" --exclude=./build --exclude=./.git -cf - . | tar -C "$copy" -xf -

n=0
tests=()

# test_that DESCRIPTION FUNCTION
test_that() {
    if [[ "entry: $1" =~ $pattern ]]; then
        tests+=("$1" "$2")
    fi
}

skip() {
    echo "$*" >"$scratch/skip"
    return 0
}

# refuses WORDS COMMAND...: COMMAND fails and ends with one sentence of error,
# in which WORDS (a pattern) occur.
refuses() {
    local words=$1
    shift
    "$@" >"$scratch/out" 2>&1 </dev/null && {
        echo "# it succeeded"
        return 1
    }
    sed 's/^/# /' "$scratch/out"
    [ "$(grep -c '^error: ' "$scratch/out")" = 1 ] &&
        tail -n 1 "$scratch/out" | grep -q '^error: ' &&
        grep '^error: ' "$scratch/out" | grep -qE "$words"
}

# pretend SCRIPT COMMAND...: run COMMAND after SCRIPT in a mount (and network)
# namespace of its own.
pretend() {
    local script=$1
    shift
    unshare $namespaces -- /bin/bash -c "mount --make-rprivate / && $script || exit 98; exec \"\$@\"" - "$@"
}
namespaces='-m -n'
unshare $namespaces true 2>/dev/null || namespaces='-r -m -n'
can_pretend() {
    unshare $namespaces -- mount --make-rprivate / 2>/dev/null ||
        { skip 'this process may not make a mount namespace'; return 1; }
}

### ./configure

unknown_option() {
    refuses 'no option --frob' "$copy/configure" --frob
}
test_that 'an unknown option is named' unknown_option

relative_prefix() {
    refuses 'absolute' "$copy/configure" --prefix=somewhere
}
test_that 'a relative prefix is refused' relative_prefix

unknown_distribution() {
    can_pretend || return 0
    printf 'ID=plan9\nPRETTY_NAME="Plan 9"\n' >"$scratch/os-release"
    refuses 'Plan 9.*Debian 12' \
        pretend "mount --bind $scratch/os-release /etc/os-release" "$copy/configure"
}
test_that 'an unknown distribution is named' unknown_distribution

little_disk() {
    can_pretend || return 0
    mkdir -p "$copy/build"
    refuses 'GiB are free' \
        pretend "mount -t tmpfs -o size=64m none $copy/build" "$copy/configure"
}
test_that 'too little disk is refused before anything is fetched' little_disk

packages_missing() {
    mkdir -p "$scratch/dpkg"
    : >"$scratch/dpkg/status"
    refuses 'apt-get install --no-install-recommends .*gcc.*ninja-build' \
        env DPKG_ADMINDIR="$scratch/dpkg" "$copy/configure"
}
test_that 'missing packages end with the line to type' packages_missing

no_network() {
    can_pretend || return 0
    rm -rf "$copy/build"
    refuses 'network' pretend true "$copy/scripts/fetch-kernel.sh"
}
test_that 'no network is said' no_network

no_qemu_source() {
    mkdir -p "$scratch/empty"
    refuses 'no QEMU source tree' "$copy/scripts/fetch-qemu.sh" "$scratch/empty"
}
test_that 'a directory that is no QEMU source is refused' no_qemu_source

### The machine that it is to run on

old_kernel() {
    refuses '6\.12 or later' setarch "$(uname -m)" --uname-2.6 "$copy/scripts/host.sh" run
}
test_that 'a kernel that is too old is refused' old_kernel

switched_off() {
    can_pretend || return 0
    [ -e /proc/sys/kernel/io_uring_disabled ] || { skip 'this kernel has no such switch'; return; }
    echo 2 >"$scratch/off"
    refuses 'sysctl kernel.io_uring_disabled=0' \
        pretend "mount --bind $scratch/off /proc/sys/kernel/io_uring_disabled" "$copy/scripts/host.sh" run
}
test_that 'io_uring switched off by sysctl is said' switched_off

filtered() {
    refuses 'seccomp' python3 "$repo/tests/entry/without-io-uring.py" "$copy/scripts/host.sh" run
}
test_that 'io_uring refused by seccomp is said' filtered

### Our files in QEMU's tree

# a tree with no more than the files that the rules know
small_tree() {
    local tree=$copy/build/qemu-src from=$repo/build/qemu-src file
    rm -rf "$copy/build"
    mkdir -p "$tree/.vbu"
    (cd "$from" && tar -cf - meson.build $(cd .vbu/original && find . -type f ! -name '*.tmp')) | tar -C "$tree" -xf -
    cp -r "$from/.vbu/original" "$tree/.vbu/original"
    (cd "$tree/.vbu/original" && find . -type f) | while read -r file; do
        cp "$tree/.vbu/original/$file" "$tree/$file"
    done
}

state() {
    (cd "$copy/build/qemu-src" && find . -path ./.vbu -prune -o \( -type f -o -type l \) -printf '%p %T@ %l\n' | sort)
}

laid_once() {
    small_tree
    "$copy/scripts/qemu-tree.sh" || return 1
    state >"$scratch/before"
    grep -q 'hw/block/virtio-blk-uring.c .*/hw/block/virtio-blk-uring.c' "$scratch/before" || return 1
    "$copy/scripts/qemu-tree.sh" || return 1
    state | diff "$scratch/before" - | sed 's/^/# /' | tee "$scratch/differs"
    [ ! -s "$scratch/differs" ]
}
test_that 'our files are laid, and a second time touches nothing' laid_once

taken_back() {
    small_tree
    "$copy/scripts/qemu-tree.sh" || return 1
    mv "$copy/hw/virtio/virtio-blk-uring-pci.c" "$scratch/pci.c"
    "$copy/scripts/qemu-tree.sh"
    local status=$?
    mv "$scratch/pci.c" "$copy/hw/virtio/virtio-blk-uring-pci.c"
    [ $status = 0 ] || return 1
    [ ! -L "$copy/build/qemu-src/hw/virtio/virtio-blk-uring-pci.c" ] &&
        cmp "$copy/build/qemu-src/.vbu/original/system/qdev-monitor.c" \
            "$copy/build/qemu-src/system/qdev-monitor.c"
}
test_that 'a file that is gone takes its link and its lines with it' taken_back

line_missing() {
    small_tree
    sed -i '/virtio-blk-test.c/d' "$copy/build/qemu-src/.vbu/original/tests/qtest/meson.build"
    refuses "tests/qtest/meson.build has the line .*virtio-blk-test.c.* 0 times" "$copy/scripts/qemu-tree.sh"
}
test_that 'a line that QEMU no longer has is named' line_missing

### The benchmark's report

checks=$("$repo/tests/entry/report.py") || checks='listed the checks of the report can be listed'
while read -r name what; do
    eval "report_$name() { \"\$repo/tests/entry/report.py\" $name; }"
    test_that "report: $what" "report_$name"
done <<<"$checks"

### Machines of the nested tests that are lost

checks=$("$repo/tests/entry/machines.py") || checks='listed the checks of lost machines can be listed'
while read -r name what; do
    eval "machine_$name() { \"\$repo/tests/entry/machines.py\" $name; }"
    test_that "machines: $what" "machine_$name"
done <<<"$checks"

### Run

echo "1..$((${#tests[@]} / 2))"
failed=0
for ((i = 0; i < ${#tests[@]}; i += 2)); do
    n=$((n + 1))
    rm -f "$scratch/skip"
    if "${tests[i + 1]}" >"$scratch/said" 2>&1; then
        if [ -e "$scratch/skip" ]; then
            echo "ok $n - ${tests[i]} # SKIP $(cat "$scratch/skip")"
        else
            echo "ok $n - ${tests[i]}"
        fi
    else
        sed '/^# /!s/^/# /' "$scratch/said"
        echo "not ok $n - ${tests[i]}"
        failed=1
    fi
done
exit $failed
