/*
 * virtio-blk-uring: what is left of rings that have ended
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * When the process of the rings has ended, no request can reach the disk or
 * guest memory.  But the kernel frees the rings later, in a workqueue that all
 * programs of the host share, and writes indexes to the rings' own pages until
 * then; another program's rings on storage that does not answer can hold that
 * up for ever.  So nobody waits for it.  Instead the guest gets other pages at
 * the addresses of its ring memory, when its driver has given that up.  Where
 * pages cannot be exchanged, that waits 80 ms at most, and there are no new
 * rings before the kernel has freed the old ones.
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/boards.h"
#include "hw/virtio/virtio.h"
#include "net/net.h"
#include "system/system.h"
#include "virtio-blk-uring-internal.h"
#include "trace.h"

#define CHECK_MS        20
#define CHECK_SLOW_MS   500
#define WARN_MS         2000
/* As long as the kernel usually takes, and nobody minds */
#define WAIT_MS         80

/* A piece of the rings' own memory */
typedef struct RingMemory {
    MemoryRegion *mr;           /* referenced */
    uint64_t offset;            /* in @mr */
    uint64_t size;
} RingMemory;

void virtio_blk_uring_note_memory(VirtIOBlkUring *s,
                                  const VirtIOBlkUringWindow *w, uint64_t gpa,
                                  uint64_t size)
{
    RingMemory memory = {
        .mr = w->mr,
        .offset = w->offset + (gpa - w->gpa),
        .size = size,
    };

    memory_region_ref(memory.mr);
    g_array_append_val(s->retired.memory, memory);
}

static void forget_memory(VirtIOBlkUringRetired *r)
{
    for (unsigned i = 0; i < r->memory->len; i++) {
        memory_region_unref(g_array_index(r->memory, RingMemory, i).mr);
    }
    g_array_set_size(r->memory, 0);
}

/* Whether any page is there: the guest has none before it touches it. */
static bool is_resident(void *host, size_t size)
{
    size_t pages = size / qemu_real_host_page_size();
    g_autofree unsigned char *vec = g_malloc(pages);

    if (mincore(host, size, vec) < 0) {
        return true;
    }
    for (size_t i = 0; i < pages; i++) {
        if (vec[i] & 1) {
            return true;
        }
    }
    return false;
}

/*
 * Takes the pages out of guest RAM.  Not ram_block_discard_range(), which fails
 * for memory that is locked (-overcommit mem-lock=on).
 */
static int drop_pages(MemoryRegion *mr, uint64_t offset, void *host,
                      uint64_t size)
{
    if (qemu_ram_is_shared(mr->ram_block)) {
        int fd = memory_region_get_fd(mr);

        return fd < 0 ? madvise(host, size, MADV_REMOVE) :
               fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         mr->ram_block->fd_offset + offset, size);
    }
#ifdef MADV_DONTNEED_LOCKED
    if (madvise(host, size, MADV_DONTNEED_LOCKED) == 0) {   /* Linux 5.18 */
        return 0;
    }
#endif
    return madvise(host, size, MADV_DONTNEED);
}

static int is_vhost_user(Object *obj, void *opaque)
{
    return g_str_has_prefix(object_get_typename(obj), "vhost-user");
}

/*
 * Whether a process beside QEMU may have pinned guest RAM for a device of its
 * own (SPDK, DPDK), which would not see other pages.
 */
static bool has_vhost_user(void)
{
    NetClientState *clients[64];
    int num = qemu_find_net_clients_except(NULL, clients,
                                           NET_CLIENT_DRIVER_NIC,
                                           ARRAY_SIZE(clients));

    for (int i = 0; i < MIN(num, ARRAY_SIZE(clients)); i++) {
        if (clients[i]->info->type == NET_CLIENT_DRIVER_VHOST_USER) {
            return true;
        }
    }
    return num > ARRAY_SIZE(clients) ||
           object_child_foreach_recursive(qdev_get_machine(), is_vhost_user,
                                          NULL);
}

/*
 * Gives the guest zeroed pages in place of those that the kernel has pinned.
 * False: it may still have these.
 */
static bool exchange(const RingMemory *memory)
{
    MemoryRegion *mr = memory->mr;
    Object *backend = memory_region_owner(mr);
    void *host = memory_region_get_ram_ptr(mr) + memory->offset;

    if (qemu_ram_pagesize(mr->ram_block) != qemu_real_host_page_size() ||
        ram_block_discard_is_disabled() ||
        drop_pages(mr, memory->offset, host, memory->size) < 0 ||
        is_resident(host, memory->size)) {
        /* The last: part of a larger page, which stays as a whole. */
        return false;
    }
    memory_region_set_dirty(mr, memory->offset, memory->size);
#ifdef MADV_POPULATE_WRITE
    if (object_property_get_bool(backend, "prealloc", NULL)) {
        /* Changes no content.  Best effort: the guest's first touch does. */
        madvise(host, memory->size, MADV_POPULATE_WRITE);
    }
#endif
    return true;
}

