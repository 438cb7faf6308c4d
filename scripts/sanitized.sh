#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A second build of QEMU, in build/qemu-asan: by clang, with its address and
# undefined behaviour sanitizers, and with what the fuzzer is guided by.
#
#   sanitized.sh [--install-deps] build TARGET...   build these ninja targets
#   sanitized.sh run COMMAND...                     run COMMAND so that any
#                                                   report makes it fail

. "$(dirname "$0")/lib.sh"

export VBU_QEMU_BUILD=qemu-asan
asan=$build/$VBU_QEMU_BUILD
# What is instrumented decides what an object is, as its options do.
export CCACHE_EXTRAFILES=$repo/tests/fuzz/instrumented.txt

install=
if [ "${1:-}" = --install-deps ]; then
    install=--install
    shift
fi
what=${1:-}
shift || true

case $what in
build)
    step 'packages of the sanitizers' \
        "$repo/scripts/packages.sh" $install "$repo/scripts/packages-sanitized.txt"
    # ninja does not know that each object depends on this list.
    if [ -e "$asan/instrumented.txt" ] &&
        ! cmp -s "$asan/instrumented.txt" "$CCACHE_EXTRAFILES"; then
        rm -rf "$asan"
    fi
    step 'configuration of QEMU with sanitizers' "$repo/scripts/qemu-configure.sh" \
        "$(cat "$build/prefix")" --cc=clang --cxx=clang++ \
        --enable-asan --enable-ubsan --enable-fuzzing
    put "$asan/instrumented.txt" <"$CCACHE_EXTRAFILES"
    exec "$repo/scripts/qemu-build.sh" "$@"
    ;;
run)
    [ -f "$asan/build.ninja" ] ||
        die "there is no build with sanitizers yet; make check-asan and make check-fuzz make one"
    # An exit status of its own, which none of the tests has.
    export ASAN_OPTIONS=exitcode=98:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:exitcode=98${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
    export LSAN_OPTIONS=exitcode=98${LSAN_OPTIONS:+:$LSAN_OPTIONS}
    exec "$@"
    ;;
*)
    die "sanitized.sh knows build and run, not '$what'; see its first lines"
    ;;
esac
