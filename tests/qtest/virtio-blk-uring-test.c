/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: negotiation, descriptor, what a ring refuses
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_config.h"
#include "libqos/virtio-blk-uring-disk.h"

#define URING_BIT       (1ull << VIRTIO_BLK_F_URING)
#define READ_OPCODES    (1ull << IORING_OP_READV | 1ull << IORING_OP_FSYNC)
#define ALL_OPCODES     (READ_OPCODES | 1ull << IORING_OP_WRITEV)

/* Negotiation */

static void test_negotiate(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVirtioDevice *vdev = &u->pci->vdev;

    g_assert_true(qvbu_offers_uring(u));
    qvbu_negotiate(u, 1, 0);
    g_assert_cmphex(vdev->bus->get_guest_features(vdev) & URING_BIT, ==,
                    URING_BIT);
    g_assert_cmpuint(qvbu_get(u, path_state), ==, VIRTIO_BLK_URING_VIRTQUEUE);
    g_assert_cmpuint(qvbu_get(u, path_reason), ==,
                     VIRTIO_BLK_URING_REASON_NONE);
    g_assert_true(qvbu_activatable(u));
    qvbu_assert_path(u, "virtqueue", "none");

    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    qvbu_assert_path(u, "ring", "none");
    qvbu_check_ring(&u->rings[0], data);
    qvbu_cleanup(u);
}

static void test_not_negotiated(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 1, URING_BIT);
    g_assert_false(qvbu_activatable(u));

    /* A driver that asks all the same, with memory that would do */
    u->desc.align = 4096;
    u->desc.ring_bytes = 65536;
    u->desc.sqe_bytes = 65536;
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_VIRTQUEUE);
    qvbu_assert_path(u, "virtqueue", "none");
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);

    qvbu_check_virtqueue(&u->rings[0], data);
    qvbu_cleanup(u);
}

static void test_passthrough_off(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    g_assert_false(qvbu_offers_uring(u));
    qvbu_negotiate(u, 1, URING_BIT);
    g_assert_cmphex(qvbu_get(u, magic), !=, VIRTIO_BLK_URING_MAGIC);
    qvbu_set(u, command, VIRTIO_BLK_URING_CMD_ACTIVATE);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    qvbu_check_virtqueue(&u->rings[0], data);
    qvbu_cleanup(u);
}

/* Descriptor */

static void test_descriptor(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBUDesc *d = &u->desc;

    qvbu_negotiate(u, 1, 0);
    g_assert_cmphex(qvbu_get(u, magic), ==, VIRTIO_BLK_URING_MAGIC);
    g_assert_cmpuint(qvbu_get(u, version), ==, VIRTIO_BLK_URING_VERSION);
    g_assert_cmpuint(qvbu_get(u, size), ==,
                     sizeof(struct virtio_blk_uring_config));
    g_assert_cmphex(qvbu_get(u, features), ==,
                    1u << VIRTIO_BLK_URING_F_VECTOR |
                    1u << VIRTIO_BLK_URING_F_DSYNC);
    g_assert_cmpuint(d->num_rings, ==, 1);
    g_assert_cmpuint(d->num_poll_rings, ==, 0);
    g_assert_cmpuint(d->num_windows, >=, 1);
    g_assert_cmphex(qvbu_get(u, opcodes), ==, ALL_OPCODES);

    g_assert_true(is_power_of_2(d->sq_entries));
    g_assert_true(is_power_of_2(d->cq_entries));
    g_assert_cmpuint(d->cq_entries, >=, d->sq_entries);
    g_assert_cmpuint(d->sqe_bytes, >=,
                     d->sq_entries * sizeof(struct io_uring_sqe));
    g_assert_cmpuint(d->ring_bytes, >=,
                     d->cqes + d->cq_entries * sizeof(struct io_uring_cqe));
    g_assert_cmpuint(d->align, >=, 4096);
    g_assert_cmpuint(d->ring_bytes % d->align, ==, 0);
    g_assert_cmpuint(d->sqe_bytes % d->align, ==, 0);

    g_assert_cmpuint(qvbu_get(u, max_segments), >=, 1);
    g_assert_cmpuint(qvbu_get(u, max_segments), <=, 1024);
    g_assert_cmpuint(qvbu_get(u, max_bytes), >=, 1024 * 1024);
    g_assert_true(is_power_of_2(qvbu_get(u, mem_align)));
    g_assert_cmpuint(qvbu_get(u, offset_align), ==, 512);
    g_assert_cmphex(qvbu_get(u, reserved0), ==, 0);
    g_assert_cmphex(qvbu_get(u, reserved1), ==, 0);
    g_assert_cmphex(qvbu_get(u, reserved2), ==, 0);
    qvbu_cleanup(u);
}

