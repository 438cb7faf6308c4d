#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# install.sh DESTDIR PREFIX: the emulator, the tool that shows its rings, the
# guest's driver as DKMS wants it, and the documents. Beside the distribution's
# QEMU, which lives in /usr.

. "$(dirname "$0")/lib.sh"

prefix=$2
to=$1$2

[ "$prefix" != /usr ] || [ -n "$1" ] || ! dpkg-query -S /usr/bin/qemu-system-x86_64 >/dev/null 2>&1 ||
    die "/usr/bin/qemu-system-x86_64 belongs to a package of the distribution; use another prefix, such as /usr/local"

install -d "$to/bin" || die "$to cannot be written to; use sudo, or DESTDIR, or another PREFIX"
# Its firmware is looked for where Debian's packages put it (see
# scripts/qemu-configure.sh), so the binary is complete by itself.
install -s -m 755 "$build/qemu/qemu-system-x86_64" "$to/bin/qemu-system-x86_64"
# Found by its place relative to the emulator. Readable, so that the kernel lets
# QEMU look at its /proc entries.
install -D -m 755 "$build/qemu/tools/qemu-ring-jail" "$to/libexec/qemu-ring-jail"

# One file of all its modules, which Python runs as it is.
watch=$(mktemp -d)
trap 'rm -rf "$watch"' EXIT
install -m 644 "$repo"/tools/ring-watch/*.py "$watch"
python3 -m zipapp -p '/usr/bin/env python3' -o "$to/bin/qemu-ring-watch" "$watch"
chmod 755 "$to/bin/qemu-ring-watch"

if [ -e "$repo/guest/linux/dkms.conf" ]; then
    version=$(sed -n 's/^PACKAGE_VERSION="\?\([^"]*\)"\?$/\1/p' "$repo/guest/linux/dkms.conf")
    module=$to/src/virtio-blk-uring-$version
    install -d "$module"
    install -m 644 "$repo"/guest/linux/* "$repo/include/standard-headers/linux/virtio_blk_uring.h" "$module"
fi

cd "$repo"
for document in docs README.md; do
    [ -e "$document" ] || continue
    find "$document" -type f | while read -r file; do
        install -D -m 644 "$file" "$to/share/doc/virtio-blk-uring/$file"
    done
done

echo "installed below $to: bin/qemu-system-x86_64, bin/qemu-ring-watch, libexec/qemu-ring-jail${module:+, ${module#"$to"/} (for dkms add)}"
