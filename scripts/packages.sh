#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# packages.sh [--install] [LIST]: see that the packages of LIST, which is
# scripts/packages.txt by itself, are installed; with --install, install those
# that are missing.

. "$(dirname "$0")/lib.sh"

install=
if [ "${1:-}" = --install ]; then
    install=yes
    shift
fi
list=${1:-$repo/scripts/packages.txt}

wanted() {
    sed 's/#.*//' "$list" | awk 'NF { print $1 }'
}

missing() {
    local name
    for name in $(wanted); do
        if [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then
            printf '%s ' "$name"
        fi
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

names=$(missing)
[ -n "$names" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo='sudo '
line="${sudo}apt-get update && ${sudo}apt-get install --no-install-recommends ${names% }"

[ -n "$install" ] ||
    die "packages are missing; install them with: $line"
if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
    die "installing packages needs root, and there is no sudo; as root, type: ${line//sudo /}"
fi

updated=yes
as_root apt-get -q -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
    -o APT::Update::Error-Mode=any update || updated=no
if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
    -o DPkg::Lock::Timeout=120 install --no-install-recommends $names; then
    [ $updated = yes ] ||
        die "apt's mirrors could not be reached; check the network and the sources under /etc/apt (its output is in build/log), then run this again"
    die "apt-get could not install the missing packages (its output is in build/log); see what stops: $line"
fi
