# SPDX-License-Identifier: GPL-2.0-or-later
#
# What every script here needs: the paths, a sentence on failure, and a line
# before and after each long step. Sourced, never run.

set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$repo/build
mkdir -p "$build"

# A foreign python first in PATH (pyenv, conda) would be used by meson and by
# QEMU's configure without having the packages they ask for.
PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
export LC_ALL=C.UTF-8

# die SENTENCE: cause and remedy, and nothing after it.
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

say() {
    printf '%s\n' "$*"
}

warn() {
    printf 'warning: %s\n' "$*" >&2
}

# step NAME COMMAND...: run COMMAND in this shell with its output in
# build/log/NAME.log; say what is done and how long it took. A failure shows
# the end of the log.
step() {
    local name=$1 started=$SECONDS log
    shift
    log=$build/log/$(printf '%s' "$name" | tr -c 'A-Za-z0-9.\n' '-').log
    mkdir -p "$build/log"
    printf '%s ...\n' "$name"
    if ! ( set -e; "$@" ) >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "'$name' failed after $((SECONDS - started)) s; the whole output is in ${log#"$repo"/}"
    fi
    printf '%s: done in %s s\n' "$name" "$((SECONDS - started))"
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
