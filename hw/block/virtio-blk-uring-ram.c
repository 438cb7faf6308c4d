/*
 * virtio-blk-uring: where guest RAM lies
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <linux/magic.h>
#include <sys/vfs.h>
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/ramblock.h"
#include "system/hostmem.h"
#include "qemu/units.h"
#include "virtio-blk-uring-internal.h"

/*
 * The machine's memory proper: what memory backends hold, be it an ivshmem
 * device's.  Memory of other devices comes and goes with their BARs, and the
 * guest's requests rarely point there; the driver sends these over the
 * virtqueues.
 */
static bool is_guest_ram(const MemoryRegionSection *section)
{
    MemoryRegion *mr = section->mr;

    return memory_region_is_ram(mr) && !section->readonly &&
           !memory_region_is_rom(mr) && !memory_region_is_ram_device(mr) &&
           memory_region_owner(mr) &&
           object_dynamic_cast(memory_region_owner(mr), TYPE_MEMORY_BACKEND);
}

static VirtIOBlkUringWindow *window(GArray *windows, unsigned i)
{
    return &g_array_index(windows, VirtIOBlkUringWindow, i);
}

static uint64_t window_end(const VirtIOBlkUringWindow *w)
{
    return w->gpa + w->size;
}

/*
 * Huge pages cannot be mapped in parts: a driver sends what lies in the rest
 * of one over the virtqueues.  False: nothing is left.
 */
static bool shrink_to_pages(VirtIOBlkUringWindow *w)
{
    uint64_t page = qemu_ram_pagesize(w->mr->ram_block);
    uint64_t start = ROUND_UP(w->gpa, page);
    uint64_t end = ROUND_DOWN(window_end(w), page);

    if (start >= end) {
        return false;
    }
    w->host = (char *)w->host + (start - w->gpa);
    w->offset += start - w->gpa;
    w->gpa = start;
    w->size = end - start;
    return true;
}

static void ram_begin(MemoryListener *listener)
{
    VirtIOBlkUringRam *ram = container_of(listener, VirtIOBlkUringRam,
                                          listener);

    g_array_set_size(ram->next, 0);
}

static void ram_add(MemoryListener *listener, MemoryRegionSection *section)
{
    VirtIOBlkUringRam *ram = container_of(listener, VirtIOBlkUringRam,
                                          listener);
    VirtIOBlkUringWindow w, *last;

    if (!is_guest_ram(section)) {
        return;
    }
    w = (VirtIOBlkUringWindow) {
        .gpa = section->offset_within_address_space,
        .size = int128_get64(section->size),
        .host = memory_region_get_ram_ptr(section->mr) +
                section->offset_within_region,
        .offset = section->offset_within_region,
        .mr = section->mr,
    };
    if (ram->jailed && !shrink_to_pages(&w)) {
        return;
    }
    w.addr = ram->jailed ? RING_JAIL_BASE + w.gpa : (uintptr_t)w.host;

    /*
     * Only what the guest sees as memory: where the machine lays something else
     * over it, there is memory that the guest is not to see (SMRAM).
     */
    if (ram->next->len) {
        last = window(ram->next, ram->next->len - 1);
        if (last->mr == w.mr && w.gpa == window_end(last) &&
            w.offset == last->offset + last->size) {
            last->size += w.size;
            return;
        }
    }
    g_array_append_val(ram->next, w);
}

static bool contains(GArray *windows, const VirtIOBlkUringWindow *w)
{
    for (unsigned i = 0; i < windows->len; i++) {
        VirtIOBlkUringWindow *c = window(windows, i);

        if (c->mr == w->mr && c->gpa <= w->gpa &&
            window_end(c) >= window_end(w) &&
            w->offset - c->offset == w->gpa - c->gpa) {
            return true;
        }
    }
    return false;
}

static bool contains_all(GArray *windows, GArray *others)
{
    for (unsigned i = 0; i < others->len; i++) {
        if (!contains(windows, window(others, i))) {
            return false;
        }
    }
    return true;
}

static void unref_all(GArray *windows)
{
    for (unsigned i = 0; i < windows->len; i++) {
        memory_region_unref(window(windows, i)->mr);
    }
}

static void ram_commit(MemoryListener *listener)
{
    VirtIOBlkUringRam *ram = container_of(listener, VirtIOBlkUringRam,
                                          listener);
    bool lost = !contains_all(ram->next, ram->windows);
    bool changed = lost || !contains_all(ram->windows, ram->next);
    GArray *old = ram->windows;

    if (!changed) {
        return;
    }
    for (unsigned i = 0; i < ram->next->len; i++) {
        memory_region_ref(window(ram->next, i)->mr);
    }
    ram->windows = ram->next;
    ram->changed(ram, lost);
    unref_all(old);
    ram->next = old;
}

