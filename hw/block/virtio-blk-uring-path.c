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
#include "hw/virtio/virtio.h"
#include "system/runstate.h"
#include "virtio-blk-uring-internal.h"
#include "trace.h"

#define SUSPEND_TIMEOUT_MS 10000
#define WARN_INTERVAL_MS 10000

const char *virtio_blk_uring_state_name(uint32_t state)
{
    return VirtioBlkUringPathState_str(virtio_blk_uring_qapi_state(state));
}

const char *virtio_blk_uring_reason_name(uint32_t reason)
{
    return VirtioBlkUringPathReason_str(virtio_blk_uring_qapi_reason(reason));
}

DeviceState *virtio_blk_uring_device(VirtIOBlkUring *s)
{
    BusState *bus = qdev_get_parent_bus(DEVICE(s));

    /* Not so for one that was plugged into a transport by its user. */
    return bus && OBJECT(s)->parent == OBJECT(bus->parent) ? bus->parent :
                                                             DEVICE(s);
}

const char *virtio_blk_uring_name(VirtIOBlkUring *s)
{
    DeviceState *dev = virtio_blk_uring_device(s);

    /* While it is being realized it has no path yet. */
    return dev->id ?: dev->canonical_path ?: object_get_typename(OBJECT(dev));
}

static void set_state(VirtIOBlkUring *s, uint32_t state, uint32_t reason)
{
    trace_virtio_blk_uring_state(s, virtio_blk_uring_state_name(s->state),
                                 virtio_blk_uring_state_name(state),
                                 virtio_blk_uring_reason_name(reason));
    s->state = state;
    s->reason = reason;
    virtio_blk_uring_event(s);
}

void virtio_blk_uring_change_reason(VirtIOBlkUring *s, uint32_t reason)
{
    if (s->passthrough && s->state == VIRTIO_BLK_URING_VIRTQUEUE &&
        s->reason != reason) {
        set_state(s, s->state, reason);
    }
}

bool virtio_blk_uring_has_rings(VirtIOBlkUring *s)
{
    return s->state == VIRTIO_BLK_URING_RING ||
           s->state == VIRTIO_BLK_URING_SUSPENDING;
}

bool virtio_blk_uring_activatable(VirtIOBlkUring *s)
{
    return s->passthrough && s->probed && !s->obstacle && !s->backoff.cooling &&
           !s->retired.group && s->state == VIRTIO_BLK_URING_VIRTQUEUE &&
           virtio_vdev_has_feature(VIRTIO_DEVICE(s), VIRTIO_BLK_F_URING) &&
           s->transport->dma_enabled(s->transport_opaque) &&
           runstate_is_running();
}

static void free_rings(VirtIOBlkUring *s)
{
    bool drained = s->ending && s->state_at_end == VIRTIO_BLK_URING_VIRTQUEUE;

    timer_del(s->suspend_timer);
    qemu_bh_cancel(s->start_bh);
    virtio_blk_uring_free_rings(s, drained);
    /* What it was to say was of these rings. */
    qemu_bh_cancel(s->lost_bh);
    s->ending = false;
}

/* STARTING -> VIRTQUEUE; the driver does not know these rings yet. */
static void cancel_start(VirtIOBlkUring *s, uint32_t reason)
{
    free_rings(s);
    virtio_blk_uring_renew_memory(s);
    set_state(s, VIRTIO_BLK_URING_VIRTQUEUE, reason);
}

static void rings_died(VirtIOBlkUring *s)
{
    warn_report("virtio-blk-uring '%s': %s, so requests go over the virtqueues "
                "until there are new rings", virtio_blk_uring_name(s),
                s->isolation == VIRTIO_BLK_URING_ISOLATION_PROCESS ?
                "the jail of its rings was killed (by hand, or by the memory "
                "limit of its cgroup; see the host's log)" :
                "the thread of its rings is gone");
    virtio_blk_uring_backoff_failure(s, true);
    virtio_blk_uring_kill(s, VIRTIO_BLK_URING_REASON_DIED);
}

/* A doorbell found no SQPOLL thread. */
static void bury_lost(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    if (virtio_blk_uring_has_rings(s)) {
        rings_died(s);
    }
}

void virtio_blk_uring_doorbell(VirtIOBlkUring *s, unsigned index)
{
    VirtIOBlkUringRing *ring = &s->rings[index];

    QEMU_LOCK_GUARD(&ring->lock);
    if (ring->group) {
        ring->doorbells++;
        if (ring_group_doorbell(ring->group, ring->number) == -EOWNERDEAD) {
            qemu_bh_schedule(s->lost_bh);
        }
    }
}

