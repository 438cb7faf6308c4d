/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: rings that are taken away with requests in them,
 * or that the guest has made a mess of
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_blk.h"
#include "libqos/virtio-blk-uring-disk.h"

#define HOTPLUG_SLOT    6

#define PATTERN_BYTE    0xa5

typedef struct Reads {
    uint64_t mem;
    struct io_uring_sqe sqe;
} Reads;

/* Fills the SQ with reads of 1 MiB each, all to the same memory. */
static void start_many_reads(Reads *reads, QVBURing *r)
{
    uint32_t len = 1 * MiB;
    unsigned i;

    reads->mem = guest_alloc(r->u->alloc, len);
    qvbu_prep_rw(r, &reads->sqe, IORING_OP_READV, 0, &reads->mem, &len, 1);
    for (i = 0; i < r->u->desc.sq_entries; i++) {
        reads->sqe.off = i % (QVBU_DISK_BYTES / len) * len;
        qvbu_queue_sqe(r, &reads->sqe);
    }
    qvbu_publish(r);
    qvbu_doorbell(r);
}

/*
 * Nothing of a former ring may touch the memory that was its own.  As bait
 * there is one more request in it, ready to be executed.
 */
static void check_abandoned(Reads *reads, QVBURing *r)
{
    QVirtioBlkUring *u = r->u;
    uint32_t posted = qvbu_ring_read(r, u->desc.cq_tail);
    uint32_t taken = qvbu_ring_read(r, u->desc.sq_head);

    g_test_message("%u of %u requests were started, %u had completed",
                   taken, r->sq_tail, posted);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    qtest_memset(u->qts, reads->mem, PATTERN_BYTE, 1 * MiB);

    r->sq_tail = taken;
    qvbu_queue_sqe(r, &reads->sqe);
    qvbu_publish(r);
    qvbu_assert_stays(qvbu_ring_read(r, u->desc.sq_head) == taken &&
                      qvbu_ring_read(r, u->desc.cq_tail) == posted &&
                      qvbu_mem_is(u, reads->mem, 1 * MiB, PATTERN_BYTE));

    qtest_memset(u->qts, r->ring, PATTERN_BYTE, u->desc.ring_bytes);
    qtest_memset(u->qts, r->sqes, PATTERN_BYTE, u->desc.sqe_bytes);
    qvbu_assert_stays(qvbu_mem_is(u, r->ring, u->desc.ring_bytes,
                                  PATTERN_BYTE) &&
                      qvbu_mem_is(u, r->sqes, u->desc.sqe_bytes,
                                  PATTERN_BYTE));
}

/* Reset */

static void test_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    Reads reads;
    unsigned round;

    qvbu_disk_fill(data, 0, QVBU_DISK_BYTES, 1);
    qvbu_start(u, 1);
    for (round = 0; round < 5; round++) {
        start_many_reads(&reads, r);
        qvirtio_reset(&u->pci->vdev);
        qvbu_assert_path(u, "virtqueue", "none");
        check_abandoned(&reads, r);

        qvbu_renegotiate(u, 1);
        qvbu_check_activation(u, data);
    }
    qvbu_cleanup(u);
}

static void test_system_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    Reads reads;

    qvbu_disk_fill(data, 0, QVBU_DISK_BYTES, 1);
    qvbu_start(u, 1);
    start_many_reads(&reads, r);
    qtest_system_reset(u->qts);
    qvbu_assert_path(u, "virtqueue", "none");
    check_abandoned(&reads, r);

    qvirtio_pci_device_enable(u->pci);
    qvbu_renegotiate(u, 1);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* Death and burial */

static void test_give_up(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Reads reads;

    qvbu_disk_fill(data, 0, QVBU_DISK_BYTES, 1);
    qvbu_start(u, 1);
    start_many_reads(&reads, &u->rings[0]);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP), ==,
                     VIRTIO_BLK_URING_DEAD);
    qvbu_assert_state(u, VIRTIO_BLK_URING_DEAD, VIRTIO_BLK_URING_REASON_DRIVER);
    qvbu_assert_path(u, "dead", "driver");
    g_assert_false(qvbu_activatable(u));
    check_abandoned(&reads, &u->rings[0]);
    /* What was in flight is replayed over the virtqueue. */
    qvbu_check_virtqueue(&u->rings[0], data);
    g_assert_cmpuint(qvbu_get(u, path_state), ==, VIRTIO_BLK_URING_DEAD);

    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* A stopped machine does no I/O: its rings do not outlive the stop. */
