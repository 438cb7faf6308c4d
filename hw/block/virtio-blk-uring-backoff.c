/*
 * virtio-blk-uring: when a guest may have rings again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * To start rings costs the host a process.  A guest must not be able to make
 * QEMU start one after the other, and neither must a host on which they fail.
 * So an end of rings that the guest has caused takes a token, of which there
 * are a few, and one more each second; and failures delay the next attempt by
 * one second and more.  When the delay is over, the guest is told.
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "hw/virtio/virtio.h"
#include "virtio-blk-uring-internal.h"

#define TOKENS          8       /* more than a reboot or a reload takes */
#define TOKEN_MS        1000
#define COOLDOWN_MS     1000    /* after the first failure; then doubled */
#define COOLDOWN_SHIFTS 5
/* Rings that have run for so long make up for failures before. */
#define GOOD_MS         10000

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static void refill(VirtIOBlkUringBackoff *b)
{
    uint64_t periods = (now_ms() - b->refilled_ms) / TOKEN_MS;

    b->tokens = MIN(b->tokens + periods, TOKENS);
    b->refilled_ms = b->tokens == TOKENS ? now_ms() :
                     b->refilled_ms + periods * TOKEN_MS;
}

/* @retry: the guest may try before, and is told when it should. */
static void cool_down(VirtIOBlkUringBackoff *b, int64_t until_ms, bool retry)
{
    b->cooling |= !retry;
    if (!timer_pending(b->timer) || until_ms > timer_expire_time_ns(b->timer) /
                                               SCALE_MS) {
        timer_mod(b->timer, until_ms);
    }
}

static void cooled_down(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    s->backoff.cooling = false;
    virtio_blk_uring_look(s);
}

void virtio_blk_uring_backoff_guest(VirtIOBlkUring *s)
{
    VirtIOBlkUringBackoff *b = &s->backoff;

    refill(b);
    if (b->tokens) {
        b->tokens--;
    }
    if (!b->tokens) {
        cool_down(b, b->refilled_ms + TOKEN_MS, false);
    }
}

void virtio_blk_uring_backoff_failure(VirtIOBlkUring *s, bool lost)
{
    VirtIOBlkUringBackoff *b = &s->backoff;

    if (b->started_ms && now_ms() - b->started_ms > GOOD_MS) {
        b->failures = 0;
    }
    b->started_ms = 0;
    cool_down(b, now_ms() + (COOLDOWN_MS << MIN(b->failures, COOLDOWN_SHIFTS)),
              !lost && !b->failures);
    b->failures++;
}

void virtio_blk_uring_backoff_started(VirtIOBlkUring *s)
{
    s->backoff.started_ms = now_ms();
}

void virtio_blk_uring_backoff_clear(VirtIOBlkUring *s)
{
    timer_del(s->backoff.timer);
    s->backoff.cooling = false;
    s->backoff.failures = 0;
}

void virtio_blk_uring_backoff_init(VirtIOBlkUring *s)
{
    s->backoff = (VirtIOBlkUringBackoff) {
        .timer = timer_new_ms(QEMU_CLOCK_REALTIME, cooled_down, s),
        .tokens = TOKENS,
        .refilled_ms = now_ms(),
    };
}

void virtio_blk_uring_backoff_cleanup(VirtIOBlkUring *s)
{
    timer_free(s->backoff.timer);
}
