/*
 * virtio-blk-uring: the rings behind the path
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "exec/address-spaces.h"
#include "hw/virtio/virtio.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "virtio-blk-uring-internal.h"

/* Completions of a ring that the driver gave no vector. */
static void notify_by_config(EventNotifier *notifier)
{
    VirtIOBlkUringRing *ring = container_of(notifier, VirtIOBlkUringRing,
                                            notifier);

    if (event_notifier_test_and_clear(notifier)) {
        ring->interrupts++;
        virtio_notify_config(VIRTIO_DEVICE(ring->dev));
    }
}

static bool attach_interrupt(VirtIOBlkUringRing *ring, Error **errp)
{
    VirtIOBlkUring *s = ring->dev;

    ring->attached = true;
    if (ring->vector == VIRTIO_BLK_URING_NO_VECTOR) {
        event_notifier_set_handler(&ring->notifier, notify_by_config);
        return true;
    }
    /* The guest may have switched MSI-X off while the rings were started. */
    ring->vector_attached =
        s->transport->vector_valid(s->transport_opaque, ring->vector) &&
        s->transport->vector_attach(s->transport_opaque, ring->index,
                                    ring->vector, &ring->notifier,
                                    &ring->interrupts);
    if (!ring->vector_attached) {
        ring->attached = false;
        error_setg(errp, "no interrupt route is left for ring %u; use fewer "
                   "queues", ring->index);
    }
    return ring->vector_attached;
}

static void detach_interrupt(VirtIOBlkUringRing *ring)
{
    ring->attached = false;
    if (ring->vector_attached) {
        ring->dev->transport->vector_detach(ring->dev->transport_opaque,
                                            ring->index);
        ring->vector_attached = false;
    } else {
        event_notifier_set_handler(&ring->notifier, NULL);
    }
}

void virtio_blk_uring_ring_params(VirtIOBlkUring *s,
                                  RestrictedRingParams *params)
{
    *params = (RestrictedRingParams) {
        .sq_entries = s->sq_entries,
        .cq_entries = s->cq_entries,
        .idle_ms = s->sqpoll_idle_ms,
        .max_workers = VIRTIO_BLK_URING_MAX_WORKERS,
        .cpu = s->sqpoll_cpu,
        .attach_fd = -1,
        .event_fd = -1,
        .file_fd = -1,
    };
}

RingJailConfig virtio_blk_uring_jail_config(VirtIOBlkUring *s)
{
    return (RingJailConfig) {
        .launcher_path = s->jail && s->jail_fd < 0 ? s->jail : NULL,
        .launcher_fd = s->jail_fd,
        .cgroups = s->jail_cgroup,
        .file_fd = -1,
        /* A ring cannot be told of the disk's end; this holds a file to it. */
        .file_size = blk_nb_sectors(VIRTIO_BLK(s)->conf.conf.blk) *
                     BDRV_SECTOR_SIZE,
    };
}

/* The guest's memory for a ring, as it has named it */
typedef struct RingPlace {
    const VirtIOBlkUringWindow *ring, *sqes;
    size_t ring_size, sqe_size;
} RingPlace;

static bool find_place(VirtIOBlkUring *s, VirtIOBlkUringRing *ring,
                       RingPlace *place, Error **errp)
{
    uint64_t mask = qemu_real_host_page_size() - 1;

    place->ring_size = virtio_blk_uring_pages(s->layout.ring_bytes);
    place->sqe_size = virtio_blk_uring_pages(s->layout.sqe_bytes);
    place->ring = virtio_blk_uring_ram_find(&s->ram, ring->ring_gpa,
                                            place->ring_size);
    place->sqes = virtio_blk_uring_ram_find(&s->ram, ring->sqes_gpa,
                                            place->sqe_size);
    if ((ring->ring_gpa | ring->sqes_gpa) & mask || !place->ring ||
        !place->sqes) {
        error_setg(errp, "the driver placed ring %u at 0x%" PRIx64 " and its "
                   "SQEs at 0x%" PRIx64 ", which is not page-aligned guest "
                   "RAM; the driver is at fault", ring->index, ring->ring_gpa,
                   ring->sqes_gpa);
        return false;
    }
    return true;
}

