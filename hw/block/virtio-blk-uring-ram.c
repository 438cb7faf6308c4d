/*
 * virtio-blk-uring: where guest RAM lies
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "system/hostmem.h"
#include "hw/virtio/virtio-blk-uring.h"

/*
 * The machine's memory proper: what memory backends hold.  Memory of devices
 * comes and goes with their BARs, and the guest's requests rarely point there;
 * the driver sends these over the virtqueues.
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
        .mr = section->mr,
    };

    /*
     * Where the machine lays something else over RAM (the VGA hole, the BIOS)
     * the same memory goes on behind it, and in between as well.  One window
     * over all of it means one addition for the driver, and does not change
     * when firmware moves the edges of the hole.
     */
    if (ram->next->len) {
        last = window(ram->next, ram->next->len - 1);
        if (last->mr == w.mr && w.gpa >= window_end(last) &&
            w.host - last->host == w.gpa - last->gpa) {
            last->size = window_end(&w) - last->gpa;
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
            w->host - c->host == w->gpa - c->gpa) {
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

void virtio_blk_uring_ram_init(VirtIOBlkUringRam *ram,
                               VirtIOBlkUringRamChanged *changed)
{
    *ram = (VirtIOBlkUringRam) {
        .windows = g_array_new(false, false, sizeof(VirtIOBlkUringWindow)),
        .next = g_array_new(false, false, sizeof(VirtIOBlkUringWindow)),
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

void *virtio_blk_uring_ram_find(VirtIOBlkUringRam *ram, hwaddr gpa,
                                uint64_t size)
{
    for (unsigned i = 0; i < ram->windows->len; i++) {
        VirtIOBlkUringWindow *w = window(ram->windows, i);

        if (gpa >= w->gpa && gpa - w->gpa < w->size &&
            size <= w->size - (gpa - w->gpa)) {
            return (char *)w->host + (gpa - w->gpa);
        }
    }
    return NULL;
}
