/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: the states of the path and what leads from one to
 * the other
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_config.h"
#include "libqos/virtio-blk-uring-disk.h"

/* Activation */

static void test_bad_address(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t good_ring, good_sqes, ram_end, which;
    unsigned i;

    qvbu_negotiate(u, 1, 0);
    qvbu_give_memory(u);
    good_ring = r->ring;
    good_sqes = r->sqes;
    qvbu_set(u, window_select, 0);
    ram_end = qvbu_get(u, window_gpa) + qvbu_get(u, window_size);

    for (i = 0; i < 2; i++) {
        uint64_t good = i ? good_sqes : good_ring;
        uint64_t bytes = QEMU_ALIGN_UP(i ? u->desc.sqe_bytes :
                                       u->desc.ring_bytes, u->desc.align);
        const uint64_t bad[] = {
            good + 64,                              /* unaligned */
            good + u->desc.align / 2,
            1ull << 40,                             /* nothing there */
            u->pci->bar.addr,                       /* MMIO */
            ram_end,
            ram_end - bytes + u->desc.align,        /* half in RAM, half not */
            UINT64_MAX - u->desc.align + 1,         /* wraps */
            UINT64_MAX,
        };

        for (which = 0; which < ARRAY_SIZE(bad); which++) {
            qvbu_set(u, queue_select, 0);
            qvbu_set(u, queue_ring, i ? good_ring : bad[which]);
            qvbu_set(u, queue_sqes, i ? bad[which] : good_sqes);
            g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_ACTIVATE),
                             ==, VIRTIO_BLK_URING_VIRTQUEUE);
            qvbu_assert_state(u, VIRTIO_BLK_URING_VIRTQUEUE,
                              VIRTIO_BLK_URING_REASON_BAD_ADDRESS);
            qvbu_assert_path(u, "virtqueue", "bad-address");
            g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
        }
    }
    qvbu_check_virtqueue(r, data);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* One bad ring takes all of them down, those before it included. */
static void test_bad_address_of_one(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 3, 0);
    qvbu_give_memory(u);
    qvbu_set(u, queue_select, 2);
    qvbu_set(u, queue_sqes, 1ull << 40);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_ACTIVATE), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    qvbu_assert_state(u, VIRTIO_BLK_URING_VIRTQUEUE,
                      VIRTIO_BLK_URING_REASON_BAD_ADDRESS);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

static void test_before_driver_ok(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvirtio_set_features(&u->pci->vdev,
                         1ull << VIRTIO_F_VERSION_1 |
                         1ull << VIRTIO_BLK_F_URING);
    u->desc.align = 4096;
    u->desc.ring_bytes = 65536;
    u->desc.sqe_bytes = 65536;
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_VIRTQUEUE);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
}

static void test_wrong_commands(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint32_t in_virtqueue[] = {
        VIRTIO_BLK_URING_CMD_NONE, VIRTIO_BLK_URING_CMD_SUSPENDED,
        VIRTIO_BLK_URING_CMD_BURIED, VIRTIO_BLK_URING_CMD_GIVE_UP,
        5, 0x80000000, UINT32_MAX,
    };
    static const uint32_t in_ring[] = {
        VIRTIO_BLK_URING_CMD_NONE, VIRTIO_BLK_URING_CMD_ACTIVATE,
        VIRTIO_BLK_URING_CMD_SUSPENDED, VIRTIO_BLK_URING_CMD_BURIED,
        5, 0x80000000, UINT32_MAX,
    };
    static const uint32_t in_dead[] = {
        VIRTIO_BLK_URING_CMD_NONE, VIRTIO_BLK_URING_CMD_ACTIVATE,
        VIRTIO_BLK_URING_CMD_SUSPENDED, VIRTIO_BLK_URING_CMD_GIVE_UP,
        5, 0x80000000, UINT32_MAX,
    };
    QVirtioBlkUring *u = obj;
    unsigned i;

    qvbu_negotiate(u, 1, 0);
    for (i = 0; i < ARRAY_SIZE(in_virtqueue); i++) {
        g_assert_cmpuint(qvbu_command(u, in_virtqueue[i]), ==,
                         VIRTIO_BLK_URING_VIRTQUEUE);
    }
    qvbu_check_virtqueue(&u->rings[0], data);

    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
    for (i = 0; i < ARRAY_SIZE(in_ring); i++) {
        g_assert_cmpuint(qvbu_command(u, in_ring[i]), ==,
                         VIRTIO_BLK_URING_RING);
        qvbu_check_ring(&u->rings[0], data);
    }
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 1);

    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP), ==,
                     VIRTIO_BLK_URING_DEAD);
    for (i = 0; i < ARRAY_SIZE(in_dead); i++) {
        g_assert_cmpuint(qvbu_command(u, in_dead[i]), ==,
                         VIRTIO_BLK_URING_DEAD);
    }
    qvbu_cleanup(u);
}

