/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: interrupts
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_blk.h"
#include "libqos/virtio-blk-uring-disk.h"

/*
 * Entry 0 is for the configuration; those of the virtqueues would follow, but
 * these tests leave them alone and take the last ones for the rings.
 */
typedef struct Vectors {
    QVBUVector config;
    QVBUVector ring[QVBU_MAX_QUEUES];
} Vectors;

static void vectors_init(Vectors *v, QVirtioBlkUring *u, unsigned rings)
{
    uint16_t entries;
    unsigned i;

    qpci_msix_enable(u->pci->pdev);
    entries = qpci_msix_table_size(u->pci->pdev);
    g_assert_cmpuint(entries, >, rings);

    qvbu_vector_init(&v->config, u, 0);
    for (i = 0; i < rings; i++) {
        qvbu_vector_init(&v->ring[i], u, entries - 1 - i);
    }
    /* libqos looks at virtqueues' vectors only where a test asks for that. */
    u->pci->msix_ops->set_config_vector(u->pci, 0);
}

/* Has vectors for @rings rings, and uses them if @use; rings run. */
static void start(Vectors *v, QVirtioBlkUring *u, unsigned rings, bool use)
{
    unsigned i;

    vectors_init(v, u, rings);
    for (i = 0; use && i < rings; i++) {
        u->rings[i].vector = v->ring[i].entry;
    }
    qvbu_start(u, rings);
    qvbu_vector_fired(&v->config);
}

static void finish(QVirtioBlkUring *u)
{
    qvbu_cleanup(u);
    qpci_msix_disable(u->pci->pdev);
}

static void one_read(QVBURing *r)
{
    uint64_t mem = qvbu_mem_new(r->u, 512, 1);

    g_assert_cmpint(qvbu_rw(r, IORING_OP_READV, 0, mem, 512), ==, 512);
    guest_free(r->u->alloc, mem);
}

static void test_vector(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;
    unsigned i;

    start(&v, u, 1, true);
    for (i = 0; i < 3; i++) {
        one_read(&u->rings[0]);
        qvbu_await(qvbu_vector_fired(&v.ring[0]));
        qvbu_assert_stays(!qvbu_vector_fired(&v.ring[0]));
    }
    g_assert_false(qvbu_vector_fired(&v.config));
    g_assert_cmpuint(qvbu_query_counter(u, 0, "interrupts"), ==, 3);
    finish(u);
}

static void test_each_its_own(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;
    unsigned i, k;

    start(&v, u, 3, true);
    /* One each for the configuration, the virtqueues, and the rings */
    g_assert_cmpuint(qpci_msix_table_size(u->pci->pdev), ==, 1 + 3 + 3);
    for (i = 0; i < 3; i++) {
        one_read(&u->rings[i]);
        qvbu_await(qvbu_vector_fired(&v.ring[i]));
        for (k = 0; k < 3; k++) {
            g_assert_false(qvbu_vector_fired(&v.ring[k]));
        }
    }
    finish(u);
}

/* A driver that is short of vectors shares one. */
static void test_shared(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;
    unsigned i;

    vectors_init(&v, u, 2);
    u->rings[0].vector = v.ring[0].entry;
    u->rings[1].vector = v.ring[0].entry;
    qvbu_start(u, 2);
    for (i = 0; i < 2; i++) {
        one_read(&u->rings[i]);
        qvbu_await(qvbu_vector_fired(&v.ring[0]));
        g_assert_false(qvbu_vector_fired(&v.ring[1]));
    }
    finish(u);
}

static void test_masked(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;

    start(&v, u, 1, true);
    qvbu_vector_mask(&v.ring[0], true);
    g_assert_false(qpci_msix_pending(u->pci->pdev, v.ring[0].entry));
    one_read(&u->rings[0]);
    qvbu_await(qpci_msix_pending(u->pci->pdev, v.ring[0].entry));
    g_assert_false(qvbu_vector_fired(&v.ring[0]));

    qvbu_vector_mask(&v.ring[0], false);
    qvbu_await(qvbu_vector_fired(&v.ring[0]));
    g_assert_false(qpci_msix_pending(u->pci->pdev, v.ring[0].entry));

    one_read(&u->rings[0]);
    qvbu_await(qvbu_vector_fired(&v.ring[0]));
    finish(u);
}

/* While the driver polls, it switches interrupts off in the CQ's flags. */
static void test_eventfd_disabled(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    Vectors v;

    start(&v, u, 1, true);
    qvbu_ring_write(r, u->desc.cq_flags, IORING_CQ_EVENTFD_DISABLED);
    one_read(r);
    one_read(r);
    qvbu_assert_stays(!qvbu_vector_fired(&v.ring[0]));
    g_assert_cmpuint(qvbu_query_counter(u, 0, "interrupts"), ==, 0);

    /* By then it has looked at the flag for the last one. */
    qvbu_await(qvbu_asleep(r));
    qvbu_ring_write(r, u->desc.cq_flags, 0);
    qvbu_assert_stays(!qvbu_vector_fired(&v.ring[0]));
    one_read(r);
    qvbu_await(qvbu_vector_fired(&v.ring[0]));
    finish(u);
}