/* What the kernel makes of the ring memory is as announced. */
static void test_descriptor_offsets(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    uint32_t offset[(QVBU_OFFSET(reserved0) - QVBU_OFFSET(sq_head)) / 4];
    unsigned i, k;

    qvbu_start(u, 1);
    for (i = 0; i < ARRAY_SIZE(offset); i++) {
        offset[i] = qvbu_config_read(u, QVBU_OFFSET(sq_head) + 4 * i, 4);
        g_assert_cmpuint(offset[i] % 4, ==, 0);
        g_assert_cmpuint(offset[i], <, u->desc.ring_bytes);
        for (k = 0; k < i; k++) {
            g_assert_cmpuint(offset[i], !=, offset[k]);
        }
    }
    g_assert_cmpuint(qvbu_ring_read(&u->rings[0], qvbu_get(u, sq_ring_mask)),
                     ==, u->desc.sq_entries - 1);
    g_assert_cmpuint(qvbu_ring_read(&u->rings[0], qvbu_get(u, cq_ring_mask)),
                     ==, u->desc.cq_entries - 1);

    qvbu_check_ring(&u->rings[0], data);
    /* The kernel moves it after it has posted the CQE. */
    qvbu_await(qvbu_ring_read(&u->rings[0], qvbu_get(u, sq_head)) == 2);
    g_assert_cmpuint(qvbu_ring_read(&u->rings[0], qvbu_get(u, sq_dropped)),
                     ==, 0);
    g_assert_cmpuint(qvbu_ring_read(&u->rings[0], qvbu_get(u, cq_overflow)),
                     ==, 0);
    qvbu_cleanup(u);
}

/* The device's own fields are not the driver's to write. */
static void test_descriptor_readonly(void *obj, void *data,
                                     QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    uint32_t before[QVBU_OFFSET(command) / 4];
    unsigned at;

    qvbu_negotiate(u, 1, 0);
    for (at = VIRTIO_BLK_URING_CONFIG_OFFSET; at < QVBU_OFFSET(command);
         at += 4) {
        before[at / 4] = qvbu_config_read(u, at, 4);
        qvbu_config_write(u, at, 4, ~before[at / 4]);
    }
    for (at = VIRTIO_BLK_URING_CONFIG_OFFSET; at < QVBU_OFFSET(command);
         at += 4) {
        g_assert_cmphex(qvbu_config_read(u, at, 4), ==, before[at / 4]);
    }

    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    g_assert_cmphex(qvbu_get(u, command), ==, 0);
    qvbu_check_ring(&u->rings[0], data);
    qvbu_cleanup(u);
}

