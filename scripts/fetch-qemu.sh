#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# fetch-qemu.sh [DIR]: put QEMU's source into build/qemu-src: Debian's QEMU
# 10.0, or a copy of DIR.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/archive.sh"

tree=$build/qemu-src
from=${1:-debian}

if [ "$(cat "$tree/.vbu/from" 2>/dev/null)" = "$from" ]; then
    exit 0
fi
rm -rf "$tree.part"

if [ "$from" != debian ]; then
    [ -f "$from/meson.build" ] && [ -f "$from/hw/block/virtio-blk.c" ] ||
        die "$from is no QEMU source tree; give --qemu-source the directory that holds QEMU's meson.build"
    mkdir "$tree.part"
    # without the history and without a build made inside of it
    tar -C "$from" --exclude=./.git --exclude=./build -cf - . | tar -C "$tree.part" -xf -
else
    # An index may list a version whose files are gone from the mirror, so the
    # next suite is asked when one fails.
    dsc=
    if ! ls "$build"/download/qemu/*.dsc >/dev/null 2>&1; then
        open_archive
        for suite in $source_suites; do
            rm -rf "$build/download/qemu.part"
            mkdir -p "$build/download/qemu.part"
            (cd "$build/download/qemu.part" &&
                private_apt apt-get source --download-only --only-source "qemu/$suite") || continue
            dsc=$(ls "$build"/download/qemu.part/*.dsc)
            if grep -q '^Version: \(.*:\)\?10\.' "$dsc"; then
                rm -rf "$build/download/qemu"
                mv "$build/download/qemu.part" "$build/download/qemu"
                break
            fi
            dsc=
        done
        [ -n "$dsc" ] ||
            die "no Debian source package of QEMU 10 could be downloaded from $source_suites; check the network, or give a source tree with --qemu-source=DIR"
    fi
    # apt has checked the files' hashes against the signed index.
    dpkg-source --no-check --no-copy -x "$build"/download/qemu/*.dsc "$tree.part"
fi

mkdir "$tree.part/.vbu"
printf '%s\n' "$from" >"$tree.part/.vbu/from"
rm -rf "$tree"
mv "$tree.part" "$tree"