/* The rings came to an end: as was wanted, or by somebody's force. */
static void rings_ended(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    if (!s->ending) {
        rings_died(s);
    } else if (s->state_at_end == VIRTIO_BLK_URING_DEAD) {
        virtio_blk_uring_kill(s, s->reason_at_end);
    } else {
        free_rings(s);
        virtio_blk_uring_renew_memory(s);
        set_state(s, VIRTIO_BLK_URING_VIRTQUEUE, s->reason_at_end);
        /* Also for a driver that waits for nothing but this. */
        virtio_notify_config(VIRTIO_DEVICE(s));
    }
}

/*
 * Has the rings end without holding up QEMU for it, as far as possible: a guest
 * decides how much is in flight, and the storage how long that takes.
 */
static void end_rings(VirtIOBlkUring *s, uint32_t state, uint32_t reason)
{
    if (s->ending) {
        return;
    }
    s->ending = true;
    s->state_at_end = state;
    s->reason_at_end = reason;
    if (ring_group_ends_by_itself(s->group)) {
        timer_del(s->suspend_timer);
        virtio_blk_uring_detach_rings(s);
        ring_group_end(s->group);
    } else {
        rings_ended(s);
    }
}

/* VIRTQUEUE, STARTING -> VIRTQUEUE with s->reason; frees @err. */
static void activation_failed(VirtIOBlkUring *s, Error *err)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    uint32_t reason = s->reason;

    free_rings(s);
    virtio_blk_uring_renew_memory(s);
    g_free(s->error);
    s->error = g_strdup(error_get_pretty(err));
    set_state(s, VIRTIO_BLK_URING_VIRTQUEUE, reason);
    /* A guest may ask as often as it likes, but not fill our log with it. */
    if (!s->obstacle &&
        (!s->warned_ms || now - s->warned_ms > WARN_INTERVAL_MS)) {
        s->warned_ms = now;
        warn_report("virtio-blk-uring '%s' goes on over the virtqueues: %s",
                    virtio_blk_uring_name(s), s->error);
    }
    error_free(err);
}

static void start_failed(VirtIOBlkUring *s, Error *err)
{
    activation_failed(s, err);
    virtio_blk_uring_backoff_failure(s, false);
    virtio_notify_config(VIRTIO_DEVICE(s));
}

static void rings_started(void *opaque, Error *err)
{
    VirtIOBlkUring *s = opaque;

    assert(s->state == VIRTIO_BLK_URING_STARTING);
    s->reason = VIRTIO_BLK_URING_REASON_HOST;
    if (err || !virtio_blk_uring_attach_rings(s, &err)) {
        start_failed(s, err);
        return;
    }
    g_clear_pointer(&s->error, g_free);
    g_array_set_size(s->windows, 0);
    g_array_append_vals(s->windows, s->ram.windows->data, s->ram.windows->len);
    s->activations++;
    virtio_blk_uring_backoff_started(s);
    set_state(s, VIRTIO_BLK_URING_RING, VIRTIO_BLK_URING_REASON_NONE);
    virtio_notify_config(VIRTIO_DEVICE(s));
}

/*
 * In the main loop, whose thread's cgroup and CPUs the rings' process and
 * threads are to have, and not those of a virtual CPU.
 */
static void start_rings(void *opaque)
{
    VirtIOBlkUring *s = opaque;
    Error *err = NULL;

    assert(s->state == VIRTIO_BLK_URING_STARTING);
    if (virtio_blk_uring_obstructed(s)) {
        /* Usually it has cancelled the start already. */
        if (s->state == VIRTIO_BLK_URING_STARTING) {
            cancel_start(s, VIRTIO_BLK_URING_REASON_BACKEND);
        }
        return;
    }
    if (!virtio_blk_uring_start_rings(s, rings_started, rings_ended, &err)) {
        start_failed(s, err);
    }
}

void virtio_blk_uring_activate(VirtIOBlkUring *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    Error *err = NULL;

    if (!(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) ||
        !virtio_blk_uring_activatable(s) || virtio_blk_uring_obstructed(s)) {
        trace_virtio_blk_uring_not_activatable(s, vdev->status);
        return;
    }
    /* All that the guest has named, before anything is started for it. */
    if (!virtio_blk_uring_check_rings(s, &err)) {
        activation_failed(s, err);
        return;
    }
    set_state(s, VIRTIO_BLK_URING_STARTING, VIRTIO_BLK_URING_REASON_NONE);
    qemu_bh_schedule(s->start_bh);
}

/* Tells a guest that does not answer from storage that does not. */
static uint64_t in_flight(VirtIOBlkUring *s)
{
    uint64_t n = 0;

    virtio_blk_uring_update_counters(s);
    for (unsigned i = 0; i < s->num_rings; i++) {
        VirtIOBlkUringRing *ring = &s->rings[i];

        /* The guest's own word would tell nothing about the host. */
        if (ring->shown.from_kernel) {
            n += virtio_blk_uring_in_flight(ring);
        }
    }
    return n;
}

