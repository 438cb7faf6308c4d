/*
 * The jail of a virtual machine's rings, as QEMU sees it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A process (tools/ring-jail) that owns io_urings in QEMU's stead, and whose
 * address space is guest RAM and nothing else.  What a guest writes into such a
 * ring can name no address of QEMU's.
 *
 * Needs Linux 6.12.  Main thread and BQL, unless a function says otherwise.
 */
#ifndef BLOCK_RING_JAIL_H
#define BLOCK_RING_JAIL_H

#include "block/restricted-ring.h"
#include "block/ring-jail-protocol.h"

typedef struct RingJail RingJail;

/* A piece of guest RAM; all in bytes and whole pages of the memory. */
typedef struct RingJailRegion {
    uint64_t gpa;           /* where the guest has it */
    uint64_t size;
    uint64_t offset;        /* in @fd */
    int fd;                 /* shared memory; stays the caller's */
} RingJailRegion;

typedef struct RingJailConfig {
    /*
     * Where a jail comes from: a socket at @launcher_path that a launcher
     * accepts connections of, or a launcher at the other end of @launcher_fd,
     * or, with NULL and -1, a process that QEMU starts.
     */
    const char *launcher_path;
    int launcher_fd;
    const char *cgroups;    /* directories, separated by ':'; NULL: QEMU's */
    int file_fd;            /* the disk; stays the caller's */
    uint64_t file_size;     /* bytes that the file must not grow beyond */
    const RingJailRegion *regions;  /* by rising @gpa, not overlapping */
    unsigned num_regions;
} RingJailConfig;

/* A jail without a process yet; NULL, with @errp set, if no eventfd is left. */
RingJail *ring_jail_alloc(Error **errp);

/*
 * Gets a process, takes its rights and gives it the memory.  False, with @errp
 * set to what failed and what to do; then ring_jail_free() is all that is left.
 * Takes some milliseconds, or 10 s if a launcher or the process does not
 * answer.  Any thread without the BQL; the process gets that thread's cgroup
 * and CPUs.
 */
bool ring_jail_start(RingJail *jail, const RingJailConfig *config,
                     Error **errp);

/* Both; NULL, with @errp set, on failure. */
RingJail *ring_jail_new(const RingJailConfig *config, Error **errp);

/*
 * Makes ring_jail_start(), ring_jail_add_ring() and ring_jail_enable() fail
 * soon that run in another thread, and kills the process.  True: the process
 * was asked for a ring before, so that it can write to guest memory until it
 * has ended.
 */
bool ring_jail_cancel(RingJail *jail);

/*
 * Creates the next ring, disabled.  Of @params, ring_mem and sqe_mem are
 * addresses in the jail, event_fd stays the caller's, attach_fd is the number
 * of an earlier ring (counted from 0) or -1, and file_fd is not looked at.
 * Rings with an SQPOLL thread of their own have to come first.
 */
bool ring_jail_add_ring(RingJail *jail, const RestrictedRingParams *params,
                        RestrictedRingLayout *layout, Error **errp);

/*
 * Has the jail leave everything but guest RAM and enable its rings.  To be
 * called once.  The process is confined when this returns true.  Any thread, as
 * ring_jail_start() and ring_jail_add_ring().
 */
bool ring_jail_enable(RingJail *jail, Error **errp);

/* Wakes the SQPOLL threads of an enabled jail.  Any thread. */
void ring_jail_doorbell(RingJail *jail);

/*
 * Asks the kernel for the counters of all rings.  Takes 100 ms at most, also in
 * sum over 2 s.
 */
void ring_jail_read_counters(RingJail *jail);

/*
 * What the kernel said of ring @index then; false if it did not (no /proc where
 * the jail was started, or the kernel is too busy with the ring).
 */
bool ring_jail_get_counters(RingJail *jail, unsigned index,
                            RestrictedRingCounters *counters);

/* The process number as QEMU's /proc has it; 0 if that shows none. */
pid_t ring_jail_pid(RingJail *jail);

/*
 * Readable when the process has ended and, with it, all that was in flight.
 * The kernel goes on writing indexes to ring memory until
 * passthrough_file_let_go() says that it is done: some 50 ms, or as long as 64
 * rings of whatever processes have requests in flight that their storage does
 * not answer, since Linux ends 64 rings at a time.  Stays the jail's.
 */
int ring_jail_pidfd(RingJail *jail);

/*
 * Starts the end of the process.  How long that takes depends on what is in
 * flight and on the storage.  May be called again.
 */
void ring_jail_kill(RingJail *jail);

/*
 * Whether the process has ended, waiting for it for @timeout_ms at most; < 0:
 * as long as it takes.
 */
bool ring_jail_ended(RingJail *jail, int timeout_ms);

/*
 * The cgroup of the process if that is frozen, which keeps a process from
 * dying; to be freed.  NULL: it is not, or QEMU cannot see it.
 */
char *ring_jail_frozen(RingJail *jail);

/*
 * Kills, waits for the process to end, frees.  @jail may be NULL.  Any thread.
 */
void ring_jail_free(RingJail *jail);

#endif /* BLOCK_RING_JAIL_H */
