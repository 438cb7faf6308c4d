#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's root file system, build/guest/root, and the initramfs that is
# made of it: busybox, fio, the tools of ext4, the kernel's modules that the
# tests load, ours, and everything under tests/guest/rootfs.

. "$(dirname "$0")/lib.sh"

guest=$build/guest
root=$guest/root
image=$guest/initramfs.cpio.gz
[ -e "$guest/kver" ] || die "the guest's kernel is not there yet; run ./configure first"
kver=$(cat "$guest/kver")

programs='fio mke2fs e2fsck'
modules='virtio_blk null_blk'
ours="$guest/virtio_blk_uring.ko $guest/vbu_hostile.ko"
overlays="$repo/tests/guest/rootfs"

files=
for program in $programs; do
    files+=" $(command -v "$program")" ||
        die "the program $program is missing; run ./configure --install-deps"
done

# What all of it depends on, as a list that changes when any of it does.
inputs=$(
    find "$repo/scripts/guest-image.sh" "$guest/kver" $files \
        $(ls -d $ours $overlays 2>/dev/null) \
        -type f -printf '%p %s %T@ %m\n' | sort
)
if [ -e "$image" ] && [ "$(cat "$guest/image.inputs" 2>/dev/null)" = "$inputs" ]; then
    exit 0
fi

# copy FILE: FILE and the libraries that it needs, at their own paths.
copy() {
    local file
    for file in "$1" $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        [ ! -e "$root$file" ] || continue
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
}

# A merged /usr, as the files' paths assume on either side of the merge.
rm -rf "$root"
mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,proc,sys,dev,tmp,run,mnt,root}
for dir in bin sbin lib lib64; do
    ln -s "usr/$dir" "$root/$dir"
done

cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
for file in $files; do
    copy "$file"
done

# Stock modules with what they need, unpacked: the guest has busybox's insmod.
mkdir -p "$root/lib/modules/$kver" "$guest/modules"
rm -f "$guest"/modules/*
for module in $modules; do
    modprobe -S "$kver" -d "$guest/kernel" --show-depends "$module"
done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r file; do
    name=${file##*/}
    case $file in
    *.ko.xz) xz -dc "$file" >"$guest/modules/${name%.xz}" ;;
    *.ko.zst) zstd -qdc "$file" >"$guest/modules/${name%.zst}" ;;
    *.ko) cp "$file" "$guest/modules/$name" ;;
    esac
done
cp "$guest"/modules/*.ko "$root/lib/modules/$kver/"
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
