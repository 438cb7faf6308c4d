/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest of virtio-blk-uring that writes at memory speed: guest RAM is memory
 * of the test's own, too, so that a million SQEs cost no message to QEMU
 */

#ifndef TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_RING_H
#define TESTS_LIBQOS_VIRTIO_BLK_URING_ATTACK_RING_H

#include "virtio-blk-uring.h"

#define QVBU_RAM_BYTES  (128 * 1024 * 1024)

/* All of guest RAM; guest physical address 0 is @host. */
typedef struct QVBURam {
    int fd;
    uint8_t *host;
} QVBURam;

/* Makes new memory guest RAM, which is gone when the test ends. */
QVBURam *qvbu_ram_before(GString *cmd_line);

/* A ring that is built already, as its guest has it mapped */
typedef struct QVBUFastRing {
    QVBURing *r;
    uint8_t *ring;
    struct io_uring_sqe *sqes;
    uint64_t doorbells;
} QVBUFastRing;

/* Also checks that @ram is what QEMU takes for guest RAM. */
void qvbu_fast_init(QVBUFastRing *f, QVBURing *r, QVBURam *ram);

/* 32 bits of ring memory at the descriptor's @offset */
uint32_t qvbu_fast_read(QVBUFastRing *f, uint32_t offset);
void qvbu_fast_write(QVBUFastRing *f, uint32_t offset, uint32_t value);

/*
 * Publish @n more SQEs, of which there may be more than the SQ has: the kernel
 * takes the ones that lie there again.  Rings the doorbell if it has to.
 */
void qvbu_fast_publish(QVBUFastRing *f, uint32_t n);
void qvbu_fast_doorbell(QVBUFastRing *f);

/* Take the next CQE if there is one; otherwise see to it that one comes. */
bool qvbu_fast_reap(QVBUFastRing *f, struct io_uring_cqe *cqe);

#endif