static void *in_owner(const VirtIOBlkUringWindow *w, uint64_t gpa)
{
    return (void *)(uintptr_t)(w->addr + (gpa - w->gpa));
}

typedef struct Area {
    uint64_t start, size;
} Area;

static int by_start(const void *a, const void *b)
{
    const Area *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static bool check_overlap(VirtIOBlkUring *s, Error **errp)
{
    size_t ring_size = virtio_blk_uring_pages(s->layout.ring_bytes);
    size_t sqe_size = virtio_blk_uring_pages(s->layout.sqe_bytes);
    g_autofree Area *areas = g_new(Area, 2 * s->num_rings);

    for (unsigned i = 0; i < s->num_rings; i++) {
        areas[2 * i] = (Area) { s->rings[i].ring_gpa, ring_size };
        areas[2 * i + 1] = (Area) { s->rings[i].sqes_gpa, sqe_size };
    }
    qsort(areas, 2 * s->num_rings, sizeof(*areas), by_start);
    for (unsigned i = 1; i < 2 * s->num_rings; i++) {
        if (areas[i].start - areas[i - 1].start < areas[i - 1].size) {
            error_setg(errp, "the driver placed memory of two rings at 0x%"
                       PRIx64 ", where they overlap; the driver is at fault",
                       areas[i].start);
            return false;
        }
    }
    return true;
}

bool virtio_blk_uring_check_rings(VirtIOBlkUring *s, Error **errp)
{
    RingPlace place;

    s->reason = VIRTIO_BLK_URING_REASON_MEMORY;
    if (VIRTIO_DEVICE(s)->dma_as != &address_space_memory) {
        error_setg(errp, "the device's addresses go through an IOMMU, which a "
                   "ring cannot ask; use iommu_platform=off or "
                   "passthrough=off");
        return false;
    }
    if (!virtio_blk_uring_ram_check(&s->ram, s->jail_cgroup, errp)) {
        return false;
    }
    for (unsigned i = 0; i < s->num_rings; i++) {
        VirtIOBlkUringRing *ring = &s->rings[i];

        s->reason = VIRTIO_BLK_URING_REASON_BAD_ADDRESS;
        if (!find_place(s, ring, &place, errp)) {
            return false;
        }
        s->reason = VIRTIO_BLK_URING_REASON_BAD_VECTOR;
        if (ring->vector != VIRTIO_BLK_URING_NO_VECTOR &&
            !s->transport->vector_valid(s->transport_opaque, ring->vector)) {
            error_setg(errp, "the driver named vector %u for ring %u, which "
                       "the device does not have; raise the device's vectors= "
                       "or leave it out", ring->vector, ring->index);
            return false;
        }
    }
    s->reason = VIRTIO_BLK_URING_REASON_BAD_ADDRESS;
    if (!check_overlap(s, errp)) {
        return false;
    }
    s->reason = VIRTIO_BLK_URING_REASON_NONE;
    return true;
}

/*
 * The ring whose SQPOLL thread @ring shares; @ring itself: it has one of its
 * own.
 *
 * A thread goes round its rings.  While it submits for one, nobody polls the
 * disk for another, and a large request takes longer to submit than a small
 * one on a fast disk does to complete; with more than one ring to a thread, the
 * kernel also takes 8 requests at a time instead of a whole SQ.  So the polled
 * rings have threads apart.  Threads that are bound to the same CPU would
 * rather take turns of some ms, and there it is better to share one.
 */
static VirtIOBlkUringRing *thread_owner(VirtIOBlkUring *s,
                                        VirtIOBlkUringRing *ring)
{
    unsigned first = 0;

    if (!s->sqpoll_threads) {
        return ring;
    }
    if (ring->iopoll && s->sqpoll_cpu < 0) {
        first = s->num_rings - s->poll_queues;
    }
    return &s->rings[first + (ring->index - first) % s->sqpoll_threads];
}

static bool add_ring(VirtIOBlkUring *s, VirtIOBlkUringRing *ring,
                     unsigned number, Error **errp)
{
    VirtIOBlkUringRing *owner = thread_owner(s, ring);
    RestrictedRingParams params;
    RingPlace place;

    virtio_blk_uring_ring_params(s, &params);
    if (!find_place(s, ring, &place, errp)) {
        return false;
    }
    params.ring_mem = in_owner(place.ring, ring->ring_gpa);
    params.sqe_mem = in_owner(place.sqes, ring->sqes_gpa);
    params.ring_size = place.ring_size;
    params.sqe_size = place.sqe_size;
    params.iopoll = ring->iopoll;
    if (!ring->poll) {
        /* Discard a stale signal of the previous ring. */
        event_notifier_test_and_clear(&ring->notifier);
        params.event_fd = event_notifier_get_fd(&ring->notifier);
    }
    if (owner != ring) {
        params.attach_fd = owner->number;
    }
    virtio_blk_uring_note_memory(s, place.ring, ring->ring_gpa,
                                 place.ring_size);
    virtio_blk_uring_note_memory(s, place.sqes, ring->sqes_gpa,
                                 place.sqe_size);
    ring_group_add(s->group, &params, (char *)place.ring->host +
                   (ring->ring_gpa - place.ring->gpa));
    ring->number = number;
    return true;
}

/*
 * Those that bring a thread first: a jail has to know early how many of its
 * rings the doorbell has to wake.
 */
static bool add_all_rings(VirtIOBlkUring *s, Error **errp)
{
    unsigned number = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < s->num_rings; i++) {
            VirtIOBlkUringRing *ring = &s->rings[i];
            bool first = thread_owner(s, ring) == ring;

            if (first == (pass == 0) && !add_ring(s, ring, number++, errp)) {
                return false;
            }
        }
    }
    return true;
}

