#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's kernel: Debian's cloud kernel 6.12, with its headers and build
# tools, unpacked into build/guest/kernel and made to work from there.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/archive.sh"

guest=$build/guest
kernel=$guest/kernel

[ ! -e "$guest/kver" ] || exit 0

if [ ! -e "$build/download/kernel" ]; then
    open_archive
    image=$(private_apt apt-cache pkgnames linux-image-6.12. |
        grep -E '^linux-image-6\.12\.[^ ]*-cloud-amd64$' | sort -V | tail -n 1)
    [ -n "$image" ] ||
        die "$kernel_suite has no cloud kernel 6.12 for amd64; use a mirror that carries it"
    headers=linux-headers-${image#linux-image-}
    others=$(private_apt apt-cache depends "$headers" |
        awk '/Depends: linux-(headers|kbuild)-/ { print $2 }')
    fetch_debs "$build/download/kernel" "$image" "$headers" $others
fi

mkdir -p "$guest"
rm -rf "$kernel.part" "$kernel"
for deb in "$build"/download/kernel/*.deb; do
    dpkg-deb -x "$deb" "$kernel.part"
done
kver=$(basename "$kernel.part"/boot/vmlinuz-*)
kver=${kver#vmlinuz-}

# The headers name each other by absolute path.
for makefile in "$kernel.part"/usr/src/linux-headers-*/Makefile; do
    sed -i 's,^include /usr/src/,include $(dir $(lastword $(MAKEFILE_LIST)))../,' "$makefile"
done
[ -e "$kernel.part/lib" ] || ln -s usr/lib "$kernel.part/lib"
ln -srfn "$kernel.part/usr/src/linux-headers-$kver" "$kernel.part/lib/modules/$kver/build"
# Only its BTF is in there, for which a module's build would ask for pahole.
rm -f "$kernel.part/usr/src/linux-headers-$kver/vmlinux"

depmod -b "$kernel.part" "$kver"
mv "$kernel.part" "$kernel"
ln -sfn "kernel/boot/vmlinuz-$kver" "$guest/vmlinuz"
printf '%s\n' "$kver" | put "$guest/kver"