static void suspend_timeout(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    warn_report("virtio-blk-uring '%s': the guest's driver did not drain its "
                "rings within %d s (the host has %" PRIu64 " requests in "
                "hand), so they are taken away by force",
                virtio_blk_uring_name(s), SUSPEND_TIMEOUT_MS / 1000,
                in_flight(s));
    end_rings(s, VIRTIO_BLK_URING_DEAD, s->reason);
}

void virtio_blk_uring_suspend(VirtIOBlkUring *s, uint32_t reason)
{
    assert(s->state == VIRTIO_BLK_URING_RING);
    set_state(s, VIRTIO_BLK_URING_SUSPENDING, reason);
    if (!s->ending) {
        timer_mod(s->suspend_timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                                    SUSPEND_TIMEOUT_MS);
    }
    virtio_notify_config(VIRTIO_DEVICE(s));
}

void virtio_blk_uring_suspended(VirtIOBlkUring *s)
{
    end_rings(s, VIRTIO_BLK_URING_VIRTQUEUE, s->reason);
}

void virtio_blk_uring_give_up(VirtIOBlkUring *s)
{
    virtio_blk_uring_backoff_guest(s);
    if (s->state == VIRTIO_BLK_URING_STARTING) {
        cancel_start(s, VIRTIO_BLK_URING_REASON_DRIVER);
    } else {
        end_rings(s, VIRTIO_BLK_URING_DEAD, VIRTIO_BLK_URING_REASON_DRIVER);
    }
}

void virtio_blk_uring_revoke(VirtIOBlkUring *s, uint32_t reason)
{
    if (s->state == VIRTIO_BLK_URING_STARTING) {
        cancel_start(s, reason);
        virtio_notify_config(VIRTIO_DEVICE(s));
    } else if (virtio_blk_uring_has_rings(s)) {
        virtio_blk_uring_kill(s, reason);
    }
}

void virtio_blk_uring_driver_gone(VirtIOBlkUring *s)
{
    if (s->state == VIRTIO_BLK_URING_STARTING) {
        virtio_blk_uring_backoff_guest(s);
        cancel_start(s, VIRTIO_BLK_URING_REASON_DRIVER);
    } else if (virtio_blk_uring_has_rings(s)) {
        virtio_blk_uring_backoff_guest(s);
        virtio_blk_uring_kill_silently(s, VIRTIO_BLK_URING_REASON_DRIVER);
    }
}

void virtio_blk_uring_kill_silently(VirtIOBlkUring *s, uint32_t reason)
{
    assert(virtio_blk_uring_has_rings(s));
    free_rings(s);
    set_state(s, VIRTIO_BLK_URING_DEAD, reason);
}

void virtio_blk_uring_kill(VirtIOBlkUring *s, uint32_t reason)
{
    virtio_blk_uring_kill_silently(s, reason);
    virtio_notify_config(VIRTIO_DEVICE(s));
}

void virtio_blk_uring_buried(VirtIOBlkUring *s)
{
    virtio_blk_uring_renew_memory(s);
    set_state(s, VIRTIO_BLK_URING_VIRTQUEUE, s->reason);
    if (virtio_blk_uring_activatable(s)) {
        virtio_notify_config(VIRTIO_DEVICE(s));
    }
}

void virtio_blk_uring_path_reset(VirtIOBlkUring *s)
{
    virtio_blk_uring_driver_gone(s);
    virtio_blk_uring_renew_memory(s);
    set_state(s, VIRTIO_BLK_URING_VIRTQUEUE, VIRTIO_BLK_URING_REASON_NONE);
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
    virtio_blk_uring_event_init(s);
    s->windows = g_array_new(false, false, sizeof(VirtIOBlkUringWindow));
    s->suspend_timer = timer_new_ms(QEMU_CLOCK_REALTIME, suspend_timeout, s);
    s->lost_bh = aio_bh_new(qemu_get_aio_context(), bury_lost, s);
    /* A context that no nested loop of a virtual CPU's thread polls */
    s->start_bh = aio_bh_new(iohandler_get_aio_context(), start_rings, s);
    virtio_blk_uring_retired_init(s);
    virtio_blk_uring_backoff_init(s);
}

void virtio_blk_uring_path_cleanup(VirtIOBlkUring *s)
{
    virtio_blk_uring_path_reset(s);
    virtio_blk_uring_event_cleanup(s);
    qemu_bh_delete(s->lost_bh);
    qemu_bh_delete(s->start_bh);
    timer_free(s->suspend_timer);
    virtio_blk_uring_retired_cleanup(s);
    virtio_blk_uring_backoff_cleanup(s);
    g_array_free(s->windows, true);
}
