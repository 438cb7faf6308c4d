#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# minimal-root.sh [RELEASE]...: configure and build a fresh clone in a minimal
# Debian 12 and a minimal Debian 13 (a shell, apt, and what those need), so
# that no package is there by luck. Wants root and mmdebstrap. Only ccache's
# directory is shared with the machine. VBU_KEEP=1 keeps the roots.

. "$(dirname "$0")/../scripts/lib.sh"
. "$repo/scripts/archive.sh"

[ "$(id -u)" = 0 ] || die "a chroot needs root; run it as root"
command -v mmdebstrap >/dev/null ||
    die "mmdebstrap is missing; install it with: apt-get install mmdebstrap"

mirror=$(own_source)
[ -n "$mirror" ] || die "apt has no lists of a Debian mirror; run apt-get update first"
mirror=${mirror% *}
cache=${CCACHE_DIR:-${HOME:-/root}/.cache/ccache}
mkdir -p "$cache"

# inside ROOT COMMAND: run COMMAND there, where the clone lies. Mounts and
# processes end with it.
inside() {
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child -- /bin/bash -ec '
        mount --make-rprivate /
        mount -t proc proc "$1/proc"
        mount --rbind /sys "$1/sys"
        mount --rbind /dev "$1/dev"
        mkdir -p "$1/root/.cache/ccache"
        mount --bind "$3" "$1/root/.cache/ccache"
        exec chroot "$1" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
            /bin/sh -ec "cd /root/virtio-blk-uring; $2"
    ' - "$1" "$2" "$cache" </dev/null
}

try() {
    local release=$1 suite root=$build/roots/debian$1 started
    case $release in
    12) suite=bookworm ;;
    13) suite=trixie ;;
    *) die "there is no minimal root for Debian $release; say 12 or 13" ;;
    esac
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    step "Debian $release: a minimal root" mmdebstrap --quiet --variant=apt \
        "$suite" "$root" "$mirror"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
    step "Debian $release: a clone" \
        git clone --quiet --no-hardlinks "$repo" "$root/root/virtio-blk-uring"

    started=$SECONDS
    inside "$root" './configure && exit 1 || exit 0' ||
        die "./configure without --install-deps ended well on a bare Debian $release; scripts/packages.txt lists too little"
    inside "$root" './configure --install-deps' ||
        die "./configure failed on a minimal Debian $release; see above, and ${root#"$repo"/}/root/virtio-blk-uring/build/log"
    printf 'Debian %s: ./configure --install-deps took %s s\n' "$release" $((SECONDS - started))
    started=$SECONDS
    inside "$root" 'make && make nested' ||
        die "make failed on a minimal Debian $release; see above, and ${root#"$repo"/}/root/virtio-blk-uring/build/log"
    printf 'Debian %s: make && make nested took %s s\n' "$release" $((SECONDS - started))
    started=$SECONDS
    inside "$root" './configure && make' ||
        die "the second run failed on a minimal Debian $release"
    printf 'Debian %s: ./configure && make once more took %s s\n' "$release" $((SECONDS - started))
    inside "$root" 'make install DESTDIR=/tmp/installed PREFIX=/usr/local &&
        /tmp/installed/usr/local/bin/qemu-system-x86_64 -device virtio-blk-uring,help >/dev/null' ||
        die "the installed emulator does not start on a minimal Debian $release, or lacks the device"
    printf 'Debian %s: built, installed, and the emulator knows the device\n' "$release"
    [ -n "${VBU_KEEP:-}" ] || rm -rf --one-file-system "$root"
}

for release in "${@:-12 13}"; do
    # shellcheck disable=SC2086
    for one in $release; do
        try "$one"
    done
done
