/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos: a driver of virtio-blk-uring, as small as a test can bear
 */

#include "qemu/osdep.h"
#include <sys/uio.h>
#include "../libqtest.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_config.h"
#include "virtio-blk-uring.h"

#define PCI_SLOT        4
#define PCI_FN          0

#define VECTOR_DATA     0x600d1234

/* Config space */

/*
 * libqos has only reads of the config space, and they insist on negotiated
 * features.  What a device shows before that is of interest here.
 */
uint64_t qvbu_config_read(QVirtioBlkUring *u, uint64_t offset, unsigned width)
{
    QPCIDevice *pdev = u->pci->pdev;
    uint64_t at = u->pci->device_cfg_offset + offset;

    switch (width) {
    case 2:
        return qpci_io_readw(pdev, u->pci->bar, at);
    case 4:
        return qpci_io_readl(pdev, u->pci->bar, at);
    case 8:
        return qpci_io_readl(pdev, u->pci->bar, at) |
               (uint64_t)qpci_io_readl(pdev, u->pci->bar, at + 4) << 32;
    default:
        g_assert_not_reached();
    }
}

void qvbu_config_write(QVirtioBlkUring *u, uint64_t offset, unsigned width,
                       uint64_t value)
{
    QPCIDevice *pdev = u->pci->pdev;
    uint64_t at = u->pci->device_cfg_offset + offset;

    switch (width) {
    case 2:
        qpci_io_writew(pdev, u->pci->bar, at, value);
        break;
    case 4:
        qpci_io_writel(pdev, u->pci->bar, at, value);
        break;
    case 8:
        qpci_io_writel(pdev, u->pci->bar, at, value);
        qpci_io_writel(pdev, u->pci->bar, at + 4, value >> 32);
        break;
    default:
        g_assert_not_reached();
    }
}

static void read_descriptor(QVirtioBlkUring *u)
{
    u->desc = (QVBUDesc) {
        .num_rings = qvbu_get(u, num_rings),
        .num_poll_rings = qvbu_get(u, num_poll_rings),
        .num_windows = qvbu_get(u, num_windows),
        .align = 1u << qvbu_get(u, ring_align),
        .sq_entries = qvbu_get(u, sq_entries),
        .cq_entries = qvbu_get(u, cq_entries),
        .ring_bytes = qvbu_get(u, ring_bytes),
        .sqe_bytes = qvbu_get(u, sqe_bytes),
        .sq_head = qvbu_get(u, sq_head),
        .sq_tail = qvbu_get(u, sq_tail),
        .sq_flags = qvbu_get(u, sq_flags),
        .cq_head = qvbu_get(u, cq_head),
        .cq_tail = qvbu_get(u, cq_tail),
        .cq_flags = qvbu_get(u, cq_flags),
        .cqes = qvbu_get(u, cqes),
    };
}

/* Negotiation */

void qvbu_init(QVirtioBlkUring *u, QVirtioPCIDevice *pci,
               QGuestAllocator *alloc)
{
    unsigned i;

    u->pci = pci;
    u->qts = pci->pdev->bus->qts;
    u->alloc = alloc;
    for (i = 0; i < QVBU_MAX_QUEUES; i++) {
        u->rings[i] = (QVBURing) {
            .u = u,
            .index = i,
            .vector = VIRTIO_BLK_URING_NO_VECTOR,
        };
    }
}

bool qvbu_offers_uring(QVirtioBlkUring *u)
{
    return qvirtio_get_features(&u->pci->vdev) & (1ull << VIRTIO_BLK_F_URING);
}

void qvbu_negotiate(QVirtioBlkUring *u, unsigned queues, uint64_t without)
{
    QVirtioDevice *vdev = &u->pci->vdev;
    unsigned i;

    /* libqos' virtqueues are of the plain kind. */
    without |= QVIRTIO_F_BAD_FEATURE | 1ull << VIRTIO_RING_F_EVENT_IDX |
               1ull << VIRTIO_RING_F_INDIRECT_DESC;
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) & ~without);

    g_assert_cmpuint(queues, <=, QVBU_MAX_QUEUES);
    for (i = 0; i < queues; i++) {
        u->rings[i].vq = qvirtqueue_setup(vdev, u->alloc, i);
    }
    u->nrings = queues;

    qvirtio_set_driver_ok(vdev);
    if (!(without & (1ull << VIRTIO_BLK_F_URING))) {
        read_descriptor(u);
    }
}

