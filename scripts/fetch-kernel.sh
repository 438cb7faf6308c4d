#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's kernel: Debian's cloud kernel, with its headers and build tools,
# unpacked into build/guest/kernel and made to work from there; 6.12, or what
# VBU_GUEST_KERNEL says, see guest-kernel.sh.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/archive.sh"
. "$repo/scripts/guest-kernel.sh"

kernel=$guest/kernel

[ ! -e "$guest/kver" ] || exit 0

download=$build/download/kernel
if [ "$series" != 6.12 ]; then
    # Where Debian may have it; sid also has the libc that its tools are for.
    download=$build/download/kernel-$series
    apt=$build/apt-kernels
    kernel_suite='bookworm trixie-backports sid experimental'
    source_suites=
fi

# newest_headers: of the newest cloud kernel of the series, by their version.
# They are what is looked for as an archive keeps older images without any.
newest_headers() {
    local prefix="linux-headers-$series."
    [ "$series" != newest ] || prefix=linux-headers-
    private_apt apt-cache pkgnames "$prefix" | grep -E '^linux-headers-[0-9].*-cloud-amd64$' |
        xargs -r -d '\n' apt-cache -c "$apt/apt.conf" show |
        awk '/^Package: / { name = $2 } /^Version: / { print $2, name }' |
        sort -V | tail -n 1 | cut -d ' ' -f 2
}

# parts PACKAGE PATTERN: the packages that PACKAGE depends on of that name
parts() {
    private_apt apt-cache depends "$1" |
        awk -v pattern="^linux-($2)-[0-9]" '$1 == "Depends:" && $2 ~ pattern { print $2 }'
}

if [ ! -e "$download" ]; then
    open_archive
    headers=$(newest_headers || true)
    [ -n "$headers" ] ||
        die "$kernel_suite: there is no cloud kernel $series for amd64 with its headers; use a mirror that carries it"
    image=linux-image-${headers#linux-headers-}
    # From 7.2 on the image is in parts, of which the package itself has none.
    fetch_debs "$download" "$image" $(parts "$image" 'binary|modules|base') \
        "$headers" $(parts "$headers" 'headers|kbuild')
fi

rm -rf "$kernel.part" "$kernel"
for deb in "$download"/*.deb; do
    dpkg-deb -x "$deb" "$kernel.part"
done
headers=$(echo "$kernel.part"/usr/src/linux-headers-*-cloud-amd64)
kver=${headers##*/linux-headers-}

# The headers name each other by absolute path.
for makefile in "$kernel.part"/usr/src/linux-headers-*/Makefile; do
    sed -i -E 's,^(include |KBUILD_OUTPUT=)/usr/src/,\1$(dir $(lastword $(MAKEFILE_LIST)))../,' "$makefile"
done
[ -e "$kernel.part/lib" ] || ln -s usr/lib "$kernel.part/lib"
ln -srfn "$headers" "$kernel.part/lib/modules/$kver/build"
# Only its BTF is in there, for which a module's build would ask for pahole.
rm -f "$headers/vmlinux"

. "$repo/scripts/foreign-kernel.sh"
use_own_compiler "$headers"
use_foreign_libc "$kernel.part"

depmod -b "$kernel.part" "$kver"
rm -rf "$guest/module"
mv "$kernel.part" "$kernel"
vmlinuz=boot/vmlinuz-$kver
[ -e "$kernel/$vmlinuz" ] || vmlinuz=lib/modules/$kver/vmlinuz
ln -sfn "kernel/$vmlinuz" "$guest/vmlinuz"
printf '%s\n' "$kver" | put "$guest/kver"