/* A driver may give up rings before they are there. */
static void check_cancel(QVirtioBlkUring *u)
{
    uint32_t state;
    unsigned round;

    for (round = 0; round < 4; round++) {
        qvbu_give_memory(u);
        qvbu_set(u, command, VIRTIO_BLK_URING_CMD_ACTIVATE);
        qvbu_set(u, command, VIRTIO_BLK_URING_CMD_GIVE_UP);
        qvbu_await((state = qvbu_get(u, path_state)) !=
                   VIRTIO_BLK_URING_STARTING && state != VIRTIO_BLK_URING_RING);
        if (state == VIRTIO_BLK_URING_DEAD) {
            /* They were there. */
            qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
        }
        qvbu_assert_state(u, VIRTIO_BLK_URING_VIRTQUEUE,
                          VIRTIO_BLK_URING_REASON_DRIVER);
        /* Nobody writes to the driver's memory any more. */
        qtest_memset(u->qts, u->rings[0].ring, 0xa5, u->desc.ring_bytes);
        qvbu_get(u, path_state);
        g_assert_cmphex(qvbu_ring_read(&u->rings[0], u->desc.sq_flags), ==,
                        0xa5a5a5a5);
    }
}

/*
 * A driver that gives up its rings again and again gets new ones no more than
 * once a second, and is told when.
 */
static void check_backoff(QVirtioBlkUring *u)
{
    unsigned round;

    for (round = 0; qvbu_activatable(u); round++) {
        g_assert_cmpuint(round, <, 20);
        g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
        qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP);
        qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
    }
    g_assert_cmpuint(round, >=, 2);
    /* Not before; and a reset does not help. */
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_VIRTQUEUE);
    qvbu_renegotiate(u, 1);
    g_assert_false(qvbu_activatable(u));
    qvbu_await(qvbu_activatable(u));
}

/* What is written next, without a read in between, is no command again. */
static void test_command_once(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 1, 0);
    qvbu_give_memory(u);
    qvbu_set(u, queue_ring, 0);
    qvbu_set(u, command, VIRTIO_BLK_URING_CMD_BURIED);
    qvbu_set(u, queue_ring, u->rings[0].ring);
    g_assert_cmphex(qvbu_get(u, queue_ring), ==, u->rings[0].ring);

    qvbu_set(u, command, VIRTIO_BLK_URING_CMD_ACTIVATE);
    qvbu_set(u, window_select, 1);
    qvbu_await_state(u, VIRTIO_BLK_URING_RING);
    qvbu_set(u, command, VIRTIO_BLK_URING_CMD_GIVE_UP);
    qvbu_set(u, window_select, 0);
    qvbu_await_state(u, VIRTIO_BLK_URING_DEAD);
    qvbu_set(u, window_select, 2);
    qvbu_set(u, command, VIRTIO_BLK_URING_CMD_BURIED);
    qvbu_set(u, window_select, 1);
    qvbu_assert_state(u, VIRTIO_BLK_URING_VIRTQUEUE,
                      VIRTIO_BLK_URING_REASON_DRIVER);
    check_cancel(u);
    check_backoff(u);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* Virtqueues are busy, in another thread, while rings are being built. */
static void test_under_load(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    unsigned round, i;

    qvbu_negotiate(u, 4, 0);
    /* As often as the device lets a guest do it in a row */
    for (round = 0; round < 7; round++) {
        qvbu_give_memory(u);
        for (i = 0; i < u->nrings; i++) {
            qvbu_doorbell(&u->rings[i]);
        }
        g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_ACTIVATE), ==,
                         VIRTIO_BLK_URING_RING);
        for (i = 0; i < u->nrings; i++) {
            qvbu_check_ring(&u->rings[i], data);
        }
        g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP), ==,
                         VIRTIO_BLK_URING_DEAD);
        g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                         VIRTIO_BLK_URING_VIRTQUEUE);
    }
    qvbu_cleanup(u);
}