void qvbu_renegotiate(QVirtioBlkUring *u, unsigned queues)
{
    qvirtio_start_device(&u->pci->vdev);
    qvbu_cleanup(u);
    qvbu_negotiate(u, queues, 0);
}

void qvbu_cleanup(QVirtioBlkUring *u)
{
    unsigned i;

    for (i = 0; i < u->nrings; i++) {
        qvirtqueue_cleanup(u->pci->vdev.bus, u->rings[i].vq, u->alloc);
        u->rings[i].vq = NULL;
    }
    u->nrings = 0;
}

/* States */

static uint64_t alloc_aligned(QVirtioBlkUring *u, uint64_t bytes)
{
    uint64_t addr = guest_alloc(u->alloc, bytes + u->desc.align);

    return QEMU_ALIGN_UP(addr, u->desc.align);
}

void qvbu_give_memory(QVirtioBlkUring *u)
{
    unsigned i;

    for (i = 0; i < u->nrings; i++) {
        QVBURing *r = &u->rings[i];

        if (!r->ring) {
            r->ring = alloc_aligned(u, u->desc.ring_bytes);
            r->sqes = alloc_aligned(u, u->desc.sqe_bytes);
        }
        /* The device clears the ring; what was there must not matter. */
        qtest_memset(u->qts, r->ring, 0x5a, u->desc.ring_bytes);
        qtest_memset(u->qts, r->sqes, 0x5a, u->desc.sqe_bytes);
        r->sq_tail = 0;
        r->cq_head = 0;

        qvbu_set(u, queue_select, i);
        qvbu_set(u, queue_vector, r->vector);
        qvbu_set(u, queue_ring, r->ring);
        qvbu_set(u, queue_sqes, r->sqes);
    }
}

uint32_t qvbu_command(QVirtioBlkUring *u, uint32_t command)
{
    uint32_t state;

    uint32_t before = qvbu_get(u, path_state);

    qvbu_set(u, command, command);
    qvbu_await((state = qvbu_get(u, path_state)) != VIRTIO_BLK_URING_STARTING);
    if ((command == VIRTIO_BLK_URING_CMD_SUSPENDED &&
         before == VIRTIO_BLK_URING_SUSPENDING) ||
        (command == VIRTIO_BLK_URING_CMD_GIVE_UP &&
         (before == VIRTIO_BLK_URING_SUSPENDING ||
          before == VIRTIO_BLK_URING_RING))) {
        /* The end of the rings may take a while. */
        qvbu_await((state = qvbu_get(u, path_state)) != before);
    }
    return state;
}

uint32_t qvbu_activate(QVirtioBlkUring *u)
{
    qvbu_give_memory(u);
    return qvbu_command(u, VIRTIO_BLK_URING_CMD_ACTIVATE);
}

void qvbu_start(QVirtioBlkUring *u, unsigned queues)
{
    qvbu_negotiate(u, queues, 0);
    g_assert_cmpuint(qvbu_activate(u), ==, VIRTIO_BLK_URING_RING);
}

void qvbu_assert_state(QVirtioBlkUring *u, uint32_t state, uint32_t reason)
{
    g_assert_cmpuint(qvbu_get(u, path_state), ==, state);
    g_assert_cmpuint(qvbu_get(u, path_reason), ==, reason);
}

void qvbu_await_state(QVirtioBlkUring *u, uint32_t state)
{
    qvbu_await(qvbu_get(u, path_state) == state);
}

bool qvbu_activatable(QVirtioBlkUring *u)
{
    return qvbu_get(u, path_flags) & VIRTIO_BLK_URING_PATH_ACTIVATABLE;
}

/* Rings */

uint64_t qvbu_translate(QVirtioBlkUring *u, uint64_t gpa, uint64_t len)
{
    unsigned i;

    for (i = 0; i < u->desc.num_windows; i++) {
        uint64_t start, size;

        qvbu_set(u, window_select, i);
        start = qvbu_get(u, window_gpa);
        size = qvbu_get(u, window_size);
        if (gpa >= start && gpa - start < size && len <= size - (gpa - start)) {
            return qvbu_get(u, window_addr) + (gpa - start);
        }
    }
    g_error("no window holds 0x%" PRIx64 " + 0x%" PRIx64, gpa, len);
}

