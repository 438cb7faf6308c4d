/*
 * The rings of one disk, whoever owns them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "block/ring-group.h"

typedef struct GroupRing {
    const void *mem;            /* SQ and CQ ring, in QEMU */
    RestrictedRingLayout layout;
    RestrictedRing *ring;       /* NULL: in the jail */
} GroupRing;

struct RingGroup {
    PassthroughFile *file;
    RingJail *jail;             /* NULL: QEMU owns the rings */
    GArray *rings;              /* of GroupRing */
    RingGroupEnded *ended;
    void *opaque;
    QEMUTimer *look;            /* for the end of what the jail left */
};

static GroupRing *get_ring(RingGroup *group, unsigned ring)
{
    assert(ring < group->rings->len);
    return &g_array_index(group->rings, GroupRing, ring);
}

/*
 * The process has ended, and with it all requests.  But the kernel takes its
 * rings apart after that, in a thread of its own, and writes to ring memory
 * while it does (the indexes of the CQ); the end of that is no event.
 */
static void look_for_end(void *opaque)
{
    RingGroup *group = opaque;

    if (!passthrough_file_let_go(group->file)) {
        timer_mod(group->look, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + 1);
        return;
    }
    /* May free the group. */
    group->ended(group->opaque);
}

static void jail_ended(void *opaque)
{
    RingGroup *group = opaque;

    qemu_set_fd_handler(ring_jail_pidfd(group->jail), NULL, NULL, NULL);
    look_for_end(group);
}

static void watch(RingGroup *group, RingGroupEnded *ended, void *opaque)
{
    group->ended = ended;
    group->opaque = opaque;
    qemu_set_fd_handler(ring_jail_pidfd(group->jail), jail_ended, NULL, group);
}

RingGroup *ring_group_new(PassthroughFile *file, const RingJailConfig *jail,
                          RingGroupEnded *ended, void *opaque, Error **errp)
{
    RingGroup *group;
    RingJail *process = NULL;

    if (jail) {
        RingJailConfig config = *jail;

        config.file_fd = passthrough_file_fd(file);
        process = ring_jail_new(&config, errp);
        if (!process) {
            return NULL;
        }
    }
    group = g_new(RingGroup, 1);
    *group = (RingGroup) {
        .file = file,
        .jail = process,
        .rings = g_array_new(false, true, sizeof(GroupRing)),
        .look = timer_new_ms(QEMU_CLOCK_REALTIME, look_for_end, group),
    };
    if (process && ended) {
        watch(group, ended, opaque);
    }
    return group;
}

const PassthroughFile *ring_group_file(const RingGroup *group)
{
    return group->file;
}

bool ring_group_add(RingGroup *group, RestrictedRingParams *params,
                    const void *mem, Error **errp)
{
    GroupRing ring = { .mem = mem };

    params->readonly = passthrough_file_is_readonly(group->file);
    if (group->jail) {
        if (!ring_jail_add_ring(group->jail, params, &ring.layout, errp)) {
            return false;
        }
    } else {
        RestrictedRingParams own = *params;

        own.file_fd = passthrough_file_fd(group->file);
        if (params->attach_fd >= 0) {
            own.attach_fd = restricted_ring_fd(
                get_ring(group, params->attach_fd)->ring);
        }
        ring.ring = restricted_ring_new(&own, errp);
        if (!ring.ring) {
            return false;
        }
        ring.layout = *restricted_ring_layout(ring.ring);
    }
    g_array_append_val(group->rings, ring);
    return true;
}

bool ring_group_enable(RingGroup *group, Error **errp)
{
    if (group->jail) {
        return ring_jail_enable(group->jail, errp);
    }
    for (unsigned i = 0; i < group->rings->len; i++) {
        if (!restricted_ring_enable(get_ring(group, i)->ring, errp)) {
            return false;
        }
    }
    return true;
}

const RestrictedRingLayout *ring_group_layout(RingGroup *group, unsigned ring)
{
    return &get_ring(group, ring)->layout;
}

int ring_group_doorbell(RingGroup *group, unsigned ring)
{
    if (group->jail) {
        ring_jail_doorbell(group->jail);
        return 0;
    }
    return restricted_ring_wakeup(get_ring(group, ring)->ring);
}

void ring_group_get_counters(RingGroup *group, unsigned ring,
                             RestrictedRingCounters *counters)
{
    GroupRing *r = get_ring(group, ring);

    if (r->ring) {
        restricted_ring_get_counters(r->ring, counters);
    } else if (!ring_jail_get_counters(group->jail, ring, counters)) {
        restricted_ring_guess_counters(r->mem, &r->layout, counters);
    }
}

pid_t ring_group_pid(RingGroup *group)
{
    return group->jail ? ring_jail_pid(group->jail) : 0;
}

bool ring_group_ends_by_itself(RingGroup *group)
{
    return group->jail;
}

int ring_group_end_fd(RingGroup *group)
{
    return group->jail ? ring_jail_pidfd(group->jail) : -1;
}

void ring_group_end(RingGroup *group)
{
    ring_jail_kill(group->jail);
}

void ring_group_free(RingGroup *group)
{
    if (!group) {
        return;
    }
    for (unsigned i = 0; i < group->rings->len; i++) {
        restricted_ring_free(get_ring(group, i)->ring);
    }
    if (group->jail) {
        qemu_set_fd_handler(ring_jail_pidfd(group->jail), NULL, NULL, NULL);
        ring_jail_free(group->jail);
    }
    passthrough_file_wait_unused(group->file);
    timer_free(group->look);
    g_array_free(group->rings, true);
    g_free(group);
}

static void free_abandoned(void *opaque)
{
    ring_group_free(opaque);
}

void ring_group_abandon(RingGroup *group)
{
    passthrough_file_release_nodes(group->file);
    if (group->jail) {
        watch(group, free_abandoned, group);
        ring_jail_kill(group->jail);
        return;
    }
    for (unsigned i = 0; i < group->rings->len; i++) {
        restricted_ring_free(get_ring(group, i)->ring);
    }
    timer_free(group->look);
    g_array_free(group->rings, true);
    g_free(group);
}
