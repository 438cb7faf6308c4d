/*
 * virtio-blk-uring: giving the disk back while somebody needs it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Rings go around the block layer, and what they write to guest memory goes
 * around its dirty log.  Whoever cannot have that says so first, in one of
 * three ways: the block layer drains the drive (block jobs, snapshots,
 * resizing, any change of the graph), or it takes the file back
 * (passthrough_file_take_back()), or migration announces itself.  Then the
 * rings are taken away at once, as by a stop of the machine: a guest cannot be
 * waited for by who holds the BQL.  Its driver does what was in flight over the
 * virtqueues, where it waits, with all else, for the end of a drain.
 *
 * Rings are welcome again when nothing is in the way any more.  Of most things
 * a drain tells the end, too; of the rest we find out by looking.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/virtio/virtio.h"
#include "migration/misc.h"
#include "migration/postcopy-ram.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "virtio-blk-uring-internal.h"
#include "trace.h"

#define LOOK_MS 500

static BlockBackend *backend(VirtIOBlkUring *s)
{
    return VIRTIO_BLK(s)->blk;
}

/* What is in the way of rings, if anything is. */
static bool find_obstacle(VirtIOBlkUring *s, uint32_t *reason, Error **errp)
{
    if (s->migrating || s->postcopy) {
        *reason = VIRTIO_BLK_URING_REASON_MIGRATION;
        error_setg(errp, "the machine is being migrated");
        return true;
    }
    *reason = VIRTIO_BLK_URING_REASON_HOST;
    if (!virtio_blk_uring_has_rings(s) && s->retired.renewed &&
        !virtio_blk_uring_check_retired(s, errp)) {
        return true;
    }
    *reason = VIRTIO_BLK_URING_REASON_BACKEND;
    if (blk_in_drain(backend(s))) {
        error_setg(errp, "the block layer has drained the drive");
        return true;
    }
    return !passthrough_file_check(backend(s), errp);
}

/* Of most obstacles the end is no event. */
static void look_later(VirtIOBlkUring *s)
{
    if (s->passthrough && s->probed) {
        timer_mod(s->look_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + LOOK_MS);
    }
}

bool virtio_blk_uring_obstructed(VirtIOBlkUring *s)
{
    Error *err = NULL;
    uint32_t reason;
    bool found;

    if (runstate_check(RUN_STATE_SHUTDOWN)) {
        /* QEMU ends and closes all drives: nobody needs to be told of that. */
        return true;
    }
    found = find_obstacle(s, &reason, &err);
    g_free(s->obstacle);
    s->obstacle = found ? g_strdup(error_get_pretty(err)) : NULL;
    error_free(err);
    if (!found) {
        timer_del(s->look_timer);
        if (s->group && virtio_blk_uring_has_rings(s) &&
            !passthrough_file_is_of(ring_group_file(s->group), backend(s))) {
            /* The drive has another file now. */
            virtio_blk_uring_kill(s, VIRTIO_BLK_URING_REASON_BACKEND);
        }
        return false;
    }
    trace_virtio_blk_uring_obstacle(s, s->obstacle);
    virtio_blk_uring_revoke(s, reason);
    if (blk_bs(backend(s)) && !blk_in_drain(backend(s))) {
        /*
         * A drain is soon over, and who takes the medium away knows it, as QEMU
         * does at its end.
         */
        virtio_blk_uring_change_reason(s, reason);
    }
    look_later(s);
    return true;
}

void virtio_blk_uring_look(VirtIOBlkUring *s)
{
    if (!virtio_blk_uring_obstructed(s) && virtio_blk_uring_activatable(s)) {
        virtio_notify_config(VIRTIO_DEVICE(s));
    }
}

static void look(void *opaque)
{
    virtio_blk_uring_look(opaque);
}

/*
 * When it returns, there are no rings.  Whether there may be new ones is found
 * out later: what they are in the way of is only about to begin.
 */
static void yield(VirtIOBlkUring *s, uint32_t reason, const char *why)
{
    /* Before the path changes, so that the event of that can say it. */
    if (!s->obstacle) {
        s->obstacle = g_strdup(why);
    }
    virtio_blk_uring_revoke(s, reason);
    look_later(s);
}

static void yield_to_block_layer(VirtIOBlkUring *s)
{
    yield(s, VIRTIO_BLK_URING_REASON_BACKEND,
          "the block layer needs exclusive access to the disk");
}

void virtio_blk_uring_wanted(void *opaque, const char *why)
{
    if (!why) {
        yield_to_block_layer(opaque);
        return;
    }
    /* A guest decides how often it comes to that. */
    virtio_blk_uring_backoff_failure(opaque, true);
    yield(opaque, VIRTIO_BLK_URING_REASON_BACKEND, why);
}

