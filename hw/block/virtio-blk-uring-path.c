/*
 * virtio-blk-uring: the path that requests take, and its states
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "hw/virtio/virtio.h"
#include "migration/blocker.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "virtio-blk-uring-internal.h"
#include "trace.h"

#define SUSPEND_TIMEOUT_MS 10000
#define WARN_INTERVAL_MS 10000

const char *virtio_blk_uring_state_name(uint32_t state)
{
    static const char *const names[] = {
        [VIRTIO_BLK_URING_VIRTQUEUE] = "virtqueue",
        [VIRTIO_BLK_URING_STARTING] = "starting",
        [VIRTIO_BLK_URING_RING] = "ring",
        [VIRTIO_BLK_URING_SUSPENDING] = "suspending",
        [VIRTIO_BLK_URING_DEAD] = "dead",
    };

    return names[state];
}

const char *virtio_blk_uring_reason_name(uint32_t reason)
{
    static const char *const names[] = {
        [VIRTIO_BLK_URING_REASON_NONE] = "none",
        [VIRTIO_BLK_URING_REASON_ADMIN] = "administrator",
        [VIRTIO_BLK_URING_REASON_STOPPED] = "machine-stopped",
        [VIRTIO_BLK_URING_REASON_BAD_ADDRESS] = "bad-address",
        [VIRTIO_BLK_URING_REASON_BAD_VECTOR] = "bad-vector",
        [VIRTIO_BLK_URING_REASON_BACKEND] = "backend",
        [VIRTIO_BLK_URING_REASON_HOST] = "host",
        [VIRTIO_BLK_URING_REASON_DIED] = "died",
        [VIRTIO_BLK_URING_REASON_DRIVER] = "driver",
        [VIRTIO_BLK_URING_REASON_MEMORY] = "memory",
    };

    return names[reason];
}

static const char *device_name(VirtIOBlkUring *s)
{
    DeviceState *transport = qdev_get_parent_bus(DEVICE(s))->parent;

    return transport->id ?: transport->canonical_path;
}

static void set_state(VirtIOBlkUring *s, uint32_t state, uint32_t reason)
{
    trace_virtio_blk_uring_state(s, virtio_blk_uring_state_name(s->state),
                                 virtio_blk_uring_state_name(state),
                                 virtio_blk_uring_reason_name(reason));
    s->state = state;
    s->reason = reason;
}

bool virtio_blk_uring_activatable(VirtIOBlkUring *s)
{
    return s->passthrough && s->state == VIRTIO_BLK_URING_VIRTQUEUE &&
           virtio_vdev_has_feature(VIRTIO_DEVICE(s), VIRTIO_BLK_F_URING) &&
           runstate_is_running();
}

/* The SQPOLL thread of a ring is no more. */
static void bury_lost(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    if (s->state == VIRTIO_BLK_URING_RING ||
        s->state == VIRTIO_BLK_URING_SUSPENDING) {
        virtio_blk_uring_kill(s, VIRTIO_BLK_URING_REASON_DIED);
    }
    object_unref(OBJECT(s));
}

void virtio_blk_uring_doorbell(VirtIOBlkUring *s, unsigned index)
{
    VirtIOBlkUringRing *ring = &s->rings[index];

    QEMU_LOCK_GUARD(&ring->lock);
    if (ring->ring) {
        ring->doorbells++;
        /* Rings that are not enabled yet have an error of their own. */
        if (restricted_ring_wakeup(ring->ring) == -EOWNERDEAD) {
            object_ref(OBJECT(s));
            aio_bh_schedule_oneshot(qemu_get_aio_context(), bury_lost, s);
        }
    }
}

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

    /* What a former ring signalled last is nothing to this one. */
    event_notifier_test_and_clear(&ring->notifier);
    if (ring->vector == VIRTIO_BLK_URING_NO_VECTOR) {
        event_notifier_set_handler(&ring->notifier, notify_by_config);
        return true;
    }
    ring->vector_attached = s->transport->vector_attach(
        s->transport_opaque, ring->index, ring->vector, &ring->notifier,
        &ring->interrupts);
    if (!ring->vector_attached) {
        error_setg(errp, "no interrupt route is left for ring %u; use fewer "
                   "queues", ring->index);
    }
    return ring->vector_attached;
}

