# SPDX-License-Identifier: GPL-2.0-or-later
#
# What every script here needs: the paths, a sentence on failure, and a line
# before and after each long step. Sourced, never run.

set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$repo/build
mkdir -p "$build/log"

# A foreign python first in PATH (pyenv, conda) would be used by meson and by
# QEMU's configure without having the packages they ask for.
PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
export LC_ALL=C.UTF-8

# A step's output goes to its log; what the user must read goes around it.
if [ -z "${VBU_TERMINAL_FD:-}" ]; then
    exec 3>&2
    export VBU_TERMINAL_FD=3
fi

# die SENTENCE: cause and remedy, and nothing after it.
die() {
    printf 'error: %s\n' "$*" >&3
    exit 99
}

warn() {
    printf 'warning: %s\n' "$*" >&3
}

# step NAME COMMAND...: say what is done and how long it took, with COMMAND's
# output in build/log. COMMAND says itself what is wrong (by die) or the end of
# its output is shown.
step() {
    local name=$1 started=$SECONDS log status=0
    shift
    log=$(printf '%s' "$name" | tr -cs 'A-Za-z0-9.' '-')
    log=${log#-}
    log=$build/log/${log%-}.log
    printf '%s ...\n' "$name"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    case $status in
    0)
        printf '%s: done in %s s\n' "$name" "$((SECONDS - started))"
        ;;
    99)
        exit 1
        ;;
    *)
        tail -n 20 "$log" >&3
        printf "error: '%s' failed after %s s; its output is in %s\n" \
            "$name" "$((SECONDS - started))" "${log#"$repo"/}" >&3
        exit 1
        ;;
    esac
}

# put FILE: make FILE hold what comes in on standard input, and leave it
# untouched (time stamp included) if it does already.
put() {
    local new
    mkdir -p "$(dirname "$1")"
    new=$(mktemp "$1.XXXXXX")
    cat >"$new"
    if [ -e "$1" ] && cmp -s "$new" "$1"; then
        rm -f "$new"
    else
        chmod 644 "$new"
        mv -f "$new" "$1"
    fi
}
