#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build tools that are newer than the release's: meson (QEMU 10.0 wants 1.5)
# into build/tools/meson, linux/io_uring.h of 6.12 into build/linux-headers.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/archive.sh"

new_header() {
    printf '#include <linux/io_uring.h>\nint x = IORING_SETUP_NO_SQARRAY;\n' |
        gcc -fsyntax-only -x c - 2>/dev/null
}

if [ ! -e "$build/tools/meson" ]; then
    open_archive
    fetch_debs "$build/download/meson" meson
    rm -rf "$build/tools/meson.part"
    mkdir -p "$build/tools"
    dpkg-deb -x "$build"/download/meson/meson_*.deb "$build/tools/meson.part"
    mv "$build/tools/meson.part" "$build/tools/meson"
fi

if [ ! -e "$build/linux-headers" ]; then
    if new_header; then
        mkdir "$build/linux-headers"
    else
        open_archive
        fetch_debs "$build/download/linux-libc-dev" linux-libc-dev
        rm -rf "$build/linux-headers.part"
        mkdir -p "$build/linux-headers.part/linux"
        # That one header: the rest of it belongs with the release's libc.
        dpkg-deb --fsys-tarfile "$build"/download/linux-libc-dev/linux-libc-dev_*.deb |
            tar -xO ./usr/include/linux/io_uring.h >"$build/linux-headers.part/linux/io_uring.h"
        mv "$build/linux-headers.part" "$build/linux-headers"
    fi
fi