/* Returns when the kernel has freed the rings, or after 80 ms. */
static void wait_released(VirtIOBlkUringRetired *r)
{
    int64_t start = g_get_monotonic_time();

    while (!r->frozen && !ring_group_released(r->group) &&
           g_get_monotonic_time() - start < WAIT_MS * 1000) {
        g_usleep(500);
    }
}

static void finish(VirtIOBlkUringRetired *r)
{
    timer_del(r->timer);
    forget_memory(r);
    ring_group_free(g_steal_pointer(&r->group));
}

static bool is_over(VirtIOBlkUringRetired *r)
{
    return r->exchanged ? ring_group_ended(r->group) :
                          ring_group_released(r->group);
}

static void check_later(VirtIOBlkUringRetired *r)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    timer_mod(r->timer, now + (now - r->since_ms > WARN_MS ? CHECK_SLOW_MS :
                                                             CHECK_MS));
}

static void check(void *opaque)
{
    VirtIOBlkUring *s = opaque;
    VirtIOBlkUringRetired *r = &s->retired;

    if (is_over(r)) {
        finish(r);
        virtio_blk_uring_look(s);
        return;
    }
    if (!r->warned && !r->frozen && r->renewed && !r->exchanged &&
        qemu_clock_get_ms(QEMU_CLOCK_REALTIME) - r->since_ms > WARN_MS) {
        r->warned = true;
        warn_report("virtio-blk-uring '%s': the kernel has not freed the "
                    "device's last rings (rings of other programs, on storage "
                    "that does not answer, can hold it up), and guest memory "
                    "in huge pages, or pinned by another device, cannot be "
                    "exchanged; there are no new rings until it has",
                    virtio_blk_uring_name(s));
    }
    check_later(r);
}

void virtio_blk_uring_retire(VirtIOBlkUring *s, RingGroup *group,
                             bool quiesced)
{
    VirtIOBlkUringRetired *r = &s->retired;
    g_autofree char *frozen = ring_group_stop(group, quiesced);

    assert(!r->group);
    r->group = group;
    r->since_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    r->frozen = frozen;
    r->renewed = r->exchanged = r->warned = false;
    if (frozen) {
        warn_report("virtio-blk-uring '%s': the jail of its rings (process "
                    "%d) cannot end, as its cgroup '%s' is frozen; thaw it, "
                    "there are no new rings before that",
                    virtio_blk_uring_name(s), (int)ring_group_pid(group),
                    frozen);
    }
    check_later(r);
}

void virtio_blk_uring_renew_memory(VirtIOBlkUring *s)
{
    VirtIOBlkUringRetired *r = &s->retired;
    bool all;

    if (!r->group) {
        forget_memory(r);       /* of a start that was cancelled early */
        return;
    }
    if (r->renewed) {
        return;
    }
    r->renewed = true;
    if (!is_over(r)) {
        all = !has_vhost_user();
        for (unsigned i = 0; all && i < r->memory->len; i++) {
            all = exchange(&g_array_index(r->memory, RingMemory, i));
        }
        r->exchanged = all;
        if (!all) {
            /*
             * The driver may free the memory now.  It is the best that can be
             * done where the memory cannot be exchanged: some 50 ms usually.
             */
            wait_released(r);
        }
        trace_virtio_blk_uring_exchange(s, r->memory->len, all);
    }
    if (is_over(r)) {
        finish(r);
    }
}

bool virtio_blk_uring_check_retired(VirtIOBlkUring *s, Error **errp)
{
    VirtIOBlkUringRetired *r = &s->retired;

    if (r->group) {
        error_setg(errp, r->frozen ?
                   "the jail of the last rings is in a frozen cgroup and "
                   "cannot end; thaw the cgroup" :
                   "the kernel has not freed the last rings yet");
        return false;
    }
    return true;
}

/*
 * The kernel holds the disk until it has freed the rings.  Who unmounts or
 * detaches the disk when QEMU is gone should find it free, if that is near.
 */
static void at_exit(Notifier *notifier, void *data)
{
    VirtIOBlkUringRetired *r = container_of(notifier, VirtIOBlkUringRetired,
                                            exit);

    if (r->group) {
        wait_released(r);
    }
}

void virtio_blk_uring_retired_init(VirtIOBlkUring *s)
{
    s->retired = (VirtIOBlkUringRetired) {
        .memory = g_array_new(false, false, sizeof(RingMemory)),
        .timer = timer_new_ms(QEMU_CLOCK_REALTIME, check, s),
        .exit.notify = at_exit,
    };
    qemu_add_exit_notifier(&s->retired.exit);
}

void virtio_blk_uring_retired_cleanup(VirtIOBlkUring *s)
{
    VirtIOBlkUringRetired *r = &s->retired;

    if (r->group) {
        ring_group_abandon(g_steal_pointer(&r->group));
    }
    qemu_remove_exit_notifier(&r->exit);
    forget_memory(r);
    g_array_free(r->memory, true);
    timer_free(r->timer);
}
