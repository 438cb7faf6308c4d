# SPDX-License-Identifier: GPL-2.0-or-later
#
# What both root file systems are made with. Sourced, after lib.sh; $root is
# where they are made.

# paths PROGRAM...: where they are on this machine.
paths() {
    local program
    for program in "$@"; do
        command -v "$program" ||
            die "the program $program is missing; run ./configure --install-deps"
    done
}

# copy FILE [AS]: FILE and the libraries that it needs, at their own paths. What
# is there already, as a stand-in may be, says what else is needed.
copy() {
    copy_of "$1" "${2:-$1}" "$1"
}

# copy_of FILE AS PROGRAM: the same, where PROGRAM tells where libraries are.
copy_of() {
    local file
    if [ ! -e "$root$2" ]; then
        mkdir -p "$root$(dirname "$2")"
        cp -L "$1" "$root$2"
    fi
    for file in $(readelf -d "$root$2" 2>/dev/null | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'); do
        file=$(ldd "$3" | awk -v name="$file" '$1 == name { print $3 }
            $1 ~ "/" && $1 ~ name "$" { print $1 }')
        [ -z "$file" ] || [ -e "$root$file" ] || copy_of "$file" "$file" "$3"
    done
    file=$(readelf -l "$1" 2>/dev/null | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
    [ -z "$file" ] || [ -e "$root$file" ] || copy "$file"
}

# module_files MODULE...: of the guest's kernel, each after those that it needs.
module_files() {
    local module
    for module in "$@"; do
        modprobe -S "$kver" -d "$guest/kernel" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}
