/*
 * virtio-blk-uring: telling the administrator of each change of the path
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest decides how often its path changes, but is not to fill QMP, and
 * whoever listens there is not to be left with what was true some time ago.
 * So the events of a device come out of an allowance.  When that is used up,
 * changes are counted, and the next event covers them all.
 */
#include "qemu/osdep.h"
#include "qapi/qapi-events-virtio-blk-uring.h"
#include "qemu/timer.h"
#include "system/qtest.h"
#include "virtio-blk-uring-internal.h"

#define BURST 16
#define REFILL_MS 250

/* A test has the time in its hands. */
static QEMUClockType event_clock(void)
{
    return qtest_enabled() ? QEMU_CLOCK_VIRTUAL : QEMU_CLOCK_REALTIME;
}

static void refill(VirtIOBlkUringEvents *ev)
{
    int64_t now = qemu_clock_get_ms(event_clock());
    uint64_t periods = (now - ev->refilled_ms) / REFILL_MS;

    ev->allowance = MIN(ev->allowance + periods, BURST);
    ev->refilled_ms = ev->allowance == BURST ? now :
                      ev->refilled_ms + periods * REFILL_MS;
}

static void tell(VirtIOBlkUring *s)
{
    VirtIOBlkUringEvents *ev = &s->events;
    DeviceState *dev = virtio_blk_uring_device(s);

    qapi_event_send_virtio_blk_uring_path_change(
        dev->id, dev->canonical_path,
        virtio_blk_uring_qapi_state(ev->told_state),
        virtio_blk_uring_qapi_reason(ev->told_reason),
        virtio_blk_uring_qapi_state(s->state),
        virtio_blk_uring_qapi_reason(s->reason),
        s->reason == VIRTIO_BLK_URING_REASON_NONE ? s->obstacle :
        virtio_blk_uring_sentence(s), ev->untold - 1);
    ev->told_state = s->state;
    ev->told_reason = s->reason;
    ev->untold = 0;
}

static void allowed_again(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    if (s->state == VIRTIO_BLK_URING_STARTING) {
        timer_mod(s->events.timer, qemu_clock_get_ms(event_clock()) +
                                   REFILL_MS);
        return;
    }
    refill(&s->events);
    s->events.allowance--;
    tell(s);
}

void virtio_blk_uring_event(VirtIOBlkUring *s)
{
    VirtIOBlkUringEvents *ev = &s->events;

    if (s->state == VIRTIO_BLK_URING_STARTING ||
        (s->state == ev->seen_state && s->reason == ev->seen_reason)) {
        /* What becomes of a start is told when it is known. */
        return;
    }
    ev->seen_state = s->state;
    ev->seen_reason = s->reason;
    ev->untold++;
    if (timer_pending(ev->timer)) {
        return;
    }
    refill(ev);
    if (ev->allowance) {
        ev->allowance--;
        tell(s);
    } else {
        timer_mod(ev->timer, ev->refilled_ms + REFILL_MS);
    }
}

void virtio_blk_uring_event_init(VirtIOBlkUring *s)
{
    s->events = (VirtIOBlkUringEvents) {
        .seen_state = s->state,
        .seen_reason = s->reason,
        .told_state = s->state,
        .told_reason = s->reason,
        .allowance = BURST,
        .refilled_ms = qemu_clock_get_ms(event_clock()),
        .timer = timer_new_ms(event_clock(), allowed_again, s),
    };
}

void virtio_blk_uring_event_cleanup(VirtIOBlkUring *s)
{
    if (s->events.untold) {
        tell(s);
    }
    timer_free(s->events.timer);
}
