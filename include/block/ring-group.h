/*
 * The rings of one disk, whoever owns them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All of a disk's rings begin and end together.  Either QEMU owns them, or a
 * jail does; the device need not know which.  Main thread and BQL, unless a
 * function says otherwise.
 */
#ifndef BLOCK_RING_GROUP_H
#define BLOCK_RING_GROUP_H

#include "block/passthrough-file.h"
#include "block/ring-jail.h"

typedef struct RingGroup RingGroup;

/* Nothing of the group can reach disk or memory any more. */
typedef void RingGroupEnded(void *opaque);

/*
 * A group for rings on @file, which is the group's if this succeeds.  @jail: a
 * jail owns them (its file_fd is set here); NULL: QEMU does.  @ended, if not
 * NULL, is called when the rings come to an end without ring_group_free(), be
 * it by ring_group_end() or because the jail was killed.
 */
RingGroup *ring_group_new(PassthroughFile *file, const RingJailConfig *jail,
                          RingGroupEnded *ended, void *opaque, Error **errp);

/* Stays the group's. */
const PassthroughFile *ring_group_file(const RingGroup *group);

/*
 * Creates the next ring, disabled.  Of @params, ring_mem and sqe_mem are
 * addresses of the owner, @mem is the same ring_mem in QEMU; attach_fd is the
 * number of an earlier ring or -1; file_fd and readonly are set here.
 */
bool ring_group_add(RingGroup *group, RestrictedRingParams *params,
                    const void *mem, Error **errp);

/* Enables all rings.  To be called once. */
bool ring_group_enable(RingGroup *group, Error **errp);

const RestrictedRingLayout *ring_group_layout(RingGroup *group, unsigned ring);

/*
 * Wakes the SQPOLL thread of @ring.  0, or -EOWNERDEAD if it is known that
 * there is none.  Any thread.
 */
int ring_group_doorbell(RingGroup *group, unsigned ring);

void ring_group_get_counters(RingGroup *group, unsigned ring,
                             RestrictedRingCounters *counters);

/* The process that owns the rings; 0: QEMU, or one that QEMU cannot see. */
pid_t ring_group_pid(RingGroup *group);

/*
 * Whether ring_group_end() is worth while, as the end comes by an event.  If
 * not, ring_group_free() is the only way.
 */
bool ring_group_ends_by_itself(RingGroup *group);
/* A fd that is readable when the rings have ended; -1: there is none. */
int ring_group_end_fd(RingGroup *group);
/* Begins the end; @ended is called later, from the main loop. */
void ring_group_end(RingGroup *group);

/*
 * Ends what has not ended, waits until nothing of it can reach disk or memory
 * (as long as the storage takes), frees the group and its file.
 */
void ring_group_free(RingGroup *group);

/*
 * The same without waiting, for a group that QEMU cannot wait for.  A jail is
 * freed when it has ended; if QEMU owns the rings, they are closed, and the
 * file is never given up.
 */
void ring_group_abandon(RingGroup *group);

#endif /* BLOCK_RING_GROUP_H */
