# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the headers of a later Debian release's kernel need for a module to be
# built by this release's compiler and on its libc. Sourced by fetch-kernel.sh.

# use_own_compiler HEADERS: unless the compiler that they name is there.
use_own_compiler() {
    local compiler config=$1/include/config/auto.conf
    compiler=$(sed -n 's/^CC = .*[ )]\([^ )]*gcc-[0-9]*\)$/\1/p' "$1/.kernelvariables")
    ! command -v "$compiler" >/dev/null || return 0
    sed -i 's/^CC = .*/CC = gcc/' "$1/.kernelvariables"
    # The one option of a later gcc that Kbuild takes from there untried; it has
    # another way to align functions for compilers without.
    if ! gcc -fmin-function-alignment=16 -c -x c /dev/null -o /dev/null 2>/dev/null; then
        sed -i '/^CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=/d' "$config"
    fi
}

elf_programs() {
    find "$1" -type f -perm -u+x -exec sh -c \
        'for f; do [ "$(head -c 4 "$f" | tail -c 3)" != ELF ] || echo "$f"; done' sh {} +
}

# use_foreign_libc KERNEL: if one of Kbuild's programs does not start with the
# libraries of this machine, have all of them take those of Debian's sid, which
# are unpacked beside them. Nothing else ever sees these.
use_foreign_libc() {
    local libraries=usr/lib/x86_64-linux-gnu deb program programs
    programs=$(elf_programs "$1/usr/lib/")
    # ldd fails if one of them is not dynamic, which is none of our business.
    grep -q 'not found' <<<"$(ldd $programs 2>&1 || true)" || return 0

    fetch_debs "$download-libc" libc6 libelf1t64 zlib1g libzstd1
    for deb in "$download-libc"/*.deb; do
        dpkg-deb -x "$deb" "$1/libc"
    done
    for program in $programs; do
        mv "$program" "$program.elf"
        # Some start another one by their own name. The kernel moves once more.
        cat >"$program" <<END
#!/bin/sh
kernel=\$(realpath "\$0")
kernel=\${kernel%/usr/lib/*}
exec "\$kernel/libc/$libraries/ld-linux-x86-64.so.2" \\
    --library-path "\$kernel/libc/$libraries" --argv0 "\$0" "\$(realpath "\$0").elf" "\$@"
END
        chmod +x "$program"
    done
}