static void test_stop(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVirtioDevice *vdev = &u->pci->vdev;
    Reads reads;

    qvbu_disk_fill(data, 0, QVBU_DISK_BYTES, 1);
    qvbu_start(u, 1);
    qpci_io_readb(u->pci->pdev, u->pci->bar, u->pci->isr_cfg_offset);
    start_many_reads(&reads, &u->rings[0]);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'stop' }");
    qvbu_assert_path(u, "dead", "machine-stopped");
    check_abandoned(&reads, &u->rings[0]);

    /* The driver may have missed the first word of it: there is another. */
    qvirtio_wait_config_isr(vdev, QVBU_TIMEOUT_US);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'cont' }");
    qvirtio_wait_config_isr(vdev, QVBU_TIMEOUT_US);
    qvbu_assert_state(u, VIRTIO_BLK_URING_DEAD,
                      VIRTIO_BLK_URING_REASON_STOPPED);
    qvbu_check_virtqueue(&u->rings[0], data);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* A stopped machine may be migrated, though its driver cannot answer. */
static void test_stop_and_migrate(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;

    qvbu_start(u, 1);
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'migrate-set-capabilities',"
                             " 'arguments': { 'capabilities': [ {"
                             " 'capability': 'events', 'state': true } ] } }");
    qtest_qmp_assert_success(u->qts, "{ 'execute': 'migrate', 'arguments': {"
                             " 'uri': 'exec:cat >/dev/null' } }");
    for (;;) {
        g_autoptr(QDict) event = qtest_qmp_eventwait_ref(u->qts, "MIGRATION");
        const char *status = qdict_get_str(qdict_get_qdict(event, "data"),
                                           "status");

        g_assert_cmpstr(status, !=, "failed");
        if (!strcmp(status, "completed")) {
            break;
        }
    }
    qvbu_cleanup(u);
}

/* The driver says that it has drained, but it has not. */
static void test_undrained(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    Reads reads;

    qvbu_disk_fill(data, 0, QVBU_DISK_BYTES, 1);
    qvbu_start(u, 1);
    qvbu_set_passthrough(u, false);
    start_many_reads(&reads, &u->rings[0]);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);
    check_abandoned(&reads, &u->rings[0]);
    qvbu_set_passthrough(u, true);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* Whoever may not be bus master may not have a ring. */
static void test_bus_master(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QPCIDevice *pdev = u->pci->pdev;
    uint16_t command = qpci_config_readw(pdev, PCI_COMMAND);
    Reads reads;

    qvbu_disk_fill(data, 0, QVBU_DISK_BYTES, 1);
    qvbu_start(u, 1);
    start_many_reads(&reads, &u->rings[0]);
    qpci_config_writew(pdev, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
    check_abandoned(&reads, &u->rings[0]);

    qpci_config_writew(pdev, PCI_COMMAND, command);
    qvbu_renegotiate(u, 1);
    qvbu_check_activation(u, data);
    qvbu_cleanup(u);
}

/* The rings' file was opened for the kind of writes that there was then. */
static void test_write_cache(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVirtioPCIDevice *pci = u->pci;
    uint64_t mem;

    if (!qvbu_disk_can_tell_dirty(data)) {
        return;
    }
    qvbu_start(u, 1);
    qpci_io_writeb(pci->pdev, pci->bar, pci->device_cfg_offset +
                   offsetof(struct virtio_blk_config, wce), 0);
    qvbu_await_state(u, VIRTIO_BLK_URING_DEAD);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    g_assert_cmpuint(qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED), ==,
                     VIRTIO_BLK_URING_VIRTQUEUE);

    qvbu_check_activation(u, data);
    mem = qvbu_mem_new(u, 65536, 1);
    g_assert_cmpint(qvbu_rw(&u->rings[0], IORING_OP_WRITEV, 65536, mem, 65536),
                    ==, 65536);
    g_assert_cmpuint(qvbu_disk_dirty_pages(data, 65536, 65536), ==, 0);
    qvbu_cleanup(u);
}

/* Hostile or broken drivers: QEMU has to survive, and reset has to help. */

static void check_survival(QVirtioBlkUring *u, QVBUDisk *disk)
{
    qvbu_assert_path(u, "ring", "none");
    qvbu_check_virtqueue(&u->rings[0], disk);
    qvirtio_reset(&u->pci->vdev);
    g_assert_cmpuint(qvbu_sqpoll_threads(u), ==, 0);
    qvbu_renegotiate(u, 1);
    qvbu_check_activation(u, disk);
    qvbu_cleanup(u);
}

/* Completions that are never taken */
static void test_overflow(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    uint64_t mem = guest_alloc(alloc, 512);
    uint32_t len = 512;
    struct io_uring_sqe sqe;
    unsigned i;

    qvbu_start(u, 1);
    qvbu_prep_rw(r, &sqe, IORING_OP_READV, 0, &mem, &len, 1);
    for (i = 0; i < 2 * u->desc.cq_entries; i++) {
        qvbu_queue_sqe(r, &sqe);
        qvbu_publish(r);
        if (qvbu_asleep(r)) {
            qvbu_doorbell(r);
        }
    }
    qvbu_await(qvbu_ring_read(r, u->desc.sq_flags) & IORING_SQ_CQ_OVERFLOW);
    check_survival(u, data);
}