static void update_counters(VirtIOBlkUringRing *ring)
{
    RestrictedRingCounters now;

    ring_group_get_counters(ring->group, ring->number, &now);
    ring->shown = now;
    if (now.from_kernel) {
        /* A guest's word is shown, but no part of the sum while this runs. */
        ring->submitted += (uint32_t)(now.submitted - ring->last.submitted);
        ring->completed += (uint32_t)(now.completed - ring->last.completed);
        ring->last = now;
    }
}

void virtio_blk_uring_update_counters(VirtIOBlkUring *s)
{
    bool asked = false;

    for (unsigned i = 0; i < s->num_rings; i++) {
        VirtIOBlkUringRing *ring = &s->rings[i];

        if (!ring->group) {
            continue;
        }
        if (!asked) {
            ring_group_read_counters(ring->group);
            asked = true;
        }
        update_counters(ring);
    }
}

RestrictedRingCounters virtio_blk_uring_uncounted(VirtIOBlkUringRing *ring)
{
    int32_t submitted = ring->shown.submitted - ring->last.submitted;
    int32_t completed = ring->shown.completed - ring->last.completed;

    if (!ring->group) {
        return (RestrictedRingCounters) { };
    }
    return (RestrictedRingCounters) {
        .submitted = MAX(submitted, 0),
        .completed = MAX(completed, 0),
    };
}

uint32_t virtio_blk_uring_in_flight(VirtIOBlkUringRing *ring)
{
    int32_t n = ring->shown.submitted - ring->shown.completed;

    /* The kernel shows a batch as submitted when some of it has completed. */
    return ring->group ? MAX(n, 0) : 0;
}

void virtio_blk_uring_detach_rings(VirtIOBlkUring *s)
{
    virtio_blk_uring_update_counters(s);
    for (unsigned i = 0; i < s->num_rings; i++) {
        VirtIOBlkUringRing *ring = &s->rings[i];
        RestrictedRingCounters uncounted;

        /* The kernel says nothing of a killed jail's, and will not any more. */
        uncounted = virtio_blk_uring_uncounted(ring);
        ring->submitted += uncounted.submitted;
        ring->completed += uncounted.completed;
        WITH_QEMU_LOCK_GUARD(&ring->lock) {
            ring->group = NULL;
        }
        if (ring->attached) {
            detach_interrupt(ring);
        }
    }
}