uint32_t qvbu_ring_read(QVBURing *r, uint32_t offset)
{
    uint32_t value;

    qtest_memread(r->u->qts, r->ring + offset, &value, sizeof(value));
    return le32_to_cpu(value);
}

void qvbu_ring_write(QVBURing *r, uint32_t offset, uint32_t value)
{
    value = cpu_to_le32(value);
    qtest_memwrite(r->u->qts, r->ring + offset, &value, sizeof(value));
}

void qvbu_queue_sqe(QVBURing *r, const struct io_uring_sqe *sqe)
{
    uint32_t entries = r->u->desc.sq_entries;
    struct io_uring_sqe le = *sqe;

    qvbu_await(r->sq_tail - qvbu_ring_read(r, r->u->desc.sq_head) < entries);

    le.ioprio = cpu_to_le16(sqe->ioprio);
    le.fd = cpu_to_le32(sqe->fd);
    le.off = cpu_to_le64(sqe->off);
    le.addr = cpu_to_le64(sqe->addr);
    le.len = cpu_to_le32(sqe->len);
    le.rw_flags = cpu_to_le32(sqe->rw_flags);
    le.user_data = cpu_to_le64(sqe->user_data);
    qtest_memwrite(r->u->qts,
                   r->sqes + (r->sq_tail & (entries - 1)) * sizeof(le),
                   &le, sizeof(le));
    r->sq_tail++;
}

void qvbu_publish(QVBURing *r)
{
    qvbu_ring_write(r, r->u->desc.sq_tail, r->sq_tail);
}

void qvbu_doorbell(QVBURing *r)
{
    QVirtioDevice *vdev = &r->u->pci->vdev;

    vdev->bus->virtqueue_kick(vdev, r->vq);
}

bool qvbu_asleep(QVBURing *r)
{
    return qvbu_ring_read(r, r->u->desc.sq_flags) & IORING_SQ_NEED_WAKEUP;
}

bool qvbu_has_cqe(QVBURing *r)
{
    return qvbu_ring_read(r, r->u->desc.cq_tail) != r->cq_head;
}

int32_t qvbu_reap(QVBURing *r, uint64_t *user_data)
{
    uint32_t slot = r->cq_head & (r->u->desc.cq_entries - 1);
    struct io_uring_cqe cqe;

    qvbu_await(qvbu_has_cqe(r));
    qtest_memread(r->u->qts, r->ring + r->u->desc.cqes + slot * sizeof(cqe),
                  &cqe, sizeof(cqe));
    r->cq_head++;
    qvbu_ring_write(r, r->u->desc.cq_head, r->cq_head);

    if (user_data) {
        *user_data = le64_to_cpu(cqe.user_data);
    }
    return le32_to_cpu(cqe.res);
}

void qvbu_prep_rw(QVBURing *r, struct io_uring_sqe *sqe, uint8_t opcode,
                  uint64_t disk_offset, const uint64_t *gpa,
                  const uint32_t *len, unsigned n)
{
    QVirtioBlkUring *u = r->u;
    uint64_t list = guest_alloc(u->alloc, n * 2 * sizeof(uint64_t));
    unsigned i;

    for (i = 0; i < n; i++) {
        uint64_t iov[2] = {
            cpu_to_le64(qvbu_translate(u, gpa[i], len[i])),
            cpu_to_le64(len[i]),
        };

        qtest_memwrite(u->qts, list + i * sizeof(iov), iov, sizeof(iov));
    }

    *sqe = (struct io_uring_sqe) {
        .opcode = opcode,
        .flags = IOSQE_FIXED_FILE,
        .off = disk_offset,
        .addr = qvbu_translate(u, list, n * 2 * sizeof(uint64_t)),
        .len = n,
    };
}

void qvbu_prep_fsync(struct io_uring_sqe *sqe)
{
    *sqe = (struct io_uring_sqe) {
        .opcode = IORING_OP_FSYNC,
        .flags = IOSQE_FIXED_FILE,
    };
}

