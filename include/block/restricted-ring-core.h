/*
 * Set-up of one restricted io_uring: the sequence of system calls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This part needs no C library, no glib and no allocation, so that the same
 * code serves QEMU and a helper process that owns the rings in its stead.  It
 * knows io_uring and nothing of virtio.
 */
#ifndef BLOCK_RESTRICTED_RING_CORE_H
#define BLOCK_RESTRICTED_RING_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/io_uring.h>

/*
 * The steps in the order in which they are taken, which is the argument for
 * safety: nothing can run before what may run is settled for good.
 */
typedef enum RestrictedRingStep {
    RESTRICTED_RING_CREATE,     /* io_uring_setup(), R_DISABLED */
    RESTRICTED_RING_FILES,      /* fixed file 0 */
    RESTRICTED_RING_EVENTFD,
    RESTRICTED_RING_WORKERS,    /* bound on io-wq threads */
    RESTRICTED_RING_RESTRICT,   /* opcodes, SQE flags, register opcodes */
    RESTRICTED_RING_ENABLE,
} RestrictedRingStep;

typedef struct RestrictedRingParams {
    void *ring_mem;         /* SQ and CQ ring, page aligned, owner: caller */
    size_t ring_size;       /* bytes behind @ring_mem */
    void *sqe_mem;          /* SQEs, page aligned, owner: caller */
    size_t sqe_size;        /* bytes behind @sqe_mem */
    unsigned sq_entries;    /* power of 2, 1 to 32768 */
    unsigned cq_entries;    /* power of 2, sq_entries to 65536 */
    unsigned idle_ms;       /* SQPOLL sleeps after so long; 0 means 1 s */
    unsigned max_workers;   /* io-wq threads of each kind, 0: kernel's choice */
    int cpu;                /* CPU of the SQPOLL thread, -1: any */
    int attach_fd;          /* ring whose SQPOLL thread to share, -1: own */
    int file_fd;            /* becomes fixed file 0; may be closed afterwards */
    int event_fd;           /* signalled on completion, -1: none */
    bool iopoll;            /* IORING_SETUP_IOPOLL: poll the device */
    bool readonly;          /* WRITEV is not among the allowed opcodes */
} RestrictedRingParams;

/* Byte offsets into ring_mem, as the kernel gave them. */
typedef struct RestrictedRingLayout {
    uint32_t sq_entries, cq_entries;
    uint32_t sq_head, sq_tail, sq_ring_mask, sq_flags, sq_dropped;
    uint32_t cq_head, cq_tail, cq_ring_mask, cq_flags, cq_overflow, cqes;
    uint32_t ring_bytes;    /* of ring_mem that the kernel uses */
    uint32_t sqe_bytes;     /* of sqe_mem that the kernel uses */
} RestrictedRingLayout;

/*
 * The system call with number @nr: its result, or -errno.  Provided by the
 * program that links this, since a helper without libc has its own way.
 */
long restricted_ring_syscall(long nr, long a, long b, long c, long d, long e);

/* Bit n is set for each IORING_OP n that a ring of this kind allows. */
uint64_t restricted_ring_opcodes(bool readonly);

/*
 * Bytes of ring_mem that 6.12 to 7.x kernels use for a ring with @cq_entries:
 * struct io_rings, padded to 64 bytes, then the CQEs.  With
 * IORING_SETUP_NO_SQARRAY nothing follows.  The layout that
 * restricted_ring_prepare() returns is what counts.
 */
size_t restricted_ring_min_bytes(unsigned cq_entries);

/*
 * Takes all steps but the last.  Returns the fd of a disabled ring, which the
 * caller owns, or -errno with *@step telling which step failed.
 */
int restricted_ring_prepare(const RestrictedRingParams *params,
                            RestrictedRingLayout *layout,
                            RestrictedRingStep *step);

/*
 * IORING_REGISTER_ENABLE_RINGS (Linux 5.10) on a prepared ring: from here on
 * the SQPOLL thread executes what is in the SQ.  0 or -errno.
 */
int restricted_ring_core_enable(int fd);

/*
 * Wakes the SQPOLL thread.  The flags in ring memory are not asked: who can
 * write them could keep the thread asleep.  0 or -errno.
 */
int restricted_ring_core_wakeup(int fd);

#endif /* BLOCK_RESTRICTED_RING_CORE_H */