static void test_no_vector(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;

    start(&v, u, 1, false);
    one_read(&u->rings[0]);
    qvbu_await(qvbu_vector_fired(&v.config));
    g_assert_false(qvbu_vector_fired(&v.ring[0]));
    finish(u);
}

/* Without MSI-X the configuration interrupt is a pin and a bit in the ISR. */
static void test_intx(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVirtioPCIDevice *pci = u->pci;

    qvbu_start(u, 1);
    qpci_io_readb(pci->pdev, pci->bar, pci->isr_cfg_offset);
    one_read(&u->rings[0]);
    qvirtio_wait_config_isr(&pci->vdev, QVBU_TIMEOUT_US);
    qvbu_cleanup(u);
}

static void test_poll_queue(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;

    start(&v, u, 2, true);
    one_read(&u->rings[1]);
    qvbu_assert_stays(!qvbu_vector_fired(&v.ring[1]));
    g_assert_false(qvbu_vector_fired(&v.config));
    one_read(&u->rings[0]);
    qvbu_await(qvbu_vector_fired(&v.ring[0]));
    finish(u);
}

static void test_after_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;

    start(&v, u, 1, true);
    one_read(&u->rings[0]);
    qvbu_await(qvbu_vector_fired(&v.ring[0]));

    qvbu_renegotiate(u, 1);
    g_assert_false(qvbu_vector_fired(&v.config));
    u->pci->msix_ops->set_config_vector(u->pci, 0);
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    one_read(&u->rings[0]);
    qvbu_await(qvbu_vector_fired(&v.ring[0]));
    finish(u);
}

/* What completes while a ring goes away is no news to the next one. */
static void test_left_over(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint32_t len = 1 * MiB;
    uint64_t mem = guest_alloc(alloc, len);
    struct io_uring_sqe sqe;
    unsigned round, i;
    Vectors v;

    start(&v, u, 1, true);
    qvbu_prep_rw(r, &sqe, IORING_OP_READV, 0, &mem, &len, 1);
    for (round = 0; round < 5; round++) {
        for (i = 0; i < u->desc.sq_entries; i++) {
            qvbu_queue_sqe(r, &sqe);
        }
        qvbu_publish(r);
        qvbu_doorbell(r);
        qvbu_renegotiate(u, 1);
        qvbu_vector_fired(&v.ring[0]);

        g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
        qvbu_assert_stays(!qvbu_vector_fired(&v.ring[0]));
    }
    finish(u);
}

static void check_bad_vector(QVirtioBlkUring *u, QVBUDisk *disk,
                             uint16_t vector)
{
    u->rings[0].vector = vector;
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_VIRTQUEUE);
    g_assert_cmpuint(qvbu_get(u, path_reason), ==,
                     VIRTIO_BLK_URING_REASON_BAD_VECTOR);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    qvbu_check_virtqueue(&u->rings[0], disk);
}

static void test_bad_vector(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Vectors v;

    vectors_init(&v, u, 1);
    qvbu_negotiate(u, 1, 0);
    check_bad_vector(u, data, qpci_msix_table_size(u->pci->pdev));
    check_bad_vector(u, data, 0xfffe);

    u->rings[0].vector = v.ring[0].entry;
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    one_read(&u->rings[0]);
    qvbu_await(qvbu_vector_fired(&v.ring[0]));
    finish(u);
}

static void add(const char *name, QOSTestFunc func, const char *device)
{
    QOSGraphTestOptions opts = {
        .before = qvbu_disk_before,
        .edge.extra_device_opts = device,
    };

    qos_add_test(name, "virtio-blk-uring", func, &opts);
}

static void register_tests(void)
{
    add("irq/vector", test_vector, NULL);
    add("irq/each-its-own", test_each_its_own, "num-queues=3");
    add("irq/shared", test_shared, "num-queues=2");
    add("irq/masked", test_masked, NULL);
    add("irq/eventfd-disabled", test_eventfd_disabled, NULL);
    add("irq/no-vector", test_no_vector, NULL);
    add("irq/intx", test_intx, NULL);
    add("irq/poll-queue", test_poll_queue, "num-queues=1,poll-queues=1");
    add("irq/after-reset", test_after_reset, NULL);
    add("irq/left-over", test_left_over, NULL);
    add("irq/bad-vector", test_bad_vector, NULL);
}

libqos_init(register_tests);