int32_t qvbu_do(QVBURing *r, const struct io_uring_sqe *sqe)
{
    static uint64_t tag = 0x7461670000000000;
    struct io_uring_sqe tagged = *sqe;
    uint64_t user_data;
    int32_t res;

    tagged.user_data = ++tag;
    qvbu_queue_sqe(r, &tagged);
    qvbu_publish(r);
    qvbu_doorbell(r);
    res = qvbu_reap(r, &user_data);
    g_assert_cmphex(user_data, ==, tagged.user_data);
    return res;
}

int32_t qvbu_rw(QVBURing *r, uint8_t opcode, uint64_t disk_offset,
                uint64_t gpa, uint32_t len)
{
    struct io_uring_sqe sqe;

    qvbu_prep_rw(r, &sqe, opcode, disk_offset, &gpa, &len, 1);
    return qvbu_do(r, &sqe);
}

/* The virtqueues, for what is to work beside the rings or without them */

uint8_t qvbu_virtqueue_request(QVBURing *r, uint32_t type, uint64_t sector,
                               uint64_t gpa, uint32_t len)
{
    QVirtioBlkUring *u = r->u;
    struct virtio_blk_outhdr header = {
        .type = cpu_to_le32(type),
        .sector = cpu_to_le64(sector),
    };
    uint64_t addr = guest_alloc(u->alloc, sizeof(header) + 1);
    uint64_t status_addr = addr + sizeof(header);
    uint8_t status;
    uint32_t head;

    qtest_memwrite(u->qts, addr, &header, sizeof(header));
    qtest_writeb(u->qts, status_addr, 0xff);

    qvirtqueue_reset_pool(r->vq);
    head = qvirtqueue_add(u->qts, r->vq, addr, sizeof(header), false, true);
    if (len) {
        qvirtqueue_add(u->qts, r->vq, gpa, len, type == VIRTIO_BLK_T_IN ||
                       type == VIRTIO_BLK_T_GET_ID, true);
    }
    qvirtqueue_add(u->qts, r->vq, status_addr, 1, true, false);
    qvirtqueue_kick(u->qts, r->vq->vdev, r->vq, head);
    qvbu_await(qvirtqueue_get_buf(u->qts, r->vq, NULL, NULL));

    status = qtest_readb(u->qts, status_addr);
    guest_free(u->alloc, addr);
    return status;
}

/* MSI-X */

static void vector_write(QVBUVector *v, unsigned field, uint32_t value)
{
    QPCIDevice *pdev = v->u->pci->pdev;

    qpci_io_writel(pdev, pdev->msix_table_bar,
                   pdev->msix_table_off + v->entry * PCI_MSIX_ENTRY_SIZE +
                   field, value);
}

void qvbu_vector_init(QVBUVector *v, QVirtioBlkUring *u, uint16_t entry)
{
    g_assert_true(u->pci->pdev->msix_enabled);
    g_assert_cmpuint(entry, <, qpci_msix_table_size(u->pci->pdev));

    v->u = u;
    v->entry = entry;
    v->addr = guest_alloc(u->alloc, sizeof(uint32_t));
    qtest_writel(u->qts, v->addr, 0);

    vector_write(v, PCI_MSIX_ENTRY_LOWER_ADDR, v->addr);
    vector_write(v, PCI_MSIX_ENTRY_UPPER_ADDR, v->addr >> 32);
    vector_write(v, PCI_MSIX_ENTRY_DATA, VECTOR_DATA + entry);
    qvbu_vector_mask(v, false);
}

void qvbu_vector_mask(QVBUVector *v, bool mask)
{
    vector_write(v, PCI_MSIX_ENTRY_VECTOR_CTRL,
                 mask ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0);
}

bool qvbu_vector_fired(QVBUVector *v)
{
    uint32_t data = qtest_readl(v->u->qts, v->addr);

    if (!data) {
        return false;
    }
    g_assert_cmphex(data, ==, VECTOR_DATA + v->entry);
    qtest_writel(v->u->qts, v->addr, 0);
    return true;
}

/* The node */