/* Running rings do not move, whatever is written. */
static void test_fixed_while_running(void *obj, void *data,
                                     QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];

    qvbu_start(u, 1);
    qvbu_set(u, queue_ring, r->ring + u->desc.align);
    qvbu_set(u, queue_sqes, r->sqes + u->desc.align);
    qvbu_set(u, queue_vector, 1);
    g_assert_cmphex(qvbu_get(u, queue_ring), ==, r->ring);
    g_assert_cmphex(qvbu_get(u, queue_sqes), ==, r->sqes);
    g_assert_cmphex(qvbu_get(u, queue_vector), ==, VIRTIO_BLK_URING_NO_VECTOR);
    qvbu_check_ring(r, data);
    qvbu_cleanup(u);
}

/* What the driver selected before is forgotten as well. */
static void test_after_reset(void *obj, void *data,
                                 QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVirtioDevice *vdev = &u->pci->vdev;
    uint64_t ring;

    qvbu_negotiate(u, 4, 0);
    qvbu_give_memory(u);
    ring = u->rings[0].ring;
    qvbu_set(u, queue_select, 3);
    qvbu_set(u, window_select, 1);

    qvirtio_start_device(vdev);
    qvirtio_set_features(vdev, 1ull << VIRTIO_F_VERSION_1 |
                               1ull << VIRTIO_BLK_F_URING);
    /* The first access to the config space is a write. */
    qvbu_set(u, queue_ring, ring);
    g_assert_cmpuint(qvbu_get(u, queue_select), ==, 0);
    g_assert_cmpuint(qvbu_get(u, window_select), ==, 0);
    g_assert_cmphex(qvbu_get(u, queue_ring), ==, ring);
    g_assert_cmphex(qvbu_get(u, queue_sqes), ==, 0);
    qvbu_cleanup(u);
}

/* Suspend and resume */

static void test_suspend(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVirtioDevice *vdev = &u->pci->vdev;
    unsigned round;

    qvbu_start(u, 2);
    for (round = 0; round < 3; round++) {
        qpci_io_readb(u->pci->pdev, u->pci->bar, u->pci->isr_cfg_offset);
        qvbu_set_passthrough(u, false);
        qvirtio_wait_config_isr(vdev, QVBU_TIMEOUT_US);
        qvbu_assert_state(u, VIRTIO_BLK_URING_SUSPENDING,
                          VIRTIO_BLK_URING_REASON_ADMIN);
        qvbu_assert_path(u, "suspending", "administrator");
        g_assert_false(qvbu_activatable(u));
        /* The driver drains: what it has begun still completes. */
        qvbu_check_ring(&u->rings[0], data);

        g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED), ==,
                         VIRTIO_BLK_URING_VIRTQUEUE);
        g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
        g_assert_false(qvbu_activatable(u));
        qvbu_check_virtqueue(&u->rings[0], data);
        qvbu_check_virtqueue(&u->rings[1], data);
        g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_VIRTQUEUE);

        qpci_io_readb(u->pci->pdev, u->pci->bar, u->pci->isr_cfg_offset);
        qvbu_set_passthrough(u, true);
        qvirtio_wait_config_isr(vdev, QVBU_TIMEOUT_US);
        qvbu_check_activation(u, data);
        qvbu_assert_state(u, VIRTIO_BLK_URING_RING,
                          VIRTIO_BLK_URING_REASON_NONE);
    }
    qvbu_cleanup(u);
}

/* The administrator thinks better of it before the driver has answered. */
static void test_suspend_and_back(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    qvbu_set_passthrough(u, false);
    qvbu_set_passthrough(u, true);
    if (qvbu_get(u, path_state) == VIRTIO_BLK_URING_SUSPENDING) {
        g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED), ==,
                         VIRTIO_BLK_URING_VIRTQUEUE);
        qvbu_check_activation(u, data);
    }
    qvbu_assert_state(u, VIRTIO_BLK_URING_RING, VIRTIO_BLK_URING_REASON_NONE);
    qvbu_check_ring(&u->rings[0], data);
    qvbu_cleanup(u);
}

