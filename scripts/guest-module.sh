#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# guest-module.sh [MAKE-ARGUMENT...]: build guest/linux against the guest's
# kernel; the module is build/guest/virtio_blk_uring.ko. So for the driver that
# the tests attack with, tests/guest/hostile, build/guest/vbu_hostile.ko; what it
# attacks is the host, so one kernel will do.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/qemu-env.sh"
. "$repo/scripts/guest-kernel.sh"

[ -e "$guest/kver" ] || die "the guest's kernel is not there yet; run ./configure first"
[ -e "$repo/guest/linux/Kbuild" ] || exit 0

# Kbuild leaves its output beside the sources, so it gets a tree of links.
tree=$guest/module
mkdir -p "$tree"
for dir in guest/linux tests/guest/hostile include/standard-headers/linux; do
    mkdir -p "$tree/$dir"
    find "$tree/$dir" -maxdepth 1 -type l ! -exec test -e {} \; -delete
    for file in "$repo/$dir"/*; do
        if [ "$(readlink "$tree/$dir/${file##*/}")" != "$file" ]; then
            ln -sfn "$file" "$tree/$dir/${file##*/}"
        fi
    done
done

# module DIRECTORY NAME [MAKE-ARGUMENT...]
module() {
    local dir=$1 name=$2
    shift 2
    make --no-print-directory -C "$guest/kernel/lib/modules/$(cat "$guest/kver")/build" \
        M="$tree/$dir" "$@" modules
    put "$guest/$name.ko" <"$tree/$dir/$name.ko"
}
module guest/linux virtio_blk_uring "$@"
[ "$guest" != "$build/guest" ] || module tests/guest/hostile vbu_hostile "$@"
