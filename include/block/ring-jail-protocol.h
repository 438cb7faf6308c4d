/*
 * What QEMU and the jail of its rings say to each other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Over a SOCK_SEQPACKET socket, of which the jail's end is its fd 3.  QEMU
 * sends RingJailRequest with file descriptors, and gets a RingJailReply for
 * each.  Both ends are built from the same source; the version is there so
 * that an old jail under a new QEMU is refused instead of misunderstood.
 */
#ifndef BLOCK_RING_JAIL_PROTOCOL_H
#define BLOCK_RING_JAIL_PROTOCOL_H

#include "block/restricted-ring-core.h"

#define RING_JAIL_VERSION       2
#define RING_JAIL_CONTROL_FD    3
#define RING_JAIL_MAX_RINGS     256
#define RING_JAIL_MAX_FDS       16      /* in one request */

/*
 * Guest physical address 0 is here in the jail, so that an address is
 * translated by an addition.  Room for 80 TiB of guest physical addresses, far
 * below the stack, which is within the last TiB of a process's addresses.
 */
#define RING_JAIL_BASE          0x100000000000ull
#define RING_JAIL_END           0x600000000000ull

/*
 * In the order in which they are to come: one CONFINE, REGIONs by rising
 * address, RINGs, one ENABLE.  A SPAWN instead makes the process a launcher,
 * which may get any number of them and nothing else.
 */
typedef enum RingJailRequestType {
    /*
     * Give up all rights.  fds: the disk, the doorbell (an eventfd that
     * blocks), then cgroup.procs files to which the jail adds itself.
     * The reply brings a pidfd of the jail.
     */
    RING_JAIL_CONFINE,
    /* Map guest RAM.  fds: the memory. */
    RING_JAIL_REGION,
    /*
     * Create a disabled ring.  fds: its eventfd, or none.  The reply brings
     * the ring's fdinfo file, if there is a /proc.
     */
    RING_JAIL_RING,
    /*
     * Leave everything but guest RAM, enable the rings.  No reply, but a single
     * byte, RING_JAIL_RUNNING, when that is done.
     */
    RING_JAIL_ENABLE,
    /* Start another jail.  fds: its end of the control socket.  No reply. */
    RING_JAIL_SPAWN,
} RingJailRequestType;

#define RING_JAIL_RUNNING       'R'

/* Its exit status, where it can no longer reply */
#define RING_JAIL_EXIT_UNMAP    2
#define RING_JAIL_EXIT_RING     3

typedef struct RingJailRequest {
    uint32_t version;
    uint32_t type;                  /* RingJailRequestType */
    union {
        struct {
            uint64_t file_size;     /* bytes; no file grows beyond */
        } confine;
        struct {
            uint64_t gpa;           /* page aligned, as are the others */
            uint64_t size;
            uint64_t offset;        /* in the memory's fd */
        } region;
        struct {
            uint64_t ring_addr;     /* in the jail, as are the others */
            uint64_t sqe_addr;
            uint64_t ring_size;
            uint64_t sqe_size;
            uint32_t sq_entries;
            uint32_t cq_entries;
            uint32_t idle_ms;
            uint32_t max_workers;
            int32_t cpu;
            int32_t attach;         /* number of an earlier ring, -1: none */
            uint8_t iopoll;
            uint8_t readonly;
        } ring;
    };
} RingJailRequest;

typedef enum RingJailStep {
    RING_JAIL_STEP_NONE,
    RING_JAIL_STEP_REQUEST,         /* it is not understood */
    RING_JAIL_STEP_PIDFD,
    RING_JAIL_STEP_LIMITS,
    RING_JAIL_STEP_CGROUP,
    RING_JAIL_STEP_PRIVILEGES,
    RING_JAIL_STEP_MAP,
    RING_JAIL_STEP_RING,            /* ring_step tells more */
    RING_JAIL_STEP_THREAD,
    RING_JAIL_STEP_SECCOMP,
} RingJailStep;

/* After a failure the jail ends. */
typedef struct RingJailReply {
    uint32_t step;                  /* RingJailStep that failed, or NONE */
    uint32_t error;                 /* errno */
    uint32_t ring_step;             /* RestrictedRingStep */
    RestrictedRingLayout layout;    /* of a ring */
} RingJailReply;

#endif /* BLOCK_RING_JAIL_PROTOCOL_H */