void virtio_blk_uring_ram_init(VirtIOBlkUringRam *ram, bool jailed,
                               VirtIOBlkUringRamChanged *changed)
{
    *ram = (VirtIOBlkUringRam) {
        .windows = g_array_new(false, false, sizeof(VirtIOBlkUringWindow)),
        .next = g_array_new(false, false, sizeof(VirtIOBlkUringWindow)),
        .jailed = jailed,
        .changed = changed,
        .listener = {
            .name = "virtio-blk-uring",
            .begin = ram_begin,
            .region_add = ram_add,
            .region_nop = ram_add,
            .commit = ram_commit,
        },
    };
    memory_listener_register(&ram->listener, &address_space_memory);
}

void virtio_blk_uring_ram_cleanup(VirtIOBlkUringRam *ram)
{
    memory_listener_unregister(&ram->listener);
    unref_all(ram->windows);
    g_array_free(ram->windows, true);
    g_array_free(ram->next, true);
}

const VirtIOBlkUringWindow *
virtio_blk_uring_ram_find(VirtIOBlkUringRam *ram, hwaddr gpa, uint64_t size)
{
    for (unsigned i = 0; i < ram->windows->len; i++) {
        VirtIOBlkUringWindow *w = window(ram->windows, i);

        if (gpa >= w->gpa && gpa - w->gpa < w->size &&
            size <= w->size - (gpa - w->gpa)) {
            return w;
        }
    }
    return NULL;
}

/*
 * A ring pins its memory for long and for writing, which Linux does not do with
 * pages that a file system has to write back.
 */
static bool check_pinnable(const VirtIOBlkUringWindow *w, Error **errp)
{
    int fd = memory_region_get_fd(w->mr);
    struct statfs fs;

    if (fd < 0 || !qemu_ram_is_shared(w->mr->ram_block) ||
        fstatfs(fd, &fs) < 0 || fs.f_type == TMPFS_MAGIC ||
        fs.f_type == HUGETLBFS_MAGIC || fs.f_type == RAMFS_MAGIC) {
        return true;
    }
    error_setg(errp, "guest memory '%s' is in a file of a disk's file system, "
               "whose pages the kernel does not pin for a ring; use "
               "memory-backend-memfd, or memory-backend-file in a tmpfs or "
               "hugetlbfs, or passthrough=off",
               object_get_canonical_path_component(
                   memory_region_owner(w->mr)));
    return false;
}

static bool check_window(const VirtIOBlkUringWindow *w, bool preallocated,
                         Error **errp)
{
    RAMBlock *block = w->mr->ram_block;
    Object *backend = memory_region_owner(w->mr);
    const char *name = object_get_canonical_path_component(backend);

    if (memory_region_get_fd(w->mr) < 0 || !qemu_ram_is_shared(block)) {
        error_setg(errp, "guest memory '%s' is private to QEMU, and with "
                   "isolation=process another process has to have it; use "
                   "-object memory-backend-memfd,id=mem,size=SIZE,share=on "
                   "-machine memory-backend=mem (share=on for each backend), "
                   "or isolation=none for a guest that you trust", name);
        return false;
    }
    if ((w->gpa - w->offset - block->fd_offset) % qemu_ram_pagesize(block)) {
        error_setg(errp, "guest memory '%s' lies at 0x%" PRIx64 ", which its "
                   "pages of %zu bytes do not allow to map elsewhere; use "
                   "smaller pages", name, w->gpa, qemu_ram_pagesize(block));
        return false;
    }
    if (preallocated &&
        !object_property_get_bool(backend, "prealloc", &error_abort)) {
        error_setg(errp, "guest memory '%s' is not preallocated, so that its "
                   "pages would count against the limit of jail-cgroup when "
                   "the rings touch them first, until an honest guest is "
                   "killed for it; add prealloc=on to the memory backend",
                   name);
        return false;
    }
    return true;
}

bool virtio_blk_uring_ram_check(VirtIOBlkUringRam *ram, bool preallocated,
                                Error **errp)
{
    if (!ram->windows->len) {
        error_setg(errp, "there is no guest memory that rings could use; use "
                   "smaller pages or a machine whose memory is a memory "
                   "backend, or passthrough=off");
        return false;
    }
    if (ram->windows->len > VIRTIO_BLK_URING_MAX_WINDOWS) {
        error_setg(errp, "guest memory is in %u pieces, and a driver is told "
                   "%u at most; use fewer memory backends or passthrough=off",
                   ram->windows->len, VIRTIO_BLK_URING_MAX_WINDOWS);
        return false;
    }
    for (unsigned i = 0; i < ram->windows->len; i++) {
        if (!check_pinnable(window(ram->windows, i), errp) ||
            (ram->jailed &&
             !check_window(window(ram->windows, i), preallocated, errp))) {
            return false;
        }
    }
    return true;
}

RingJailRegion *virtio_blk_uring_ram_regions(VirtIOBlkUringRam *ram)
{
    RingJailRegion *regions = g_new(RingJailRegion, ram->windows->len);

    for (unsigned i = 0; i < ram->windows->len; i++) {
        VirtIOBlkUringWindow *w = window(ram->windows, i);

        regions[i] = (RingJailRegion) {
            .gpa = w->gpa,
            .size = w->size,
            .offset = w->mr->ram_block->fd_offset + w->offset,
            .fd = memory_region_get_fd(w->mr),
        };
    }
    return regions;
}
