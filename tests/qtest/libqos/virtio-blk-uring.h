/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos: a driver of virtio-blk-uring, as small as a test can bear
 *
 * It negotiates, reads the descriptor, gives the device ring memory, and then
 * writes SQEs and reads CQEs as a guest would, one request at a time or many.
 */

#ifndef TESTS_LIBQOS_VIRTIO_BLK_URING_H
#define TESTS_LIBQOS_VIRTIO_BLK_URING_H

#include <linux/io_uring.h>

#include "qgraph.h"
#include "virtio-blk.h"
#include "standard-headers/linux/virtio_blk_uring.h"

#define QVBU_MAX_QUEUES     4
#define QVBU_TIMEOUT_US     (30 * G_USEC_PER_SEC)

/*
 * Ask for @cond again and again until it holds: nothing tells a test that
 * guest memory has changed.  @cond has to talk to QEMU, which is what keeps
 * this from spinning.
 */
#define qvbu_await(cond)                                                \
    do {                                                                \
        gint64 qvbu_end = g_get_monotonic_time() + QVBU_TIMEOUT_US;     \
                                                                        \
        while (!(cond)) {                                               \
            if (g_get_monotonic_time() > qvbu_end) {                    \
                g_error("timed out waiting for: %s", #cond);            \
            }                                                           \
        }                                                               \
    } while (0)

/*
 * Claim that @cond goes on holding.  There is no event that could prove it:
 * this many round trips through QEMU's main loop (about a tenth of a second)
 * are ample for what must not happen to happen.
 */
#define qvbu_assert_stays(cond)                                         \
    do {                                                                \
        gint64 qvbu_end = g_get_monotonic_time() + G_USEC_PER_SEC / 10; \
                                                                        \
        do {                                                            \
            g_assert_true(cond);                                        \
        } while (g_get_monotonic_time() < qvbu_end);                    \
    } while (0)

/* Access to the descriptor's field @field at its own width */
#define QVBU_OFFSET(field) \
    (VIRTIO_BLK_URING_CONFIG_OFFSET + \
     offsetof(struct virtio_blk_uring_config, field))
#define QVBU_WIDTH(field) \
    sizeof(((struct virtio_blk_uring_config *)NULL)->field)
#define qvbu_get(u, field) \
    qvbu_config_read(u, QVBU_OFFSET(field), QVBU_WIDTH(field))
#define qvbu_set(u, field, value) \
    qvbu_config_write(u, QVBU_OFFSET(field), QVBU_WIDTH(field), value)

typedef struct QVirtioBlkUring QVirtioBlkUring;

/* One ring; addresses are guest physical ones */
typedef struct QVBURing {
    QVirtioBlkUring *u;
    QVirtQueue *vq;
    uint16_t index;
    uint64_t ring;              /* SQ and CQ; 0: not allocated yet */
    uint64_t sqes;
    uint16_t vector;            /* as queue_vector */
    uint32_t sq_tail;           /* the driver's own copies */
    uint32_t cq_head;
} QVBURing;

/* What the device's descriptor says and the driver goes by */
typedef struct QVBUDesc {
    uint16_t num_rings;
    uint16_t num_poll_rings;
    uint16_t num_windows;
    uint32_t align;             /* bytes */
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint32_t ring_bytes;
    uint32_t sqe_bytes;
    uint32_t sq_head;
    uint32_t sq_tail;
    uint32_t sq_flags;
    uint32_t cq_head;
    uint32_t cq_tail;
    uint32_t cq_flags;
    uint32_t cqes;
} QVBUDesc;

/* The interface "virtio-blk-uring" */
struct QVirtioBlkUring {
    QVirtioPCIDevice *pci;
    QTestState *qts;
    QGuestAllocator *alloc;
    QVBUDesc desc;
    QVBURing rings[QVBU_MAX_QUEUES];
    unsigned nrings;            /* that have a virtqueue */
};

/* The node "virtio-blk-uring-pci"; @stock is what QEMU's own tests expect */
typedef struct QVirtioBlkUringPCI {
    QVirtioBlkPCI stock;
    QVirtioBlkUring uring;
} QVirtioBlkUringPCI;

/* One MSI-X vector, with the guest memory that its message goes to */
typedef struct QVBUVector {
    QVirtioBlkUring *u;
    uint16_t entry;
    uint64_t addr;
} QVBUVector;

/* Driver of a device that a test has plugged in; @pci stays the caller's. */
void qvbu_init(QVirtioBlkUring *u, QVirtioPCIDevice *pci,
               QGuestAllocator *alloc);

uint64_t qvbu_config_read(QVirtioBlkUring *u, uint64_t offset, unsigned width);
void qvbu_config_write(QVirtioBlkUring *u, uint64_t offset, unsigned width,
                       uint64_t value);

/*
 * Take the device's features but those in @without, set @queues virtqueues up
 * (virtqueue i is ring i's doorbell), set DRIVER_OK, read the descriptor.
 */
void qvbu_negotiate(QVirtioBlkUring *u, unsigned queues, uint64_t without);
bool qvbu_offers_uring(QVirtioBlkUring *u);

/* The same once more, with a reset before it; ring memory is kept. */
void qvbu_renegotiate(QVirtioBlkUring *u, unsigned queues);

/* Frees the virtqueues, as each test has to at its end. */
void qvbu_cleanup(QVirtioBlkUring *u);

/* Allocate what is missing of ring memory, spoil it, tell the device. */
void qvbu_give_memory(QVirtioBlkUring *u);

/* As above, then ACTIVATE, and return the state that follows STARTING. */
uint32_t qvbu_activate(QVirtioBlkUring *u);

/* All of it, for a test that starts where the rings run */
void qvbu_start(QVirtioBlkUring *u, unsigned queues);

/* Write @command and return the state after it, STARTING waited out. */
uint32_t qvbu_command(QVirtioBlkUring *u, uint32_t command);

void qvbu_assert_state(QVirtioBlkUring *u, uint32_t state, uint32_t reason);
void qvbu_await_state(QVirtioBlkUring *u, uint32_t state);
bool qvbu_activatable(QVirtioBlkUring *u);

/* What SQEs and iovecs have to call the @len bytes of guest memory at @gpa */
uint64_t qvbu_translate(QVirtioBlkUring *u, uint64_t gpa, uint64_t len);

/* 32 bits of ring memory, @offset as the descriptor gives it */
uint32_t qvbu_ring_read(QVBURing *r, uint32_t offset);
void qvbu_ring_write(QVBURing *r, uint32_t offset, uint32_t value);

/* Write @sqe, in host byte order, as the next one; the tail stays. */
void qvbu_queue_sqe(QVBURing *r, const struct io_uring_sqe *sqe);
/* Publish all that was queued. */
void qvbu_publish(QVBURing *r);
/* Notify virtqueue i, which wakes ring i. */
void qvbu_doorbell(QVBURing *r);
bool qvbu_asleep(QVBURing *r);

bool qvbu_has_cqe(QVBURing *r);
/* Await and take the next CQE.  @user_data may be NULL. */
int32_t qvbu_reap(QVBURing *r, uint64_t *user_data);

/*
 * Prepare a READV or WRITEV of @n segments; @gpa and @len tell them.
 * The array of iovecs lies in new guest memory, which lives as long as QEMU.
 */
void qvbu_prep_rw(QVBURing *r, struct io_uring_sqe *sqe, uint8_t opcode,
                  uint64_t disk_offset, const uint64_t *gpa,
                  const uint32_t *len, unsigned n);
void qvbu_prep_fsync(struct io_uring_sqe *sqe);

/* Submit @sqe alone, ring the doorbell, return its CQE's res. */
int32_t qvbu_do(QVBURing *r, const struct io_uring_sqe *sqe);
/* One segment of @len bytes, from or to @gpa */
int32_t qvbu_rw(QVBURing *r, uint8_t opcode, uint64_t disk_offset,
                uint64_t gpa, uint32_t len);

/* A whole virtio-blk request over @r's virtqueue; returns its status byte. */
uint8_t qvbu_virtqueue_request(QVBURing *r, uint32_t type, uint64_t sector,
                               uint64_t gpa, uint32_t len);

/* Give MSI-X entry @entry a message of its own.  MSI-X has to be enabled. */
void qvbu_vector_init(QVBUVector *v, QVirtioBlkUring *u, uint16_t entry);
void qvbu_vector_mask(QVBUVector *v, bool mask);
/* Whether its message arrived since the last call */
bool qvbu_vector_fired(QVBUVector *v);

#endif
