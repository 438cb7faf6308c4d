#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's root file system, build/guest/root, and the initramfs that is
# made of it: busybox, fio, SQLite, the tools of ext4, the kernel's modules that
# the tests load, ours, our programs and everything under tests/guest/rootfs.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/image.sh"
. "$repo/scripts/guest-kernel.sh"

root=$guest/root
image=$guest/initramfs.cpio.gz
[ -e "$guest/kver" ] || die "the guest's kernel is not there yet; run ./configure first"
kver=$(cat "$guest/kver")

programs='fio mke2fs e2fsck sqlite3'
# Libraries that fio is linked with for engines that no guest can use.
unused='rados|rbd|gfapi|nbd|ibverbs|rdmacm|pmem|pmemblk'
modules='virtio_blk null_blk pvpanic-mmio'
# Without them no test can talk to the guest; most kernels have them built in.
early='virtio_pci virtio_console'
ours="$guest/virtio_blk_uring.ko $guest/vbu_hostile.ko"
overlays="$repo/tests/guest/rootfs"
sources=$repo/tests/guest/programs

files=$(paths $programs)

# What all of it depends on, as a list that changes when any of it does.
inputs=$(
    find "$repo"/scripts/{guest-image,guest-kernel,image,stand-in}.sh "$guest/kver" $files \
        $(ls -d $ours $overlays $sources 2>/dev/null) \
        -type f -printf '%p %s %T@ %m\n' | sort
)
if [ -e "$image" ] && [ "$(cat "$guest/image.inputs" 2>/dev/null)" = "$inputs" ]; then
    exit 0
fi

# A merged /usr, as the files' paths assume on either side of the merge.
rm -rf "$root"
mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,proc,sys,dev,tmp,run,mnt,root}
for dir in bin sbin lib lib64; do
    ln -s "usr/$dir" "$root/$dir"
done

cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
# Before fio is copied, so that these are what it finds.
fio=$(command -v fio)
ldd "$fio" | awk -v unused="/lib($unused)[.]so" '$3 ~ unused { print $3 }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    "$repo/scripts/stand-in.sh" "$fio" "$library" "$root$library"
done
for file in $files; do
    copy "$file"
done
for source in "$sources"/*.c; do
    program=${source##*/}
    cc -O2 -Wall -Werror -pthread -o "$root/bin/${program%.c}" "$source"
done

# Stock modules with what they need, unpacked: the guest has busybox's insmod.
mkdir -p "$root/lib/modules/$kver" "$guest/modules"
rm -f "$guest"/modules/*
module_files $modules $early | while read -r file; do
    name=${file##*/}
    case $file in
    *.ko.xz) xz -dc "$file" >"$guest/modules/${name%.xz}" ;;
    *.ko.zst) zstd -qdc "$file" >"$guest/modules/${name%.zst}" ;;
    *.ko) cp "$file" "$guest/modules/$name" ;;
    esac
done
cp "$guest"/modules/*.ko "$root/lib/modules/$kver/"
module_files $early | sed 's,.*/,,; s,[.].*,,' >"$root/lib/modules/early"
for file in $ours; do
    if [ -e "$file" ]; then
        strip -d -o "$root/lib/modules/$kver/${file##*/}" "$file"
    fi
done

for overlay in $overlays; do
    if [ -d "$overlay" ]; then
        tar -C "$overlay" -cf - . | tar -C "$root" --keep-directory-symlink -xf -
    fi
done

(cd "$root" && find . | LC_ALL=C sort | cpio -o --quiet -H newc --reproducible --owner=+0:+0) |
    gzip -1 >"$image.part"
mv "$image.part" "$image"
printf '%s\n' "$inputs" | put "$guest/image.inputs"
