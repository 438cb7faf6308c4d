/*
 * A restricted io_uring that somebody else fills
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The ring lies in memory that the caller gives (a guest's, as a rule) and is
 * executed by an SQPOLL thread: whoever can write that memory has requests
 * executed on one file, by the opcodes READV, WRITEV and FSYNC, and by nothing
 * else.  READV and WRITEV name addresses of the process that created the ring;
 * confining these is not this object's business.
 *
 * Needs Linux 6.12.  No function here is to be called by two threads at once
 * for the same ring.
 */
#ifndef BLOCK_RESTRICTED_RING_H
#define BLOCK_RESTRICTED_RING_H

#include "block/restricted-ring-core.h"

typedef struct RestrictedRing RestrictedRing;

typedef struct RestrictedRingCounters {
    uint32_t submitted;     /* SQEs that the kernel consumed, modulo 2^32 */
    uint32_t completed;     /* CQEs that the kernel posted, modulo 2^32 */
    bool from_kernel;       /* false: read in memory that the guest can write */
} RestrictedRingCounters;

/*
 * Creates a disabled ring: nothing runs yet, and what may ever run is settled.
 * On failure sets @errp, naming the step, the kernel feature and the version
 * that brought it, and returns NULL.  The memory must stay until the kernel is
 * done with the ring, which is later than restricted_ring_free(): see
 * passthrough_file_wait_unused().
 */
RestrictedRing *restricted_ring_new(const RestrictedRingParams *params,
                                    Error **errp);

/* Lets the SQPOLL thread begin.  To be called once. */
bool restricted_ring_enable(RestrictedRing *ring, Error **errp);

/*
 * Wakes the SQPOLL thread of an enabled ring; any number of times, from any
 * thread.  0, or -errno if there is no such thread any more (-EOWNERDEAD).
 */
int restricted_ring_wakeup(RestrictedRing *ring);

const RestrictedRingLayout *restricted_ring_layout(const RestrictedRing *ring);

/* The ring's fd, for RestrictedRingParams.attach_fd.  Stays the ring's. */
int restricted_ring_fd(const RestrictedRing *ring);

/*
 * What the ring has done since it was created, as the kernel tells in fdinfo;
 * while it is too busy to tell, as the ring memory says.
 */
void restricted_ring_get_counters(RestrictedRing *ring,
                                  RestrictedRingCounters *counters);

/*
 * The parts of that: @fdinfo is an open file of /proc/PID/fdinfo, whichever
 * process's.  False, within some 20 ms as a rule, if the kernel does not tell.
 */
bool restricted_ring_read_counters(int fdinfo,
                                   RestrictedRingCounters *counters);
/* What the memory says, which the guest can write. */
void restricted_ring_guess_counters(const void *ring_mem,
                                    const RestrictedRingLayout *layout,
                                    RestrictedRingCounters *counters);

/* Sets @errp to why the kernel says @err at @step, and what to do about it. */
void restricted_ring_set_error(Error **errp, RestrictedRingStep step, int err);

/*
 * Gives up the ring.  The kernel takes some 50 ms until it is done with the
 * ring's memory and file, and longer while requests are on their way.  Blocks
 * while the SQPOLL thread is held up in submitting, as by a file system (FUSE)
 * that knows no other way than to wait.
 */
void restricted_ring_free(RestrictedRing *ring);

#endif /* BLOCK_RESTRICTED_RING_H */
