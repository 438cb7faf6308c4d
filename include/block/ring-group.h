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

/* The rings have come to an end without ring_group_stop(). */
typedef void RingGroupEnded(void *opaque);
/* @err: NULL, or why there are no rings; the callee's to free. */
typedef void RingGroupStarted(void *opaque, Error *err);

/*
 * A group for rings on @file, which is the group's if this succeeds.  @jail: a
 * jail owns them (its file_fd is set here), and all that it points to is
 * copied; NULL: QEMU does.
 */
RingGroup *ring_group_new(PassthroughFile *file, const RingJailConfig *jail,
                          Error **errp);

/* Stays the group's. */
const PassthroughFile *ring_group_file(const RingGroup *group);

/*
 * Adds a ring, which is created at the start.  Of @params, ring_mem and sqe_mem
 * are addresses of the owner, @mem is the same ring_mem in QEMU; event_fd stays
 * the caller's; attach_fd is the number of an earlier ring or -1; file_fd and
 * readonly are set here.
 */
void ring_group_add(RingGroup *group, const RestrictedRingParams *params,
                    const void *mem);

/*
 * Gets a process if there is to be one, and creates and enables all rings.  On
 * failure the group has to be ended as if it had succeeded.  Once, either of
 * the two: the first one waits, up to 10 s for a process that does not answer.
 * The other one does all of it in a thread, and @started is called in the main
 * loop, and after success @ended if the rings come to an end without
 * ring_group_stop(), be it by ring_group_end() or because the jail was killed.
 */
bool ring_group_start(RingGroup *group, Error **errp);
bool ring_group_start_async(RingGroup *group, RingGroupStarted *started,
                            RingGroupEnded *ended, void *opaque, Error **errp);

/*
 * Before @started was called: it will not be.  True: the group is as after a
 * start that has failed.  False: nothing of it has touched guest memory, nor
 * will; the group frees itself later.
 */
bool ring_group_cancel(RingGroup *group);

/* All rings have the same one.  After the start. */
const RestrictedRingLayout *ring_group_layout(RingGroup *group, unsigned ring);

/*
 * Wakes the SQPOLL thread of @ring.  0, or -EOWNERDEAD if it is known that
 * there is none.  Any thread.
 */
int ring_group_doorbell(RingGroup *group, unsigned ring);

/* Asks the kernel for what ring_group_get_counters() tells: 100 ms at most. */
void ring_group_read_counters(RingGroup *group);
void ring_group_get_counters(RingGroup *group, unsigned ring,
                             RestrictedRingCounters *counters);

/* The process that owns the rings; 0: QEMU, or one that QEMU cannot see. */
pid_t ring_group_pid(RingGroup *group);

/*
 * Whether ring_group_end() is worth while, as the end comes by an event.  If
 * not, ring_group_stop() is the only way.
 */
bool ring_group_ends_by_itself(RingGroup *group);
/* A fd that is readable when the rings have ended; -1: there is none. */
int ring_group_end_fd(RingGroup *group);
/* Begins the end; @ended is called later, from the main loop. */
void ring_group_end(RingGroup *group);

/*
 * Ends the rings.  When it returns NULL, no request of theirs can reach disk or
 * guest memory: it waits as long as the storage takes for what is in flight.
 * Otherwise it returns the cgroup of the jail, to be freed, which is frozen, so
 * that the jail cannot die before somebody thaws it.
 *
 * The kernel may go on writing indexes to the rings' own pages, see
 * ring_group_released().  If QEMU owns the rings, requests cannot be killed,
 * and this waits for the kernel to free the rings, unless @quiesced, the guest
 * submits nothing any more, and the kernel says that nothing is in flight.
 */
char *ring_group_stop(RingGroup *group, bool quiesced);
/* Whether the process has ended, which is so when ring_group_stop() says so. */
bool ring_group_ended(RingGroup *group);
/* Whether the kernel has let go of the rings' own pages as well. */
bool ring_group_released(RingGroup *group);

/*
 * Frees the group and its file.  It has to have ended, or this waits for that.
 */
void ring_group_free(RingGroup *group);

/*
 * Frees the group when it has ended, and waits for nothing.  If QEMU owns the
 * rings, they are closed.
 */
void ring_group_abandon(RingGroup *group);

#endif /* BLOCK_RING_GROUP_H */