/* A drain */

static void drained_begin(void *opaque)
{
    virtio_blk_uring_parent_ops()->drained_begin(opaque);
}

/* Who drains may be waiting in any thread. */
static void wake_drain(VirtIOBlkUring *s)
{
    aio_wait_kick();
    aio_notify(blk_get_aio_context(backend(s)));
}

static void yield_for_iothread(void *opaque)
{
    VirtIOBlkUring *s = opaque;

    yield_to_block_layer(s);
    wake_drain(s);
}

/*
 * Asked for whether requests are in flight, which is not done when the block
 * layer wants no more than to change its graph.
 */
static bool drained_poll(void *opaque)
{
    VirtIOBlkUring *s = VIRTIO_BLK_URING(opaque);

    if (!qatomic_read(&s->group)) {
        return false;
    }
    if (bql_locked()) {
        yield_to_block_layer(s);
        return false;
    }
    qemu_bh_schedule(s->yield_bh);
    return true;
}

/* From any thread, and never within what may be holding the block graph. */
static void look_soon(VirtIOBlkUring *s)
{
    qemu_bh_schedule(s->look_bh);
}

static void drained_end(void *opaque)
{
    virtio_blk_uring_parent_ops()->drained_end(opaque);
    /* The graph may be another one now. */
    look_soon(VIRTIO_BLK_URING(opaque));
}

static void resized(void *opaque)
{
    virtio_blk_uring_parent_ops()->resize_cb(opaque);
}

static const BlockDevOps block_ops = {
    .resize_cb = resized,
    .drained_begin = drained_begin,
    .drained_poll = drained_poll,
    .drained_end = drained_end,
};

/* Migration */

static int migration_event(VirtIOBlkUring *s, MigrationEvent *event)
{
    if (s->migrate_with_rings) {
        return 0;
    }
    s->migrating = event->type == MIG_EVENT_PRECOPY_SETUP;
    if (s->migrating) {
        /* Before the dirty log begins: what is older is sent in any case. */
        yield(s, VIRTIO_BLK_URING_REASON_MIGRATION,
              "the machine is being migrated");
    } else {
        look_soon(s);
    }
    return 0;
}

static int migration_notified(NotifierWithReturn *notifier,
                              MigrationEvent *event, Error **errp)
{
    VirtIOBlkUringMigration *m =
        container_of(notifier, VirtIOBlkUringMigration, notifier);

    return migration_event(m->dev, event);
}

/*
 * The destination of a postcopy runs before it has its memory.  What is missing
 * is brought when QEMU or the guest touch it, but not when a ring does.
 */
static int postcopy_notified(NotifierWithReturn *notifier, void *opaque,
                             Error **errp)
{
    VirtIOBlkUring *s = container_of(notifier, VirtIOBlkUring,
                                     postcopy_notifier);
    struct PostcopyNotifyData *data = opaque;

    if (data->reason == POSTCOPY_NOTIFY_INBOUND_LISTEN) {
        s->postcopy = true;
        look_soon(s);
    } else if (data->reason == POSTCOPY_NOTIFY_INBOUND_END) {
        s->postcopy = false;
        look_soon(s);
    }
    return 0;
}

void virtio_blk_uring_yield_init(VirtIOBlkUring *s)
{
    s->migrating = migration_is_running();
    s->look_timer = timer_new_ms(QEMU_CLOCK_REALTIME, look, s);
    s->look_bh = aio_bh_new(qemu_get_aio_context(), look, s);
    s->yield_bh = aio_bh_new(qemu_get_aio_context(), yield_for_iothread, s);
    for (MigMode mode = 0; mode < MIG_MODE__MAX; mode++) {
        s->migration[mode].dev = s;
        migration_add_notifier_mode(&s->migration[mode].notifier,
                                    migration_notified, mode);
    }
    s->postcopy_notifier.notify = postcopy_notified;
    postcopy_add_notifier(&s->postcopy_notifier);
    blk_set_dev_ops(backend(s), &block_ops, s);
}

void virtio_blk_uring_yield_cleanup(VirtIOBlkUring *s)
{
    blk_set_dev_ops(backend(s), virtio_blk_uring_parent_ops(), s);
    postcopy_remove_notifier(&s->postcopy_notifier);
    for (MigMode mode = 0; mode < MIG_MODE__MAX; mode++) {
        migration_remove_notifier(&s->migration[mode].notifier);
    }
    qemu_bh_delete(s->yield_bh);
    qemu_bh_delete(s->look_bh);
    /* It may have been waiting for the first of them, and need not any more. */
    wake_drain(s);
    timer_free(s->look_timer);
    g_clear_pointer(&s->obstacle, g_free);
}
