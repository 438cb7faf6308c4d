/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile SQEs: how they are made
 */

#include "qemu/osdep.h"
#include <sys/uio.h>
#include "qemu/units.h"
#include "virtio-blk-uring-attacker.h"

static uint64_t slot_data(QVBUAttacker *a, unsigned slot)
{
    return qvbu_attacker_addr(a, a->data + slot * QVBU_DATA_BYTES);
}

static void set_segment(QVBUAttacker *a, unsigned slot, unsigned i,
                        uint64_t base, uint64_t len)
{
    qvbu_attacker_list(a, slot)[i] = (struct iovec) {
        .iov_base = (void *)(uintptr_t)base,
        .iov_len = len,
    };
}

void qvbu_make_honest(QVBUAttacker *a, unsigned slot,
                      struct io_uring_sqe *sqe, uint64_t n)
{
    uint64_t random = qvbu_random(&a->random);
    uint64_t room = MIN(a->writable, QVBU_DISK_BYTES) / 512;
    unsigned segments = 1 + random % 2;
    unsigned i;

    for (i = 0; i < segments; i++) {
        set_segment(a, slot, i, slot_data(a, slot) + i * 4096,
                    512 << (random >> 8) % 4);
    }
    *sqe = (struct io_uring_sqe) {
        .opcode = random & 1 << 16 ? IORING_OP_READV : IORING_OP_WRITEV,
        .flags = IOSQE_FIXED_FILE,
        .off = (random >> 20) % (room - QVBU_DATA_BYTES / 512) * 512,
        .addr = qvbu_attacker_addr(a, a->lists + slot * QVBU_LIST_BYTES),
        .len = segments,
    };
}

void qvbu_make_opcode(QVBUAttacker *a, unsigned slot,
                      struct io_uring_sqe *sqe, uint64_t n)
{
    qvbu_make_honest(a, slot, sqe, n);
    sqe->opcode = n;
    sqe->flags = n >> 8;
}

static void spoil(QVBUAttacker *a, struct io_uring_sqe *sqe, unsigned field)
{
    QVBURandom *rnd = &a->random;

    switch (field) {
    case 0:
        sqe->opcode = qvbu_random_edge(rnd, 8);
        break;
    case 1:
        sqe->flags = qvbu_random_edge(rnd, 8);
        break;
    case 2:
        sqe->ioprio = qvbu_random_edge(rnd, 16);
        break;
    case 3:
        sqe->fd = qvbu_random_edge(rnd, 32);
        break;
    case 4:
        sqe->off = qvbu_random_edge(rnd, 64);
        break;
    case 5:
        /* The tame go on naming their own memory. */
        if (!a->tame) {
            sqe->addr = qvbu_random_edge(rnd, 64);
        }
        break;
    case 6:
        /* Nor do they have more iovecs than there are in the list. */
        sqe->len = a->tame ? 0 : qvbu_random_edge(rnd, 32);
        break;
    case 7:
        sqe->rw_flags = qvbu_random_edge(rnd, 32);
        break;
    case 8:
        sqe->buf_index = qvbu_random_edge(rnd, 16);
        break;
    case 9:
        sqe->personality = qvbu_random_edge(rnd, 16);
        break;
    case 10:
        /* file_index, splice_fd_in */
        sqe->file_index = qvbu_random_edge(rnd, 32);
        break;
    case 11:
        /* attr_ptr in later headers */
        sqe->addr3 = qvbu_random_edge(rnd, 64);
        break;
    case 12:
        /* attr_type_mask in later headers */
        sqe->__pad2[0] = qvbu_random_edge(rnd, 64);
        break;
    }
}

#define SQE_FIELDS  13

void qvbu_make_field(QVBUAttacker *a, unsigned slot,
                     struct io_uring_sqe *sqe, uint64_t n)
{
    unsigned more = qvbu_random_below(&a->random, 3);

    qvbu_make_honest(a, slot, sqe, n);
    if (qvbu_random_below(&a->random, 4) == 0) {
        qvbu_prep_fsync(sqe);
    }
    spoil(a, sqe, n % SQE_FIELDS);
    while (more--) {
        spoil(a, sqe, qvbu_random_below(&a->random, SQE_FIELDS));
    }
}

void qvbu_make_random(QVBUAttacker *a, unsigned slot,
                      struct io_uring_sqe *sqe, uint64_t n)
{
    uint64_t words[sizeof(*sqe) / sizeof(uint64_t)];
    unsigned i;

    if (a->tame) {
        qvbu_make_field(a, slot, sqe, n);
        return;
    }
    for (i = 0; i < ARRAY_SIZE(words); i++) {
        words[i] = qvbu_random(&a->random);
    }
    memcpy(sqe, words, sizeof(*sqe));
    if (words[7] & 1) {
        sqe->opcode %= 4;
    }
    if (words[7] & 2) {
        sqe->flags = IOSQE_FIXED_FILE;
        sqe->fd = 0;
    }
}

/* Addresses */