/* A tail far ahead: the kernel takes the same SQEs again and again. */
static void test_runaway(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];
    Reads reads;

    qvbu_start(u, 1);
    start_many_reads(&reads, r);
    qvbu_ring_write(r, u->desc.sq_tail, r->sq_tail + 100000);
    qvbu_doorbell(r);
    check_survival(u, data);
}

static void test_scribbled(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *u = obj;
    QVBURing *r = &u->rings[0];

    qvbu_start(u, 1);
    qvbu_check_ring(r, data);
    qtest_memset(u->qts, r->sqes, 0xff, u->desc.sqe_bytes);
    qtest_memset(u->qts, r->ring, 0xff, u->desc.ring_bytes);
    qvbu_doorbell(r);
    qvbu_mem_fill(u, r->ring, u->desc.ring_bytes, 1);
    qvbu_doorbell(r);
    check_survival(u, data);
}

/* Hot unplug */

static QVBUDisk *spare_disk;

static void *unplug_before(GString *cmd_line, void *arg)
{
    spare_disk = qvbu_disk_new();
    g_string_append_printf(cmd_line, " -drive if=none,id=drive1,file=%s,"
                           "format=raw ", spare_disk->path);
    return qvbu_disk_before(cmd_line, arg);
}

static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBlkUring *other = obj;
    QTestState *qts = other->qts;
    QVirtioBlkUring u = { };
    QVirtioPCIDevice *pci;
    Reads reads;

    qvbu_start(other, 1);
    qvbu_disk_fill(spare_disk, 0, QVBU_DISK_BYTES, 1);
    qtest_qmp_device_add(qts, "virtio-blk-uring", "plugged",
                         "{ 'addr': %s, 'drive': 'drive1',"
                         " 'isolation': 'process' }",
                         stringify(HOTPLUG_SLOT) ".0");
    pci = virtio_pci_new(other->pci->pdev->bus, &(QPCIAddress) {
                             .devfn = QPCI_DEVFN(HOTPLUG_SLOT, 0) });
    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    qvirtio_start_device(&pci->vdev);
    qvbu_init(&u, pci, alloc);
    qvbu_start(&u, 1);
    qvbu_check_ring(&u.rings[0], spare_disk);
    g_assert_cmpuint(qvbu_open_files(&u, spare_disk->path), >=, 2);

    start_many_reads(&reads, &u.rings[0]);
    qpci_unplug_acpi_device_test(qts, "plugged", HOTPLUG_SLOT);

    /* The other device's thread is left, and nothing of this one's. */
    g_assert_cmpuint(qvbu_sqpoll_threads(&u), ==, 1);
    qvbu_await(!qvbu_open_files(&u, spare_disk->path));
    qtest_memset(qts, reads.mem, PATTERN_BYTE, 1 * MiB);
    qtest_memset(qts, u.rings[0].ring, PATTERN_BYTE, u.desc.ring_bytes);
    qvbu_assert_stays(qvbu_mem_is(&u, reads.mem, 1 * MiB, PATTERN_BYTE) &&
                      qvbu_mem_is(&u, u.rings[0].ring, u.desc.ring_bytes,
                                  PATTERN_BYTE));
    qvbu_check_ring(&other->rings[0], data);

    qvbu_cleanup(&u);
    qos_object_destroy(&pci->obj);
    qvbu_cleanup(other);
}

static void add(const char *name, QOSTestFunc func, const char *device)
{
    QOSGraphTestOptions opts = {
        .before = func == test_unplug ? unplug_before : qvbu_disk_before,
        .edge.extra_device_opts = device,
    };

    qos_add_test(name, "virtio-blk-uring", func, &opts);
}

static void register_tests(void)
{
    add("reset/device", test_reset, NULL);
    add("reset/system", test_system_reset, NULL);
    add("reset/bus-master", test_bus_master, NULL);
    add("reset/bus-master-ioeventfd-off", test_bus_master, "ioeventfd=off");
    add("dead/give-up", test_give_up, NULL);
    add("dead/stop", test_stop, NULL);
    add("dead/stop-and-migrate", test_stop_and_migrate, NULL);
    add("dead/write-cache", test_write_cache, NULL);
    add("suspend/undrained", test_undrained, NULL);
    add("broken-driver/overflow", test_overflow, NULL);
    add("broken-driver/runaway", test_runaway, NULL);
    add("broken-driver/scribbled", test_scribbled, NULL);
    add("unplug", test_unplug, NULL);
}

libqos_init(register_tests);
