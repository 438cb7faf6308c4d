#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# run.sh [OPTION...]: instructions per I/O in a guest; see profile.py --help.
# QEMU with plugins is a third build, in build/qemu-plugins.

. "$(dirname "$0")/../../scripts/lib.sh"

export VBU_QEMU_BUILD=qemu-plugins
here=$repo/tools/insn-profile
out=$build/insn-profile
mkdir -p "$out"

if [ "${VBU_PROFILE_BUILT:-}" != 1 ]; then
    step 'configuration of QEMU with plugins' "$repo/scripts/qemu-configure.sh" \
        "$(cat "$build/prefix")" --enable-plugins
    "$repo/scripts/qemu-build.sh" qemu-system-x86_64 tools/qemu-ring-jail
fi
if [ ! "$out/insn-profile.so" -nt "$here/insn-profile.c" ]; then
    cc -O2 -Wall -Werror -fPIC -shared -I"$build/qemu-src/include/qemu" \
        $(pkg-config --cflags glib-2.0) -o "$out/insn-profile.so" "$here/insn-profile.c"
fi
exec python3 -B "$here/profile.py" "$@"
