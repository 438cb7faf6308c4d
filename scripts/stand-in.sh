#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# stand-in.sh PROGRAM LIBRARY FILE: make FILE a shared library that PROGRAM can
# be linked with in place of LIBRARY (a path), and that traps when any of it is
# called. Debian's fio needs 70 MB of libraries for clusters that no guest here
# has; without them a guest boots, and fio starts, in half the time.

. "$(dirname "$0")/lib.sh"

program=$1 library=$2 file=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the program wants and the library has, as "NAME VERSION".
nm -D --undefined-only "$program" | awk '{ print $NF }' | sort -u >"$work/wanted"
nm -D --defined-only "$library" | awk '{ print $NF }' | sed 's/@@/@/' | sort -u >"$work/has"
comm -12 "$work/wanted" "$work/has" | tr '@' ' ' >"$work/symbols"

while read -r name _; do
    printf 'void %s(void) { __builtin_trap(); }\n' "$name"
done <"$work/symbols" >"$work/stand-in.c"
awk 'NF > 1 { of[$2] = of[$2] " " $1 ";" }
     END { for (v in of) print v " { global:" of[v] " };" }' \
    "$work/symbols" >"$work/versions"
soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
script=
if [ -s "$work/versions" ]; then
    script=-Wl,--version-script=$work/versions
fi
gcc -shared -fPIC -fno-builtin -w -nostdlib $script "-Wl,-soname,$soname" \
    -o "$file" "$work/stand-in.c"
