/*
 * Set-up of one restricted io_uring: the sequence of system calls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "block/restricted-ring-core.h"
#include <errno.h>
#include <sys/syscall.h>

static long ring_register(int fd, unsigned opcode, const void *arg, unsigned n)
{
    return restricted_ring_syscall(__NR_io_uring_register, fd, opcode,
                                   (long)arg, n, 0);
}

uint64_t restricted_ring_opcodes(bool readonly)
{
    return (uint64_t)1 << IORING_OP_READV |
           (uint64_t)1 << IORING_OP_FSYNC |
           (readonly ? 0 : (uint64_t)1 << IORING_OP_WRITEV);
}

size_t restricted_ring_min_bytes(unsigned cq_entries)
{
    return 64 + cq_entries * sizeof(struct io_uring_cqe);
}

static int create(const RestrictedRingParams *params,
                  RestrictedRingLayout *layout)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SQPOLL |
                 IORING_SETUP_NO_MMAP | IORING_SETUP_NO_SQARRAY |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = params->cq_entries,
        .sq_thread_idle = params->idle_ms,
    };
    long fd;

    if (params->iopoll) {
        p.flags |= IORING_SETUP_IOPOLL;
    }
    if (params->cpu >= 0) {
        p.flags |= IORING_SETUP_SQ_AFF;
        p.sq_thread_cpu = params->cpu;
    }
    if (params->attach_fd >= 0) {
        p.flags |= IORING_SETUP_ATTACH_WQ;
        p.wq_fd = params->attach_fd;
    }
    p.cq_off.user_addr = (uintptr_t)params->ring_mem;
    p.sq_off.user_addr = (uintptr_t)params->sqe_mem;

    /*
     * A new ring counts from 0, but the kernel takes the memory as it finds it.
     * Neither it nor we can know what the memory's former user left in the
     * indexes, so that none of it may remain.
     */
    __builtin_memset(params->ring_mem, 0, params->ring_size);

    fd = restricted_ring_syscall(__NR_io_uring_setup, params->sq_entries,
                                 (long)&p, 0, 0, 0);
    if (fd < 0) {
        return fd;
    }

    *layout = (RestrictedRingLayout) {
        .sq_entries = p.sq_entries,
        .cq_entries = p.cq_entries,
        .sq_head = p.sq_off.head,
        .sq_tail = p.sq_off.tail,
        .sq_ring_mask = p.sq_off.ring_mask,
        .sq_flags = p.sq_off.flags,
        .sq_dropped = p.sq_off.dropped,
        .cq_head = p.cq_off.head,
        .cq_tail = p.cq_off.tail,
        .cq_ring_mask = p.cq_off.ring_mask,
        .cq_flags = p.cq_off.flags,
        .cq_overflow = p.cq_off.overflow,
        .cqes = p.cq_off.cqes,
        .ring_bytes = p.cq_off.cqes +
                      p.cq_entries * sizeof(struct io_uring_cqe),
        .sqe_bytes = p.sq_entries * sizeof(struct io_uring_sqe),
    };
    return fd;
}

static int set_restrictions(int fd, bool readonly)
{
    struct io_uring_restriction r[8] = {};
    uint64_t opcodes = restricted_ring_opcodes(readonly);
    unsigned n = 0;

    for (unsigned op = 0; op < 64; op++) {
        if (opcodes >> op & 1) {
            r[n].opcode = IORING_RESTRICTION_SQE_OP;
            r[n++].sqe_op = op;
        }
    }
    r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    r[n++].sqe_flags = IOSQE_FIXED_FILE;
    r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
    r[n++].sqe_flags = IOSQE_FIXED_FILE;
    /*
     * Linux 7.0 and later take a list without any register opcode as leave to
     * use all of them.
     */
    r[n].opcode = IORING_RESTRICTION_REGISTER_OP;
    r[n++].register_op = IORING_REGISTER_ENABLE_RINGS;

    return ring_register(fd, IORING_REGISTER_RESTRICTIONS, r, n);
}

int restricted_ring_prepare(const RestrictedRingParams *params,
                            RestrictedRingLayout *layout,
                            RestrictedRingStep *step)
{
    unsigned workers[2] = { params->max_workers, params->max_workers };
    int fd, ret;

    *step = RESTRICTED_RING_CREATE;
    fd = create(params, layout);
    if (fd < 0) {
        return fd;
    }
    if (layout->ring_bytes > params->ring_size ||
        layout->sqe_bytes > params->sqe_size) {
        /* The kernel has pinned pages behind the memory that we were given. */
        ret = -EOVERFLOW;
        goto fail;
    }

    *step = RESTRICTED_RING_FILES;
    ret = ring_register(fd, IORING_REGISTER_FILES, &params->file_fd, 1);
    if (ret < 0) {
        goto fail;
    }

    if (params->event_fd >= 0) {
        *step = RESTRICTED_RING_EVENTFD;
        ret = ring_register(fd, IORING_REGISTER_EVENTFD, &params->event_fd, 1);
        if (ret < 0) {
            goto fail;
        }
    }

    if (params->max_workers) {
        *step = RESTRICTED_RING_WORKERS;
        ret = ring_register(fd, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2);
        if (ret < 0) {
            goto fail;
        }
    }

    *step = RESTRICTED_RING_RESTRICT;
    ret = set_restrictions(fd, params->readonly);
    if (ret < 0) {
        goto fail;
    }
    return fd;

fail:
    restricted_ring_syscall(__NR_close, fd, 0, 0, 0, 0);
    return ret;
}

int restricted_ring_core_enable(int fd)
{
    return ring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int restricted_ring_core_wakeup(int fd)
{
    long ret = restricted_ring_syscall(__NR_io_uring_enter, fd, 0, 0,
                                       IORING_ENTER_SQ_WAKEUP, 0);
    return ret < 0 ? ret : 0;
}