/* A driver that does not drain loses its rings to force. */
static void test_suspend_timeout(void *obj, void *data,
                                 QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    qvbu_set_passthrough(u, false);
    qvbu_await_state(u, VIRTIO_BLK_URING_DEAD);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    qvbu_check_virtqueue(&u->rings[0], data);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    qvbu_set_passthrough(u, true);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

static void test_suspend_give_up(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    qvbu_set_passthrough(u, false);
    qvbu_await_state(u, VIRTIO_BLK_URING_SUSPENDING);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP), ==,
                     VIRTIO_BLK_URING_DEAD);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    g_assert_false(qvbu_activatable(u));
    qvbu_set_passthrough(u, true);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* A stopped machine gets no rings; the driver learns when it may ask again. */
static void test_after_stop(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_negotiate(u, 1, 0);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'stop' }");
    g_assert_false(qvbu_activatable(u));
    qpci_io_readb(u->pci->pdev, u->pci->bar, u->pci->isr_cfg_offset);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'cont' }");
    qvirtio_wait_config_isr(&u->pci->vdev, QVBU_TIMEOUT_US);
    g_assert_true(qvbu_activatable(u));
    qvbu_assert_state(u, VIRTIO_BLK_URING_VIRTQUEUE,
                      VIRTIO_BLK_URING_REASON_NONE);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* The machine gets more memory, of which running rings know nothing. */
static void test_memory_grows(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    uint64_t mem = 4ull << 30;
    unsigned windows;

    qvbu_start(u, 1);
    windows = u->desc.num_windows;
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'object-add',"
                             " 'arguments': { 'qom-type': 'memory-backend-memfd',"
                             " 'id': 'more', 'size': %d,"
                             " 'share': true } }", 128 << 20);
    qtest_qmp_device_add(u->qts, "pc-dimm", "dimm0",
                         "{ 'memdev': 'more', 'addr': %" PRIu64 " }", mem);
    qvbu_await_state(u, VIRTIO_BLK_URING_SUSPENDING);
    qvbu_assert_state(u, VIRTIO_BLK_URING_SUSPENDING,
                      VIRTIO_BLK_URING_REASON_MEMORY);
    /* What the driver goes by does not change under its hands. */
    g_assert_cmpuint(qvbu_get(u, num_windows), ==, windows);
    qvbu_check_ring(&u->rings[0], data);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);

    qvbu_renegotiate(u, 1);
    g_assert_cmpuint(u->desc.num_windows, ==, windows + 1);
    qvbu_check_activation(u, data);
    qvbu_mem_fill(u, mem, 4096, 77);
    g_assert_cmpint(qvbu_rw(&u->rings[0], IORING_OP_WRITEV, 0, mem, 4096), ==,
                    4096);
    qvbu_disk_check(data, 0, 4096, 77);
    qvbu_cleanup(u);
}

static void add(const char *name, QOSTestFunc func, const char *device)
{
    QOSGraphTestOptions opts = {
        .before = qvbu_disk_before,
        .edge.extra_device_opts = device,
    };

    if (func == test_under_load) {
        opts.edge.after_cmd_line = "-object iothread,id=thread0";
    }
    if (func == test_memory_grows) {
        opts.edge.after_cmd_line = "-m 128M,slots=1,maxmem=1G";
    }
    qos_add_test(name, "virtio-blk-uring", func, &opts);
}

static void register_tests(void)
{
    add("activate/bad-address", test_bad_address, NULL);
    add("activate/bad-address-of-one", test_bad_address_of_one,
        "num-queues=3");
    add("activate/before-driver-ok", test_before_driver_ok, NULL);
    add("activate/wrong-commands", test_wrong_commands, NULL);
    add("activate/command-once", test_command_once, NULL);
    add("activate/under-load", test_under_load,
        "num-queues=4,iothread=thread0");
    add("activate/fixed-while-running", test_fixed_while_running, NULL);
    add("activate/after-reset", test_after_reset, "num-queues=4");
    add("suspend/resume", test_suspend, "num-queues=2");
    add("suspend/and-back", test_suspend_and_back, NULL);
    add("suspend/memory-grows", test_memory_grows, NULL);
    add("suspend/timeout", test_suspend_timeout, NULL);
    add("suspend/give-up", test_suspend_give_up, NULL);
    add("activate/after-stop", test_after_stop, NULL);
}

libqos_init(register_tests);