/* What a driver wrote is what it reads back, for each queue separately. */
static void test_descriptor_queues(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned i;

    qvbu_negotiate(u, 4, 0);
    g_assert_cmpuint(u->desc.num_rings, ==, 4);
    g_assert_cmpuint(u->desc.num_poll_rings, ==, 2);

    qvbu_give_memory(u);
    for (i = 0; i < 4; i++) {
        qvbu_set(u, queue_select, i);
        g_assert_cmphex(qvbu_get(u, queue_ring), ==, u->rings[i].ring);
        g_assert_cmphex(qvbu_get(u, queue_sqes), ==, u->rings[i].sqes);
        g_assert_cmphex(qvbu_get(u, queue_vector), ==,
                        VIRTIO_BLK_URING_NO_VECTOR);
        /* In one piece as well as in halves */
        g_assert_cmphex(qpci_io_readq(u->pci->pdev, u->pci->bar,
                                      u->pci->device_cfg_offset +
                                      QVBU_OFFSET(queue_ring)), ==,
                        u->rings[i].ring);
        qpci_io_writeq(u->pci->pdev, u->pci->bar, u->pci->device_cfg_offset +
                       QVBU_OFFSET(queue_sqes), 0x123456789a000);
        g_assert_cmphex(qvbu_get(u, queue_sqes), ==, 0x123456789a000);
        /* Interrupts first, polling last; the page cache is not polled */
        g_assert_cmphex(qvbu_get(u, queue_flags), ==,
                        i < 2 ? 0 : VIRTIO_BLK_URING_QUEUE_POLL);
    }
    qvbu_cleanup(u);
}

static uint64_t find_window(QVirtioBlkUring *u, uint64_t gpa)
{
    unsigned i;

    for (i = 0; i < u->desc.num_windows; i++) {
        qvbu_set(u, window_select, i);
        if (gpa >= qvbu_get(u, window_gpa) &&
            gpa - qvbu_get(u, window_gpa) < qvbu_get(u, window_size)) {
            return i;
        }
    }
    return UINT64_MAX;
}

static void test_windows(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t high = (4ull << 30) + (512 << 20);
    uint64_t end = 0;
    unsigned i;

    qvbu_start(u, 1);

    for (i = 0; i < u->desc.num_windows; i++) {
        qvbu_set(u, window_select, i);
        g_assert_cmphex(qvbu_get(u, window_size), >, 0);
        g_assert_cmphex(qvbu_get(u, window_gpa), >=, end);
        end = qvbu_get(u, window_gpa) + qvbu_get(u, window_size);
    }
    qvbu_set(u, window_select, u->desc.num_windows);
    g_assert_cmphex(qvbu_get(u, window_size), ==, 0);

    /* RAM on both sides of the PCI hole, and the hole not */
    g_assert_cmphex(find_window(u, 1 << 20), !=, UINT64_MAX);
    g_assert_cmphex(find_window(u, high), !=, UINT64_MAX);
    g_assert_cmphex(find_window(u, u->pci->bar.addr), ==, UINT64_MAX);

    qvbu_mem_fill(u, high, 4096, 3);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 0, high, 4096), ==, 4096);
    qvbu_disk_check(data, 0, 4096, 3);
    qvbu_disk_fill(data, 0, 4096, 4);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_READV, 0, high, 4096), ==, 4096);
    qvbu_mem_check(u, high, 4096, 4);
    qvbu_cleanup(u);
}

/* What a ring refuses */

static void test_opcodes(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t mem = guest_alloc(alloc, 4096);
    unsigned opcode;

    qvbu_start(u, 1);
    for (opcode = 0; opcode < 256; opcode++) {
        struct io_uring_sqe sqe = {
            .opcode = opcode,
            .flags = IOSQE_FIXED_FILE,
            .addr = qvbu_translate(u, mem, 4096),
            .len = 4096,
        };
        int32_t res;

        if (opcode < 64 && ALL_OPCODES & (1ull << opcode)) {
            continue;
        }
        res = qvbu_do(r, &sqe);
        /* An opcode that this kernel does not know is invalid. */
        g_assert_true(res == -EACCES || (opcode > 50 && res == -EINVAL));
    }
    qvbu_disk_check_zero(data, 0, QVBU_DISK_BYTES);
    qvbu_check_ring(r, data);
    qvbu_cleanup(u);
}

