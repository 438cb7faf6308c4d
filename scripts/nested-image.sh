#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The disk of the emulated machine of tests/nested, build/nested/root.img: what
# tests and benchmarks use on a host that has KVM and an NVMe drive. That is
# python3, fio, tools of file systems, the kernel's modules, QEMU with what it
# needs, and under /vbu/build the guest that this QEMU is to run. Our own
# scripts are not on it: they are carried in at each start.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/image.sh"

nested=$build/nested
root=$nested/root
image=$nested/root.img
guest=$build/guest
[ -e "$guest/initramfs.cpio.gz" ] ||
    die "the guest's root file system is not there yet; run make guest first"
kver=$(cat "$guest/kver")

programs='python3 mkfs.xfs kmod strace dmsetup'
modules='kvm-amd kvm-intel null_blk virtio_blk nvmet-tcp nvme-tcp xfs
    dm-mod dm-flakey dm-delay loop'
qemu="$build/qemu/qemu-system-x86_64 $build/qemu/qemu-img
    $build/qemu/tools/qemu-ring-jail"
if [ -e "$build/qemu/storage-daemon/qemu-storage-daemon" ]; then
    qemu+=" $build/qemu/storage-daemon/qemu-storage-daemon"
fi
firmware='/usr/share/seabios /usr/share/qemu /usr/lib/ipxe/qemu'

files=$(paths $programs)

inputs=$(
    find "$repo"/scripts/{nested-image,image}.sh "$guest/initramfs.cpio.gz" $files $qemu \
        -type f -printf '%p %s %T@ %m\n' | sort
)
if [ -e "$image" ] && [ "$(cat "$nested/image.inputs" 2>/dev/null)" = "$inputs" ]; then
    exit 0
fi

# The guest's root is where it begins: busybox, fio with its stand-ins, mke2fs.
rm -rf "$root"
mkdir -p "$nested"
cp -a "$guest/root" "$root"
rm -rf "$root"/usr/lib/modules "$root"/init "$root"/lib/vbu.sh
mkdir -p "$root/etc"
for applet in $("$root/bin/busybox" --list); do
    [ -e "$root/bin/$applet" ] || [ -e "$root/sbin/$applet" ] ||
        ln -s busybox "$root/bin/$applet"
done
for file in $files; do
    rm -f "$root/bin/${file##*/}"
    copy "$file"
done
for name in modprobe insmod rmmod depmod; do
    rm -f "$root/bin/$name"
    ln -s "$(command -v kmod)" "$root/sbin/$name"
done

# Python without its tests, and with the libraries of its compiled modules.
python=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mkdir -p "$root$python"
tar -C "$python" --exclude=test --exclude=idlelib --exclude=lib2to3 \
    --exclude='config-*' --exclude=ensurepip --exclude=dist-packages -cf - . |
    tar -C "$root$python" -xf -
for file in "$python"/lib-dynload/*.so; do
    copy "$file"
done

for dir in $firmware; do
    [ -d "$dir" ] || continue
    mkdir -p "$root$dir"
    # Some of what they link to is in packages that are not needed.
    tar -C "$dir" -chf - . 2>/dev/null | tar -C "$root$dir" -xf - || :
done

tree=lib/modules/$kver
mkdir -p "$root/$tree"
cp "$guest/kernel/$tree"/modules.{builtin,builtin.modinfo,order} "$root/$tree/"
module_files $modules | while read -r file; do
    path=${file#*"/$tree/"}
    mkdir -p "$root/$tree/$(dirname "$path")"
    cp "$file" "$root/$tree/$path"
done
depmod -b "$root" "$kver"

for file in $qemu; do
    copy "$file" "/vbu${file#"$repo"}"
    strip -g "$root/vbu${file#"$repo"}"
done
# QEMU in a build directory looks for its helper below qemu-bundle.
helpers=$root/vbu/build/qemu/qemu-bundle$(cat "$build/prefix")/libexec
mkdir -p "$helpers"
ln -s /vbu/build/qemu/tools/qemu-ring-jail "$helpers/qemu-ring-jail"
# Unpacked, which an emulated CPU would take long for.
mkdir -p "$root/vbu/build/guest"
cp -L "$guest/vmlinuz" "$root/vbu/build/guest/vmlinuz"
gzip -dc "$guest/initramfs.cpio.gz" >"$root/vbu/build/guest/initramfs.cpio"

size=$(($(du -sm "$root" | cut -f 1) * 5 / 4 + 256))
rm -f "$image.part"
mke2fs -q -t ext4 -m 0 -O ^has_journal -E root_owner=0:0 -d "$root" "$image.part" "${size}M"
mv "$image.part" "$image"
rm -rf "$root"
printf '%s\n' "$inputs" | put "$nested/image.inputs"
