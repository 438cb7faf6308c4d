#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# qemu-build.sh TARGET...: bring QEMU's source tree up to date with ours and
# build these ninja targets in build/qemu.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/qemu-env.sh"

[ -f "$build/qemu/build.ninja" ] ||
    die "QEMU is not configured yet; run ./configure first"
"$repo/scripts/qemu-tree.sh"
exec ninja -C "$build/qemu" "$@"