static void test_sqe_flags(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint8_t refused[] = {
        0, /* no IOSQE_FIXED_FILE: a file descriptor of QEMU's */
        IOSQE_FIXED_FILE | IOSQE_IO_LINK,
        IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK,
        IOSQE_FIXED_FILE | IOSQE_ASYNC,
        IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT,
    };
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint32_t len = 4096;
    struct io_uring_sqe sqe;
    uint64_t mem;
    unsigned i;

    qvbu_start(u, 1);
    mem = qvbu_mem_new(u, len, 5);
    qvbu_prep_rw(r, &sqe, IORING_OP_READV, 0, &mem, &len, 1);
    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        sqe.flags = refused[i];
        g_assert_cmpint(qvbu_do(r, &sqe), ==, -EACCES);
    }
    qvbu_mem_check(u, mem, len, 5);

    sqe.opcode = IORING_OP_WRITEV;
    sqe.flags = 0;
    g_assert_cmpint(qvbu_do(r, &sqe), ==, -EACCES);
    sqe.flags = IOSQE_FIXED_FILE;
    sqe.fd = 1;
    g_assert_cmpint(qvbu_do(r, &sqe), ==, -EBADF);
    sqe.fd = 0;
    sqe.addr = 0;
    g_assert_cmpint(qvbu_do(r, &sqe), ==, -EFAULT);
    qvbu_disk_check_zero(data, 0, len);

    qvbu_check_ring(r, data);
    qvbu_cleanup(u);
}

static void test_read_only(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    struct io_uring_sqe sqe;
    uint64_t mem;

    g_assert_cmphex(qvirtio_get_features(&u->pci->vdev) &
                    (1u << VIRTIO_BLK_F_RO), !=, 0);
    qvbu_start(u, 1);
    g_assert_cmphex(qvbu_get(u, opcodes), ==, READ_OPCODES);

    qvbu_disk_fill(data, 0, 4096, 6);
    mem = qvbu_mem_new(u, 4096, 7);
    g_assert_cmpint(qvbu_rw(r, IORING_OP_WRITEV, 0, mem, 4096), ==, -EACCES);
    qvbu_disk_check(data, 0, 4096, 6);

    g_assert_cmpint(qvbu_rw(r, IORING_OP_READV, 0, mem, 4096), ==, 4096);
    qvbu_mem_check(u, mem, 4096, 6);
    qvbu_prep_fsync(&sqe);
    g_assert_cmpint(qvbu_do(r, &sqe), ==, 0);
    qvbu_cleanup(u);
}

static void add(const char *name, QOSTestFunc func, const char *device,
                const char *drive, const char *machine)
{
    QOSGraphTestOptions opts = {
        .before = qvbu_disk_before,
        .arg = (void *)drive,
        .edge.extra_device_opts = device,
        .edge.after_cmd_line = machine,
    };

    qos_add_test(name, "virtio-blk-uring", func, &opts);
}

static void register_tests(void)
{
    add("negotiate", test_negotiate, NULL, NULL, NULL);
    add("not-negotiated", test_not_negotiated, NULL, NULL, NULL);
    add("passthrough-off", test_passthrough_off, "passthrough=off", NULL,
        NULL);
    add("descriptor/fields", test_descriptor, NULL, NULL, NULL);
    add("descriptor/offsets", test_descriptor_offsets, NULL, NULL, NULL);
    add("descriptor/read-only-fields", test_descriptor_readonly, NULL, NULL,
        NULL);
    add("descriptor/queues", test_descriptor_queues,
        "num-queues=2,poll-queues=2", NULL, NULL);
    add("windows", test_windows, NULL, NULL,
        "-object memory-backend-memfd,id=mem,size=6G,share=on"
        " -machine memory-backend=mem -m 6G");
    add("refused/opcodes", test_opcodes, NULL, NULL, NULL);
    add("refused/sqe-flags", test_sqe_flags, NULL, NULL, NULL);
    add("read-only", test_read_only, NULL, "read-only=on", NULL);
}

libqos_init(register_tests);
