#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Is this machine fit for it? build: to build it (looks at nothing that needs
# a package). run: to run it. hint: the same as run, but only a warning.

. "$(dirname "$0")/lib.sh"

gib_wanted=4

can_build() {
    local ID='' VERSION_ID='' PRETTY_NAME='' free
    # shellcheck disable=SC1091
    [ -r /etc/os-release ] && . /etc/os-release
    case "$ID $VERSION_ID" in
    'debian 12' | 'debian 13') ;;
    *)
        die "this is ${PRETTY_NAME:-an unknown system}, and only Debian 12 and 13 are known to ./configure; use one of them (a container or a chroot will do)"
        ;;
    esac
    [ "$(dpkg --print-architecture)" = amd64 ] ||
        die "this machine is $(dpkg --print-architecture), and only amd64 is supported; use an amd64 machine"
    if [ ! -e "$build/qemu/qemu-system-x86_64" ]; then
        free=$(df --output=avail -k "$build" | tail -n 1)
        [ "$free" -ge $((gib_wanted * 1024 * 1024)) ] ||
            die "only $((free / 1024 / 1024)) GiB are free where $build lies, and the build needs $gib_wanted GiB; free some or clone to a larger file system"
    fi
}

# Prints why rings cannot be had here, or nothing.
why_not_run() {
    local major minor switch
    IFS=.- read -r major minor _ < <(uname -r)
    if [ "$major" -lt 6 ] || { [ "$major" = 6 ] && [ "$minor" -lt 12 ]; }; then
        echo "this kernel is $(uname -r), and the rings need Linux 6.12 or later; boot a newer one (on Debian 12 that of bookworm-backports)"
        return
    fi
    switch=$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)
    if [ "$switch" = 2 ]; then
        echo "io_uring is switched off on this machine; switch it on with: sysctl kernel.io_uring_disabled=0"
        return
    fi
    if [ "$switch" = 1 ] && [ "$(id -u)" != 0 ]; then
        echo "io_uring is only for root on this machine; switch it on with: sysctl kernel.io_uring_disabled=0"
        return
    fi
    if command -v gcc >/dev/null; then
        if [ ! "$build/tools/probe-io-uring" -nt "$repo/scripts/probe-io-uring.c" ]; then
            mkdir -p "$build/tools"
            gcc -O1 -Wall -o "$build/tools/probe-io-uring" "$repo/scripts/probe-io-uring.c" || return 0
        fi
        "$build/tools/probe-io-uring" || true
    fi
}

case ${1:-} in
build)
    can_build
    ;;
hint)
    why=$(why_not_run)
    [ -z "$why" ] || warn "it can be built here, but make check and make bench will refuse: $why"
    ;;
run)
    why=$(why_not_run)
    [ -z "$why" ] || die "$why"
    ;;
*)
    die "usage: host.sh build|hint|run"
    ;;
esac
