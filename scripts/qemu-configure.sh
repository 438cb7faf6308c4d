#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# qemu-configure.sh PREFIX [OPTION...]: configure QEMU in build/qemu (or, of
# VBU_QEMU_BUILD, that directory below build), OPTIONs being QEMU's own.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/qemu-env.sh"

qemu=$build/${VBU_QEMU_BUILD:-qemu}
prefix=$1
shift

# Debian's source comes without firmware; these are where Debian's packages
# put it.
firmware='/usr/share/qemu /usr/share/seabios /usr/lib/ipxe/qemu'

options=(
    --prefix="$prefix"
    --target-list=x86_64-softmmu
    --without-default-features
    --enable-kvm --enable-tcg
    --enable-linux-io-uring --enable-linux-aio
    --enable-seccomp
    # for a rival of the benchmark, with qemu-storage-daemon
    --enable-vhost-user --enable-vhost-user-blk-server
    --enable-slirp
    --enable-tools
    --disable-docs --disable-download --disable-install-blobs
    --firmwarepath="${firmware// /:}"
)
if [ -e "$build/linux-headers/linux" ]; then
    options+=("--extra-cflags=-isystem$build/linux-headers")
fi
options+=("$@")

"$repo/scripts/qemu-tree.sh"

done=$qemu/.vbu-configured
wanted=$(cat "$build/qemu-src/VERSION" "$build/qemu-src/.vbu/from"; printf '%s\n' "${options[@]}")
if [ -f "$qemu/build.ninja" ] && [ "$(cat "$done" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

mkdir -p "$qemu"
cd "$qemu"
rm -f "$done"
../qemu-src/configure --python=/usr/bin/python3 "${options[@]}"

# A binary that runs from its build directory looks for everything below
# qemu-bundle.
for dir in $firmware; do
    mkdir -p "qemu-bundle$(dirname "$dir")"
    ln -sfn "$dir" "qemu-bundle$dir"
done

printf '%s\n' "$wanted" >"$done"
