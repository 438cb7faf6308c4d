#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU's checkpatch for what is written in QEMU's style; the kernel's, sparse
# and W=1 for the guest's driver. Says what is wrong, and fails if anything is.

. "$(dirname "$0")/lib.sh"
. "$repo/scripts/archive.sh"

[ -e "$build/guest/kver" ] || die "nothing is configured yet; run ./configure first"
cd "$repo"
bad=0

# The kernel's checkpatch is in none of the small packages. The big one is
# fetched once; three files of it are kept.
checkpatch=$build/tools/checkpatch
fetch_checkpatch() {
    open_archive
    fetch_debs "$build/download/linux-source" linux-source-6.12
    rm -rf "$checkpatch.part"
    mkdir -p "$checkpatch.part"
    dpkg-deb --fsys-tarfile "$build"/download/linux-source/*.deb |
        tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
        tar -xJ -C "$checkpatch.part" --strip-components=2 --wildcards \
            '*/scripts/checkpatch.pl' '*/scripts/spelling.txt' '*/scripts/const_structs.checkpatch'
    rm -rf "$build/download/linux-source"
    mv "$checkpatch.part" "$checkpatch"
}
[ -e "$checkpatch" ] || step "the kernel's checkpatch (150 MB)" fetch_checkpatch

qemu_files=$(git ls-files 'block/*.[ch]' 'block/*.inc' 'hw/*.[ch]' 'include/*.[ch]' 'tools/*.[ch]' 'tests/unit/*.[ch]' 'tests/qtest/*.[ch]')
# complain PATTERN COMMAND...: what COMMAND prints, but for PATTERN, is bad.
complain() {
    local but=$1 said
    shift
    said=$("$@" 2>&1 | grep -v -e "$but" || true)
    if [ -n "$said" ]; then
        printf '%s\n' "$said"
        bad=1
    fi
}

for file in $qemu_files; do
    # Our ABI header lies where QEMU keeps imported ones, and is none.
    complain 'imported from Linux' \
        perl "$build/qemu-src/scripts/checkpatch.pl" --no-tree --terse --no-summary -f "$file"
done

for file in $(git ls-files 'guest/linux/*.[ch]' 'tests/guest/hostile/*.[ch]'); do
    # Which kernel it is built for is what compat.h is about.
    complain 'compat.h:.*LINUX_VERSION_CODE should be avoided' \
        perl "$checkpatch/checkpatch.pl" --no-tree --terse --no-summary --strict -f "$file"
done

# W=1 and sparse speak on standard error and change no exit status.
rm -rf "$build/guest/module"
log=$build/log/check-style-module.log
"$repo/scripts/guest-module.sh" W=1 C=2 >"$log" 2>&1 || bad=1
if grep -E 'warning:|error:' "$log"; then
    bad=1
fi

[ $bad = 0 ] || die "the style is not right yet; see above"
echo "style: $(echo $qemu_files | wc -w) files of QEMU's style and the guest's driver are clean"
