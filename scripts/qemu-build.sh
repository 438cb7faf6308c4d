#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# qemu-build.sh TARGET...: bring QEMU's source tree up to date with ours and
# build these ninja targets in build/qemu (or, of VBU_QEMU_BUILD, that directory
# below build). Of ninja's lines only the progress is shown; the compilers'
# messages are shown all.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/qemu-env.sh"

name=${VBU_QEMU_BUILD:-qemu}
[ -f "$build/$name/build.ninja" ] ||
    die "QEMU is not configured yet; run ./configure first"
"$repo/scripts/qemu-tree.sh"

log=$build/log/$name-build.log
started=$SECONDS

# "[12/345] Compiling ..." becomes a line on a terminal, and one every tenth in
# a log.
progress() {
    local line done=0 total=0 tenth=-1
    while IFS= read -r line; do
        if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\  ]]; then
            done=${BASH_REMATCH[1]} total=${BASH_REMATCH[2]}
            if [ -t 1 ]; then
                printf '\r\033[KQEMU: %s of %s steps, %s s' "$done" "$total" "$((SECONDS - started))"
            elif [ "$total" -ge 50 ] && [ $((done * 10 / total)) != $tenth ]; then
                tenth=$((done * 10 / total))
                printf 'QEMU: %s of %s steps, %s s\n' "$done" "$total" "$((SECONDS - started))"
            fi
        elif [[ $line != ninja:\ [Ee]ntering* && $line != ninja:\ no\ work* && -n $line ]]; then
            if [ -t 1 ]; then printf '\r\033[K'; fi
            printf '%s\n' "$line"
        fi
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
    if [ "$total" = 0 ]; then
        printf 'QEMU: up to date\n'
    else
        printf 'QEMU: %s steps in %s s\n' "$total" "$((SECONDS - started))"
    fi
}

ninja -C "$build/$name" -j "$(nproc)" "$@" 2>&1 | tee "$log" | progress ||
    die "QEMU could not be built; see the compiler's messages above or in ${log#"$repo"/}"