void virtio_blk_uring_free_rings(VirtIOBlkUring *s, bool drained)
{
    virtio_blk_uring_detach_rings(s);
    if (s->group && ring_group_cancel(s->group)) {
        virtio_blk_uring_retire(s, s->group, drained || !runstate_is_running());
    }
    s->group = NULL;
}

/* The group, without rings yet */
static bool make_group(VirtIOBlkUring *s, Error **errp)
{
    ERRP_GUARD();
    BlockBackend *blk = VIRTIO_BLK(s)->blk;
    RingJailConfig jail = virtio_blk_uring_jail_config(s);
    g_autofree RingJailRegion *regions = NULL;
    PassthroughFile *file;

    s->reason = VIRTIO_BLK_URING_REASON_BACKEND;
    if (!passthrough_file_check(blk, errp)) {
        return false;
    }
    file = passthrough_file_open(blk, blk_is_writable(blk), errp);
    if (!file) {
        return false;
    }
    if (s->poll_queues && !s->iopoll_error &&
        !passthrough_file_is_direct(file)) {
        error_setg(errp, "the drive goes through the host's page cache now, "
                   "which has no disk to poll, and the guest was told that "
                   "there is one; use cache.direct=on again (blockdev-reopen) "
                   "or start with iopoll=off");
        passthrough_file_close(file);
        return false;
    }
    if (!virtio_blk_uring_probe_again(s, file, errp)) {
        passthrough_file_close(file);
        return false;
    }
    if (!passthrough_file_reserve(file, virtio_blk_uring_wanted, s, errp)) {
        /* No fault of anything, and soon over. */
        g_free(s->obstacle);
        s->obstacle = g_strdup(error_get_pretty(*errp));
        passthrough_file_close(file);
        return false;
    }
    s->offset_align = MAX(VIRTIO_BLK(s)->conf.conf.logical_block_size,
                          passthrough_file_offset_align(file));

    s->reason = VIRTIO_BLK_URING_REASON_HOST;
    if (s->isolation == VIRTIO_BLK_URING_ISOLATION_PROCESS) {
        jail.regions = regions = virtio_blk_uring_ram_regions(&s->ram);
        jail.num_regions = s->ram.windows->len;
        s->group = ring_group_new(file, &jail, errp);
    } else {
        s->group = ring_group_new(file, NULL, errp);
    }
    if (!s->group) {
        passthrough_file_close(file);
    }
    return s->group;
}

bool virtio_blk_uring_start_rings(VirtIOBlkUring *s, RingGroupStarted *started,
                                  RingGroupEnded *ended, Error **errp)
{
    if (!make_group(s, errp)) {
        return false;
    }
    s->reason = VIRTIO_BLK_URING_REASON_BAD_ADDRESS;
    if (!add_all_rings(s, errp)) {
        return false;
    }
    s->reason = VIRTIO_BLK_URING_REASON_HOST;
    return ring_group_start_async(s->group, started, ended, s, errp);
}

bool virtio_blk_uring_attach_rings(VirtIOBlkUring *s, Error **errp)
{
    s->reason = VIRTIO_BLK_URING_REASON_HOST;
    if (memcmp(ring_group_layout(s->group, 0), &s->layout,
               sizeof(s->layout))) {
        /* The driver has been told another one. */
        error_setg(errp, "the kernel laid the rings out unlike the one tried "
                   "at start; report this as a bug and use passthrough=off");
        return false;
    }
    for (unsigned i = 0; i < s->num_rings; i++) {
        if (!s->rings[i].poll && !attach_interrupt(&s->rings[i], errp)) {
            return false;
        }
    }
    for (unsigned i = 0; i < s->num_rings; i++) {
        VirtIOBlkUringRing *ring = &s->rings[i];

        ring->last = (RestrictedRingCounters) {};
        WITH_QEMU_LOCK_GUARD(&ring->lock) {
            ring->group = s->group;
        }
    }
    s->reason = VIRTIO_BLK_URING_REASON_NONE;
    return true;
}