static void *virtio_blk_uring_pci_get_driver(void *object,
                                             const char *interface)
{
    QVirtioBlkUringPCI *node = object;

    if (!g_strcmp0(interface, "virtio-blk-uring") ||
        !g_strcmp0(interface, "virtio-blk-uring-queues") ||
        !g_strcmp0(interface, "virtio-blk-uring-admin") ||
        !g_strcmp0(interface, "virtio-blk-uring-refused")) {
        return &node->uring;
    }
    if (!g_strcmp0(interface, "virtio-blk")) {
        return &node->stock.blk;
    }
    if (!g_strcmp0(interface, "virtio-blk-uring-as-virtio-blk-pci")) {
        return node;
    }
    if (!g_strcmp0(interface, "virtio")) {
        return &node->stock.pci_vdev.vdev;
    }
    if (!g_strcmp0(interface, "pci-device")) {
        return node->stock.pci_vdev.pdev;
    }
    g_error("virtio-blk-uring-pci does not produce %s", interface);
}

static void *virtio_blk_uring_pci_create(void *bus, QGuestAllocator *alloc,
                                         void *addr)
{
    QVirtioBlkUringPCI *node = g_new0(QVirtioBlkUringPCI, 1);
    QVirtioPCIDevice *pci = &node->stock.pci_vdev;

    virtio_pci_init(pci, bus, addr);
    g_assert_cmphex(pci->vdev.device_type, ==, VIRTIO_ID_BLOCK);
    node->stock.blk.vdev = &pci->vdev;
    qvbu_init(&node->uring, pci, alloc);

    pci->obj.get_driver = virtio_blk_uring_pci_get_driver;
    return &pci->obj;
}

static void register_nodes(void)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(PCI_SLOT, PCI_FN) };
    QOSGraphEdgeOptions opts = {
        /* The jail's part of guest memory has to be shared with it. */
        .before_cmd_line = "-object memory-backend-memfd,id=ram,size=128M,"
                           "share=on -machine memory-backend=ram",
        .extra_device_opts = "id=drv0,drive=drive0,addr="
            stringify(PCI_SLOT) "." stringify(PCI_FN),
    };
    QOSGraphEdgeOptions idle = {
        .before_cmd_line = "-drive if=none,id=null0,driver=null-co,"
                           "read-zeroes=on",
        .extra_device_opts = "drive=null0,addr="
            stringify(PCI_SLOT) "." stringify(PCI_FN) ",passthrough=off",
    };
    /* They name the node virtio-blk-pci, which is no interface. */
    static const char *const stock_pci_tests[] = {
        "virtio-blk-pci-tests/msix",
        "virtio-blk-pci-tests/idx",
        "virtio-blk-pci-tests/nxvirtq",
        "virtio-blk-pci-tests/hotplug",
    };
    unsigned i;

    /* With the disk "drive0" that each test brings along */
    add_qpci_address(&opts, &addr);
    qos_node_create_driver("virtio-blk-uring-pci",
                           virtio_blk_uring_pci_create);
    qos_node_consumes("virtio-blk-uring-pci", "pci-bus", &opts);
    qos_node_produces("virtio-blk-uring-pci", "virtio-blk");
    qos_node_produces("virtio-blk-uring-pci", "virtio-blk-uring");
    /* The same; libqos has no room for more tests of one interface. */
    qos_node_produces("virtio-blk-uring-pci", "virtio-blk-uring-queues");
    qos_node_produces("virtio-blk-uring-pci", "virtio-blk-uring-refused");
    qos_node_produces("virtio-blk-uring-pci", "virtio-blk-uring-admin");
    qos_node_produces("virtio-blk-uring-pci",
                      "virtio-blk-uring-as-virtio-blk-pci");
    for (i = 0; i < ARRAY_SIZE(stock_pci_tests); i++) {
        qos_node_consumes(stock_pci_tests[i],
                          "virtio-blk-uring-as-virtio-blk-pci", NULL);
    }

    /* With a disk of its own, for tests that know nothing of disks */
    add_qpci_address(&idle, &addr);
    qos_node_create_driver_named("virtio-blk-uring-pci-idle",
                                 "virtio-blk-uring-pci",
                                 virtio_blk_uring_pci_create);
    qos_node_consumes("virtio-blk-uring-pci-idle", "pci-bus", &idle);
    qos_node_produces("virtio-blk-uring-pci-idle", "virtio");
    qos_node_produces("virtio-blk-uring-pci-idle", "pci-device");
}

libqos_init(register_nodes);