static uint64_t near_range(QVBUAttacker *a, const QVBURange *range)
{
    static const int64_t steps[] = { -4096, -512, -8, -1, 0, 1, 8, 512, 4096 };
    QVBURandom *rnd = &a->random;
    int64_t step = steps[qvbu_random_below(rnd, ARRAY_SIZE(steps))];

    switch (qvbu_random_below(rnd, 3)) {
    case 0:
        return range->start + step;
    case 1:
        return range->start + range->size + step;
    default:
        return range->start + qvbu_random_below(rnd, range->size);
    }
}

static uint64_t any_ring_address(QVBUAttacker *a)
{
    QVBURandom *rnd = &a->random;
    QVBURing *r = &a->u->rings[qvbu_random_below(rnd, a->u->nrings)];
    QVBUDesc *desc = &a->u->desc;

    switch (qvbu_random_below(rnd, 4)) {
    case 0:
        return qvbu_attacker_addr(a, r->ring + qvbu_random_below(rnd,
                                                          desc->ring_bytes));
    case 1:
        return qvbu_attacker_addr(a, r->ring + desc->cqes);
    case 2:
        return qvbu_attacker_addr(a, r->sqes + qvbu_random_below(rnd,
                                                          desc->sqe_bytes));
    default:
        return qvbu_attacker_addr(a, r->sqes + desc->sqe_bytes - 16);
    }
}

static uint64_t any_address(QVBUAttacker *a, unsigned slot)
{
    QVBURandom *rnd = &a->random;
    GArray *among = a->targets;

    switch (qvbu_random_below(rnd, a->tame ? 2 : 10)) {
    case 0:
        return slot_data(a, slot);
    case 1:
        return any_ring_address(a);
    case 2:
        return qvbu_random(rnd);
    case 3:
        return qvbu_random(rnd) >> 17;
    case 4:
        return qvbu_random_edge(rnd, 64);
    case 5:
        among = a->windows;
        break;
    case 6:
        if (a->code.size) {
            return near_range(a, &a->code);
        }
        break;
    }
    return near_range(a, &g_array_index(among, QVBURange,
                                        qvbu_random_below(rnd, among->len)));
}

static uint64_t any_length(QVBUAttacker *a)
{
    QVBURandom *rnd = &a->random;

    switch (qvbu_random_below(rnd, 16)) {
    case 0:
        /* May be a lot to copy, if all of it is there */
        return qvbu_attacker_rarely(a) ? qvbu_random_edge(rnd, 64) : 0;
    case 1:
        return 1;
    case 2:
        return 1 + qvbu_random_below(rnd, 64 * KiB);
    default:
        return 512 << qvbu_random_below(rnd, 5);
    }
}

void qvbu_make_address(QVBUAttacker *a, unsigned slot,
                       struct io_uring_sqe *sqe, uint64_t n)
{
    QVBURandom *rnd = &a->random;
    unsigned segments = 1 + qvbu_random_below(rnd, 4);
    unsigned i;

    qvbu_make_honest(a, slot, sqe, n);
    sqe->len = segments;
    for (i = 0; i < segments; i++) {
        set_segment(a, slot, i, any_address(a, slot), any_length(a));
    }
    switch (qvbu_random_below(rnd, 8)) {
    case 0:
    case 1:
        /* The iovecs themselves are elsewhere. */
        sqe->addr = any_address(a, slot);
        break;
    case 2:
        /* They do not begin where an iovec should. */
        if (!a->tame) {
            sqe->addr += 1 + qvbu_random_below(rnd, 15);
        }
        break;
    case 3:
        sqe->len = qvbu_random_below(rnd, 2) ?
                   qvbu_random_edge(rnd, 32) :
                   QVBU_MAX_IOVECS - 1 + qvbu_random_below(rnd, 3);
        break;
    }
    if (a->tame && sqe->len != segments) {
        sqe->len = 0;
    }
}

void qvbu_make_offset(QVBUAttacker *a, unsigned slot,
                      struct io_uring_sqe *sqe, uint64_t n)
{
    static const int64_t steps[] = {
        -65536, -8192, -4096, -4095, -512, -1, 0, 1, 511, 512, 4096, 65536,
    };
    QVBURandom *rnd = &a->random;
    int64_t step = steps[qvbu_random_below(rnd, ARRAY_SIZE(steps))];

    qvbu_make_honest(a, slot, sqe, n);
    switch (qvbu_random_below(rnd, 6)) {
    case 0:
    case 1:
        sqe->off = QVBU_DISK_BYTES + step;
        break;
    case 2:
        sqe->off = step;
        break;
    case 3:
        sqe->off = INT64_MAX + (uint64_t)step;
        break;
    case 4:
        sqe->off = qvbu_random_edge(rnd, 64);
        break;
    case 5:
        sqe->off = QVBU_DISK_BYTES + qvbu_random_below(rnd, 64 * GiB);
        break;
    }
    switch (qvbu_random_below(rnd, 6)) {
    case 0:
        sqe->rw_flags = RWF_APPEND;
        break;
    case 1:
        sqe->rw_flags = 1u << qvbu_random_below(rnd, 32);
        break;
    case 2:
        sqe->rw_flags = qvbu_random_edge(rnd, 32);
        break;
    case 3:
        /* All that is behind it in memory, until the disk's end */
        if (qvbu_attacker_rarely(a)) {
            qvbu_attacker_list(a, slot)->iov_len = qvbu_random_edge(rnd, 64);
        }
        break;
    }
}
