#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lay this repository's files into the copy of QEMU's source in
# build/qemu-src (as links) and add our build lines to it by rule: append to a
# file, or insert after a line that must be there exactly once. Never a diff,
# so that other versions of QEMU are served as long as those lines exist.
#
# Each edited file is made anew from its original (kept in
# build/qemu-src/.vbu), and written only if that changes it. A run that has
# nothing to do therefore makes ninja do nothing.

. "$(dirname "$0")/lib.sh"

tree=$build/qemu-src
original=$tree/.vbu/original
[ -f "$tree/meson.build" ] ||
    die "there is no QEMU source in ${tree#"$repo"/}; run ./configure first"

mkdir -p "$original"
exec 4>"$tree/.vbu/lock"
flock 4

scratch=$(mktemp -d "$build/qemu-tree.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
staged=$scratch/staged
mkdir "$staged"

### Rules

# stage FILE: start from the original of QEMU's FILE, unless edited already.
stage() {
    if [ ! -e "$original/$1" ]; then
        [ -f "$tree/$1" ] ||
            die "QEMU's $1 does not exist in this tree; use QEMU 10.0 or adapt the rule in scripts/qemu-tree.sh"
        mkdir -p "$(dirname "$original/$1")"
        cp -p "$tree/$1" "$original/$1.tmp"
        mv "$original/$1.tmp" "$original/$1"
    fi
    if [ ! -e "$staged/$1" ]; then
        mkdir -p "$(dirname "$staged/$1")"
        cp "$original/$1" "$staged/$1"
    fi
}

# append FILE: add standard input at FILE's end.
append() {
    stage "$1"
    cat >>"$staged/$1"
}

# replace FILE: have standard input instead of it.
replace() {
    stage "$1"
    cat >"$staged/$1"
}

# insert_after FILE LINE: add standard input behind the only such LINE.
insert_after() {
    local file=$1 line=$2 count
    stage "$file"
    count=$(grep -cFx -e "$line" "$staged/$file" || true)
    [ "$count" = 1 ] ||
        die "QEMU's $file has the line '$line' $count times instead of once; use QEMU 10.0 or adapt the rule in scripts/qemu-tree.sh"
    cat >"$scratch/lines"
    # sed's r reads the file as it is; the address is the line's number, so
    # that nothing in LINE is taken for a pattern.
    sed -i "$(grep -nFx -e "$line" "$staged/$file" | cut -d: -f1)r $scratch/lines" "$staged/$file"
}

# ours PATTERN...: the names (without directory) of this repository's files.
ours() {
    local file
    for file in "$@"; do
        for file in "$repo"/$file; do
            if [ -f "$file" ]; then
                basename "$file"
            fi
        done
    done
}

# quoted NAME...: as meson writes a list.
quoted() {
    local name list=
    for name in "$@"; do
        list="${list:+$list, }'$name'"
    done
    printf '%s\n' "$list"
}

### Our lines

block=$(ours 'block/restricted-ring*.c' 'block/passthrough-file*.c' 'block/ring-*.c')
if [ -n "$block" ]; then
    append block/meson.build <<END

if host_os == 'linux'
  block_ss.add(files($(quoted $block)))
endif
END
fi

# The process that owns the rings: no C library, and nothing that would need
# one, such as sanitizers and the stack protector.
if [ -f "$repo/tools/ring-jail/main.c" ]; then
    append tools/meson.build <<'END'

if host_os == 'linux' and host_arch == 'x86_64'
  executable('qemu-ring-jail',
             files('ring-jail/main.c', '../block/restricted-ring-core.c'),
             c_args: ['-ffreestanding', '-fno-stack-protector',
                      '-fno-sanitize=all', '-fcf-protection=none',
                      '-mno-red-zone', '-U_FORTIFY_SOURCE'],
             link_args: ['-static', '-nostdlib', '-fno-sanitize=all',
                         '-Wl,-z,noexecstack', '-Wl,--build-id=none',
                         '-Wl,-Ttext-segment=0x10000000'],
             pie: false,
             override_options: ['b_lto=false', 'b_coverage=false'],
             install: true,
             install_dir: get_option('libexecdir'))
endif
END
fi

# Reads file-posix.c's private state, hence inside of it.
if [ -f "$repo/block/passthrough-file-posix.c.inc" ]; then
    append block/file-posix.c <<END

#include "passthrough-file-posix.c.inc"
END
    # The probe of the first block cannot tell the alignment of a hole.
    insert_after block/file-posix.c '#include "qapi/error.h"' \
        <<<'#include "block/passthrough-file.h"'
    insert_after block/file-posix.c \
        '    raw_probe_alignment(bs, s->fd, errp);' \
        <<<'    passthrough_file_correct_alignment(bs, s->fd, s->needs_alignment);'
    insert_after block/file-posix.c \
        '        raw_probe_alignment(bs, ret, &local_err);' \
        <<<'        passthrough_file_correct_alignment(bs, ret, s->needs_alignment);'
fi

# Three operations that drain nothing but have to see all writes from now on,
# a flush that knows of no writes, and a read-modify-write.
if [ -f "$repo/include/block/passthrough-file.h" ]; then
    for file in block/dirty-bitmap.c block/qapi-system.c block/write-threshold.c; do
        insert_after "$file" '#include "qapi/error.h"' \
            <<<'#include "block/passthrough-file.h"'
    done
    insert_after block/dirty-bitmap.c \
        '    bitmap_size = bdrv_getlength(bs);' \
        <<<'    passthrough_file_take_back(bs);'
    insert_after block/qapi-system.c '    throttle_config_init(&cfg);' \
        <<<'    passthrough_file_take_back(bs);'
    insert_after block/write-threshold.c \
        '    bdrv_write_threshold_set(bs, threshold_bytes);' \
        <<<'    passthrough_file_take_back(bs);'
    insert_after block/io.c '#include "block/block_int.h"' \
        <<<'#include "block/passthrough-file.h"'
    insert_after block/io.c \
        '    current_gen = qatomic_read(&bs->write_gen);' <<END
    if (passthrough_file_is_reserved(bs)) {
        current_gen = qatomic_inc_fetch(&bs->write_gen);
    }
END
    insert_after block/io.c '    assert(req->serialising && pad->buf);' \
        <<<'    passthrough_file_begin_rmw(bs);'
fi

# Wraps what virtio-blk keeps to itself, hence inside of it.
if [ -f "$repo/hw/block/virtio-blk-uring-parent.c.inc" ]; then
    append hw/block/virtio-blk.c <<END

#include "virtio-blk-uring-parent.c.inc"
END
fi

device=$(ours 'hw/block/virtio-blk-uring*.c')
if [ -n "$device" ]; then
    append hw/block/Kconfig <<END

config VIRTIO_BLK_URING
    bool
    default y
    depends on VIRTIO_BLK && LINUX
END
    append hw/block/meson.build <<END

specific_ss.add(when: 'CONFIG_VIRTIO_BLK_URING', if_true: files($(quoted $device)))
END
fi

# The administrator's interface. Not bound to a target, as QMP is not: where
# there is no such device, the query's stub finds none.
if [ -f "$repo/qapi/virtio-blk-uring.json" ]; then
    insert_after qapi/qapi-schema.json "{ 'include': 'virtio.json' }" \
        <<<"{ 'include': 'virtio-blk-uring.json' }"
    insert_after qapi/meson.build "  'virtio'," <<<"  'virtio-blk-uring',"
    append stubs/meson.build <<'END'

if have_system
  stub_ss.add(files('virtio-blk-uring.c'))
endif
END
    append monitor/meson.build <<'END'

system_ss.add(files('virtio-blk-uring.c'))
END
    insert_after include/monitor/hmp.h \
        'void hmp_info_version(Monitor *mon, const QDict *qdict);' \
        <<<'void hmp_info_virtio_blk_uring(Monitor *mon, const QDict *qdict);'
    append hmp-commands-info.hx <"$repo/monitor/virtio-blk-uring.hx"
fi

pci=$(ours 'hw/virtio/virtio-blk-uring*-pci.c')
if [ -n "$pci" ]; then
    append hw/virtio/meson.build <<END

specific_ss.add(when: ['CONFIG_VIRTIO_PCI', 'CONFIG_VIRTIO_BLK_URING'],
                if_true: files($(quoted $pci)))
END
    insert_after system/qdev-monitor.c \
        '    { "virtio-blk-pci", "virtio-blk", QEMU_ARCH_VIRTIO_PCI },' <<END
    { "virtio-blk-uring-pci", "virtio-blk-uring", QEMU_ARCH_VIRTIO_PCI },
END
fi

for dir in block hw/block hw/virtio; do
    for events in "$repo/$dir"/*.trace-events; do
        if [ -f "$events" ]; then
            { echo; cat "$events"; } | append "$dir/trace-events"
        fi
    done
done

libqos=$(ours 'tests/qtest/libqos/*.c')
if [ -n "$libqos" ]; then
    for name in $libqos; do
        echo "        '$name',"
    done | insert_after tests/qtest/libqos/meson.build "        'virtio-blk.c',"
fi

qtests=$(ours 'tests/qtest/*-test.c')
if [ -n "$qtests" ]; then
    for name in $qtests; do
        echo "  '$name',"
    done | insert_after tests/qtest/meson.build "  'virtio-blk-test.c',"
fi

units=$(ours 'tests/unit/test-*.c')
if [ -n "$units" ]; then
    for name in $units; do
        echo "tests += {'${name%.c}': [testblock]}"
    done | insert_after tests/unit/meson.build 'test_env = environment()'
fi

fuzzers=$(ours 'tests/qtest/fuzz/*.c')
if [ -n "$fuzzers" ]; then
    for name in $fuzzers; do
        echo "specific_fuzz_ss.add(when: 'CONFIG_VIRTIO_BLK_URING', if_true: files('$name'))"
    done | insert_after tests/qtest/fuzz/meson.build '# Targets'
    replace scripts/oss-fuzz/instrumentation-filter-template \
        <"$repo/tests/fuzz/instrumented.txt"
fi

### Into the tree

# The links first: an edited meson.build names them.
laid=$tree/.vbu/links
touch "$laid"
(
    cd "$repo"
    for dir in block hw include monitor qapi stubs tools tests/unit tests/qtest; do
        if [ -d "$dir" ]; then
            find "$dir" -type f ! -name '*.trace-events' ! -name '*.hx' ! -name '.*' ! -name '*~'
        fi
    done | sort
) >"$laid.new"
comm -23 "$laid" "$laid.new" | while read -r file; do
    if [ -L "$tree/$file" ]; then
        rm "$tree/$file"
    fi
done
while read -r file; do
    up=$(printf '%s' "$file" | sed 's,[^/]*,..,g')
    target=../$up/$file
    if [ -L "$tree/$file" ] && [ "$(readlink "$tree/$file")" = "$target" ]; then
        continue
    fi
    if [ -e "$tree/$file" ] && [ ! -L "$tree/$file" ]; then
        die "QEMU has a file $file of its own; rename ours"
    fi
    mkdir -p "$(dirname "$tree/$file")"
    ln -sfn "$target" "$tree/$file"
done <"$laid.new"
mv "$laid.new" "$laid"

(cd "$staged" && find . -type f -printf '%P\n' | sort) >"$scratch/edited"
(cd "$original" && find . -type f ! -name '*.tmp' -printf '%P\n' | sort) >"$scratch/originals"
while read -r file; do
    put "$tree/$file" <"$staged/$file"
done <"$scratch/edited"
# A rule that fell silent gives the file back.
comm -13 "$scratch/edited" "$scratch/originals" | while read -r file; do
    put "$tree/$file" <"$original/$file"
done