static void detach_interrupt(VirtIOBlkUringRing *ring)
{
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

/* Where the guest's ring memory lies, or false with s->reason set. */
static bool find_ring_memory(VirtIOBlkUring *s, VirtIOBlkUringRing *ring,
                             RestrictedRingParams *params, Error **errp)
{
    uint64_t mask = qemu_real_host_page_size() - 1;

    params->ring_size = virtio_blk_uring_pages(s->layout.ring_bytes);
    params->sqe_size = virtio_blk_uring_pages(s->layout.sqe_bytes);
    params->ring_mem = virtio_blk_uring_ram_find(&s->ram, ring->ring_gpa,
                                                 params->ring_size);
    params->sqe_mem = virtio_blk_uring_ram_find(&s->ram, ring->sqes_gpa,
                                                params->sqe_size);
    if ((ring->ring_gpa | ring->sqes_gpa) & mask ||
        !params->ring_mem || !params->sqe_mem) {
        error_setg(errp, "the driver placed ring %u at 0x%" PRIx64 " and its "
                   "SQEs at 0x%" PRIx64 ", which is not page-aligned guest "
                   "RAM; the driver is at fault", ring->index, ring->ring_gpa,
                   ring->sqes_gpa);
        s->reason = VIRTIO_BLK_URING_REASON_BAD_ADDRESS;
        return false;
    }
    return true;
}

static bool start_ring(VirtIOBlkUring *s, VirtIOBlkUringRing *ring,
                       Error **errp)
{
    RestrictedRingParams params;
    RestrictedRing *new;

    virtio_blk_uring_ring_params(s, &params);
    if (!find_ring_memory(s, ring, &params, errp)) {
        return false;
    }
    if (ring->vector != VIRTIO_BLK_URING_NO_VECTOR &&
        !s->transport->vector_valid(s->transport_opaque, ring->vector)) {
        error_setg(errp, "the driver named vector %u for ring %u, which the "
                   "device does not have; raise the device's vectors= or leave "
                   "it out", ring->vector, ring->index);
        s->reason = VIRTIO_BLK_URING_REASON_BAD_VECTOR;
        return false;
    }

    params.file_fd = passthrough_file_fd(s->file);
    params.readonly = passthrough_file_is_readonly(s->file);
    params.event_fd = ring->poll ? -1 :
                      event_notifier_get_fd(&ring->notifier);
    if (s->sqpoll_threads && ring->index >= s->sqpoll_threads) {
        params.attach_fd = restricted_ring_fd(
            s->rings[ring->index % s->sqpoll_threads].ring);
    }
    s->reason = VIRTIO_BLK_URING_REASON_HOST;
    if (!ring->poll && !attach_interrupt(ring, errp)) {
        return false;
    }
    new = restricted_ring_new(&params, errp);
    if (!new) {
        goto fail;
    }
    if (memcmp(restricted_ring_layout(new), &s->layout, sizeof(s->layout))) {
        /* The driver has been told another one. */
        error_setg(errp, "the kernel laid ring %u out unlike the one tried at "
                   "start; report this as a bug and use passthrough=off",
                   ring->index);
        restricted_ring_free(new);
        goto fail;
    }
    ring->last = (RestrictedRingCounters) {};
    WITH_QEMU_LOCK_GUARD(&ring->lock) {
        ring->ring = new;
    }
    return true;

fail:
    if (!ring->poll) {
        detach_interrupt(ring);
    }
    return false;
}

void virtio_blk_uring_update_counters(VirtIOBlkUringRing *ring)
{
    RestrictedRingCounters now;

    if (!ring->ring) {
        return;
    }
    restricted_ring_get_counters(ring->ring, &now);
    ring->submitted += (uint32_t)(now.submitted - ring->last.submitted);
    ring->completed += (uint32_t)(now.completed - ring->last.completed);
    ring->last = now;
}

/* The opposite of start_ring(), save that the kernel takes its time. */
static void stop_ring(VirtIOBlkUringRing *ring)
{
    RestrictedRing *old;

    virtio_blk_uring_update_counters(ring);
    WITH_QEMU_LOCK_GUARD(&ring->lock) {
        old = ring->ring;
        ring->ring = NULL;
    }
    if (!old) {
        return;
    }
    restricted_ring_free(old);
    if (!ring->poll) {
        detach_interrupt(ring);
    }
}

static bool block_migration(VirtIOBlkUring *s, Error **errp)
{
    error_setg(&s->migration_blocker, "the disk of '%s' is passed to the guest "
               "as an io_uring, which migration cannot follow; set the "
               "device's property passthrough to off (qom-set) first",
               device_name(s));
    return migrate_add_blocker_internal(&s->migration_blocker, errp) == 0;
}

/* Takes away all rings; returns when the kernel is done with them. */
static void stop_rings(VirtIOBlkUring *s)
{
    timer_del(s->suspend_timer);
    for (unsigned i = 0; i < s->num_rings; i++) {
        stop_ring(&s->rings[i]);
    }
    if (s->file) {
        passthrough_file_wait_unused(g_steal_pointer(&s->file));
    }
}

/* The end of all that a ring was: requests take the virtqueues again. */
static void enter_virtqueue(VirtIOBlkUring *s, uint32_t reason)
{
    migrate_del_blocker(&s->migration_blocker);
    set_state(s, VIRTIO_BLK_URING_VIRTQUEUE, reason);
}

/* s->reason is set in any case. */
static bool start_rings(VirtIOBlkUring *s, Error **errp)
{
    VirtIOBlock *vblk = VIRTIO_BLK(s);
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    s->reason = VIRTIO_BLK_URING_REASON_MEMORY;
    if (vdev->dma_as != &address_space_memory) {
        error_setg(errp, "the device's addresses go through an IOMMU, which a "
                   "ring cannot ask; use iommu_platform=off or "
                   "passthrough=off");
        return false;
    }
    if (s->ram.windows->len > VIRTIO_BLK_URING_MAX_WINDOWS) {
        error_setg(errp, "guest memory is in %u pieces, and a driver is told "
                   "%u at most; use fewer memory backends or passthrough=off",
                   s->ram.windows->len, VIRTIO_BLK_URING_MAX_WINDOWS);
        return false;
    }

    s->reason = VIRTIO_BLK_URING_REASON_BACKEND;
    if (!passthrough_file_check(vblk->blk, errp) ||
        !block_migration(s, errp)) {
        return false;
    }
    s->file = passthrough_file_open(vblk->blk, blk_is_writable(vblk->blk),
                                    errp);
    if (!s->file) {
        return false;
    }
    passthrough_file_reserve(s->file, device_name(s));
    for (unsigned i = 0; i < s->num_rings; i++) {
        if (!start_ring(s, &s->rings[i], errp)) {
            return false;
        }
    }
    /* Only now may anything run: all is there, or nothing has happened. */
    s->reason = VIRTIO_BLK_URING_REASON_HOST;
    for (unsigned i = 0; i < s->num_rings; i++) {
        if (!restricted_ring_enable(s->rings[i].ring, errp)) {
            return false;
        }
    }
    s->reason = VIRTIO_BLK_URING_REASON_NONE;
    return true;
}

void virtio_blk_uring_activate(VirtIOBlkUring *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    Error *err = NULL;
    uint32_t reason;

    if (!(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) ||
        !virtio_blk_uring_activatable(s)) {
        trace_virtio_blk_uring_not_activatable(s, vdev->status);
        return;
    }

    if (start_rings(s, &err)) {
        g_clear_pointer(&s->error, g_free);
        g_array_set_size(s->windows, 0);
        g_array_append_vals(s->windows, s->ram.windows->data,
                            s->ram.windows->len);
        s->activations++;
        set_state(s, VIRTIO_BLK_URING_RING, VIRTIO_BLK_URING_REASON_NONE);
        return;
    }

    reason = s->reason;
    stop_rings(s);
    enter_virtqueue(s, reason);
    g_free(s->error);
    s->error = g_strdup(error_get_pretty(err));
    /* A guest may ask as often as it likes, but not fill our log with it. */
    if (!s->warned_ms || now - s->warned_ms > WARN_INTERVAL_MS) {
        s->warned_ms = now;
        warn_report("virtio-blk-uring '%s' goes on over the virtqueues: %s",
                    device_name(s), s->error);
    }
    error_free(err);
}

static void suspend_timeout(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    warn_report("virtio-blk-uring '%s': the guest's driver did not drain its "
                "rings within %d s, so they are taken away by force",
                device_name(s), SUSPEND_TIMEOUT_MS / 1000);
    virtio_blk_uring_kill(s, s->reason);
}

void virtio_blk_uring_suspend(VirtIOBlkUring *s, uint32_t reason)
{
    assert(s->state == VIRTIO_BLK_URING_RING);
    set_state(s, VIRTIO_BLK_URING_SUSPENDING, reason);
    timer_mod(s->suspend_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + SUSPEND_TIMEOUT_MS);
    virtio_notify_config(VIRTIO_DEVICE(s));
}

void virtio_blk_uring_suspended(VirtIOBlkUring *s)
{
    stop_rings(s);
    enter_virtqueue(s, s->reason);
    if (virtio_blk_uring_activatable(s)) {
        virtio_notify_config(VIRTIO_DEVICE(s));
    }
}

void virtio_blk_uring_kill_silently(VirtIOBlkUring *s, uint32_t reason)
{
    assert(s->state == VIRTIO_BLK_URING_RING ||
           s->state == VIRTIO_BLK_URING_SUSPENDING);
    stop_rings(s);
    /*
     * A machine that migrates now arrives in VIRTQUEUE, which tells the driver
     * the same as DEAD.
     */
    migrate_del_blocker(&s->migration_blocker);
    set_state(s, VIRTIO_BLK_URING_DEAD, reason);
}

void virtio_blk_uring_kill(VirtIOBlkUring *s, uint32_t reason)
{
    virtio_blk_uring_kill_silently(s, reason);
    virtio_notify_config(VIRTIO_DEVICE(s));
}

void virtio_blk_uring_buried(VirtIOBlkUring *s)
{
    enter_virtqueue(s, s->reason);
    if (virtio_blk_uring_activatable(s)) {
        virtio_notify_config(VIRTIO_DEVICE(s));
    }
}

void virtio_blk_uring_path_reset(VirtIOBlkUring *s)
{
    stop_rings(s);
    enter_virtqueue(s, VIRTIO_BLK_URING_REASON_NONE);
    s->window_select = 0;
    s->queue_select = 0;
    for (unsigned i = 0; i < s->num_rings; i++) {
        s->rings[i].ring_gpa = 0;
        s->rings[i].sqes_gpa = 0;
        s->rings[i].vector = VIRTIO_BLK_URING_NO_VECTOR;
    }
}

void virtio_blk_uring_path_init(VirtIOBlkUring *s)
{
    s->windows = g_array_new(false, false, sizeof(VirtIOBlkUringWindow));
    s->suspend_timer = timer_new_ms(QEMU_CLOCK_REALTIME, suspend_timeout, s);
}

void virtio_blk_uring_path_cleanup(VirtIOBlkUring *s)
{
    virtio_blk_uring_path_reset(s);
    timer_free(s->suspend_timer);
    g_array_free(s->windows, true);
}
