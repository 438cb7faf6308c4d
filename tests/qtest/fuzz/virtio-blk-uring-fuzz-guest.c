/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzer of virtio-blk-uring: what a guest does, be its driver proper or not
 */

#include "qemu/osdep.h"
#include <linux/io_uring.h>
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "fuzz.h"
#include "virtio-blk-uring-fuzz.h"

/* Access to the device */

static void io_write(QPCIBar bar, uint64_t at, unsigned width, uint64_t value)
{
    switch (width) {
    case 1:
        qpci_io_writeb(rig.pci->pdev, bar, at, value);
        break;
    case 2:
        qpci_io_writew(rig.pci->pdev, bar, at, value);
        break;
    case 4:
        qpci_io_writel(rig.pci->pdev, bar, at, value);
        break;
    default:
        qpci_io_writel(rig.pci->pdev, bar, at, value);
        qpci_io_writel(rig.pci->pdev, bar, at + 4, value >> 32);
    }
}

static uint64_t io_read(QPCIBar bar, uint64_t at, unsigned width)
{
    switch (width) {
    case 1:
        return qpci_io_readb(rig.pci->pdev, bar, at);
    case 2:
        return qpci_io_readw(rig.pci->pdev, bar, at);
    case 4:
        return qpci_io_readl(rig.pci->pdev, bar, at);
    default:
        return qpci_io_readl(rig.pci->pdev, bar, at) |
               (uint64_t)qpci_io_readl(rig.pci->pdev, bar, at + 4) << 32;
    }
}

#define OFFSET(type, field) offsetof(struct type, field)
#define WIDTH(type, field)  sizeof(((struct type *)NULL)->field)

static void common_write(unsigned offset, unsigned width, uint64_t value)
{
    io_write(rig.pci->bar, rig.pci->common_cfg_offset + offset, width, value);
}

static uint64_t common_read(unsigned offset, unsigned width)
{
    return io_read(rig.pci->bar, rig.pci->common_cfg_offset + offset, width);
}

#define common_set(field, value) \
    common_write(OFFSET(virtio_pci_common_cfg, field), \
                 WIDTH(virtio_pci_common_cfg, field), value)
#define common_get(field) \
    common_read(OFFSET(virtio_pci_common_cfg, field), \
                WIDTH(virtio_pci_common_cfg, field))

static void uring_write(unsigned offset, unsigned width, uint64_t value)
{
    io_write(rig.pci->bar, rig.pci->device_cfg_offset +
             VIRTIO_BLK_URING_CONFIG_OFFSET + offset, width, value);
}

static uint64_t uring_read(unsigned offset, unsigned width)
{
    return io_read(rig.pci->bar, rig.pci->device_cfg_offset +
                   VIRTIO_BLK_URING_CONFIG_OFFSET + offset, width);
}

#define uring_set(field, value) \
    uring_write(OFFSET(virtio_blk_uring_config, field), \
                WIDTH(virtio_blk_uring_config, field), value)
#define uring_get(field) \
    uring_read(OFFSET(virtio_blk_uring_config, field), \
               WIDTH(virtio_blk_uring_config, field))

static uint32_t ring_read(unsigned q, uint32_t offset)
{
    return qtest_readl(rig.qts, RING_MEM(q) + offset);
}

static void notify(unsigned q)
{
    io_write(rig.pci->bar, rig.pci->notify_cfg_offset +
             q * rig.pci->notify_off_multiplier, 2, q);
}

void vbu_fuzz_read_descriptor(void)
{
    uint8_t *bytes = (uint8_t *)&rig.desc;

    for (unsigned i = 0; i < sizeof(rig.desc); i++) {
        bytes[i] = uring_read(i, 1);
    }
    g_assert(rig.desc.magic == VIRTIO_BLK_URING_MAGIC);
}

/* What a proper driver does */

void do_negotiate(Input *in)
{
    static const uint8_t zeroes[VQ_BYTES];
    /* Bits that it leaves out, most often none. */
    uint64_t without = take(in, 1) % 4 ? 0 : 1ull << take_below(in, 64);
    uint64_t features;

    common_set(device_status, 0);
    common_set(device_status, VIRTIO_CONFIG_S_ACKNOWLEDGE |
               VIRTIO_CONFIG_S_DRIVER);
    common_set(device_feature_select, 1);
    features = common_get(device_feature) << 32;
    common_set(device_feature_select, 0);
    features |= common_get(device_feature);
    /* Virtqueues of the plain kind */
    features &= ~(without | 1ull << VIRTIO_RING_F_EVENT_IDX |
                  1ull << VIRTIO_F_RING_PACKED);
    common_set(guest_feature_select, 0);
    common_set(guest_feature, (uint32_t)features);
    common_set(guest_feature_select, 1);
    common_set(guest_feature, features >> 32);
    common_set(device_status, VIRTIO_CONFIG_S_ACKNOWLEDGE |
               VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);

    for (unsigned q = 0; q < NUM_QUEUES; q++) {
        qtest_memwrite(rig.qts, VQ_MEM(q), zeroes, sizeof(zeroes));
        common_set(queue_select, q);
        common_set(queue_size, QUEUE_SIZE);
        common_set(queue_desc_lo, VQ_MEM(q));
        common_set(queue_avail_lo, VQ_MEM(q) + 0x1000);
        common_set(queue_used_lo, VQ_MEM(q) + 0x2000);
        common_set(queue_enable, 1);
    }
    common_set(device_status, VIRTIO_CONFIG_S_ACKNOWLEDGE |
               VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
               VIRTIO_CONFIG_S_DRIVER_OK);
}

void do_activate(Input *in)
{
    unsigned vectors = take(in, 1);

    for (unsigned q = 0; q < NUM_QUEUES; q++) {
        uring_set(queue_select, q);
        uring_set(queue_vector, vectors % 2 ? vectors / 2 + q :
                                              VIRTIO_BLK_URING_NO_VECTOR);
        uring_set(queue_ring, RING_MEM(q));
        uring_set(queue_sqes, SQES_MEM(q));
    }
    uring_set(command, VIRTIO_BLK_URING_CMD_ACTIVATE);
    vbu_fuzz_await_started();
}

void do_command(Input *in)
{
    uring_set(command, take_below(in, VIRTIO_BLK_URING_CMD_GIVE_UP + 2));
}

void do_msix(Input *in)
{
    unsigned entry = take_below(in, 8);
    QPCIBar bar = rig.pci->pdev->msix_table_bar;
    uint64_t at = rig.pci->pdev->msix_table_off + entry * PCI_MSIX_ENTRY_SIZE;
    uint8_t what = take(in, 1);

    io_write(bar, at + PCI_MSIX_ENTRY_LOWER_ADDR, 4, DATA_MEM + entry * 4);
    io_write(bar, at + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
    io_write(bar, at + PCI_MSIX_ENTRY_DATA, 4, entry);
    io_write(bar, at + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, what & 1);
    qpci_config_writew(rig.pci->pdev, rig.msix + PCI_MSIX_FLAGS,
                       (what & 2 ? 0 : PCI_MSIX_FLAGS_ENABLE) |
                       (what & 4 ? PCI_MSIX_FLAGS_MASKALL : 0));
}

/* Where SQEs of a ring without jail may point, and all of it */
static uint64_t window_addr(uint64_t gpa)
{
    unsigned windows = MIN(uring_get(num_windows), 16);

    for (unsigned i = 0; i < windows; i++) {
        uint64_t start, size;

        uring_set(window_select, i);
        start = uring_get(window_gpa);
        size = uring_get(window_size);
        if (gpa >= start && gpa - start < size) {
            return uring_get(window_addr) + (gpa - start);
        }
    }
    return 0;
}

void do_request(Input *in)
{
    unsigned q = take_below(in, NUM_QUEUES);
    unsigned op = take(in, 1);
    unsigned segments = take_below(in, 4);
    uint32_t tail = ring_read(q, rig.desc.sq_tail);
    uint64_t data, list;
    struct io_uring_sqe sqe;

    if (!rig.jailed && rig.strange) {
        return;
    }
    data = window_addr(DATA_MEM);
    list = window_addr(IOVEC_MEM);
    if (!data || !list) {
        return;
    }
    for (unsigned i = 0; i < segments; i++) {
        uint64_t len = take_below(in, DATA_BYTES + 1);

        qtest_writeq(rig.qts, IOVEC_MEM + i * 16, data);
        qtest_writeq(rig.qts, IOVEC_MEM + i * 16 + 8, len);
    }
    sqe = (struct io_uring_sqe) {
        .opcode = op % 4 ? op % 4 : op >> 2,
        .flags = IOSQE_FIXED_FILE,
        .off = take_below(in, DISK_BYTES * 2),
        .addr = list,
        .len = segments,
        .user_data = op,
    };
    if (sqe.opcode == IORING_OP_FSYNC) {
        sqe.off = sqe.addr = sqe.len = 0;
    }
    if (rig.jailed) {
        unsigned spoil = take_below(in, 8);

        for (unsigned i = 0; i < spoil; i++) {
            ((uint8_t *)&sqe)[take_below(in, sizeof(sqe))] = take(in, 1);
        }
    }
    qtest_memwrite(rig.qts,
                   SQES_MEM(q) + tail % rig.desc.sq_entries * sizeof(sqe),
                   &sqe, sizeof(sqe));
    qtest_writel(rig.qts, RING_MEM(q) + rig.desc.sq_tail, tail + 1);
    notify(q);
}

void do_reap(Input *in)
{
    unsigned q = take_below(in, NUM_QUEUES);
    unsigned patience = 1000;

    /* The kernel's threads want some time, if there is anything to complete. */
    while (ring_read(q, rig.desc.sq_tail) != ring_read(q, rig.desc.cq_tail) &&
           ring_read(q, rig.desc.cq_head) == ring_read(q, rig.desc.cq_tail) &&
           patience--) {
        g_usleep(10);
    }
    qtest_writel(rig.qts, RING_MEM(q) + rig.desc.cq_head,
                 ring_read(q, rig.desc.cq_tail));
}

void do_virtqueue_request(Input *in)
{
    unsigned q = take_below(in, NUM_QUEUES);
    struct virtio_blk_outhdr header = {
        .type = take_below(in, 16),
        .sector = take_below(in, DISK_BYTES / 512 + 16),
    };
    uint32_t len = take_below(in, DATA_BYTES);
    bool in_data = header.type == VIRTIO_BLK_T_IN ||
                   header.type == VIRTIO_BLK_T_GET_ID;
    struct vring_desc chain[] = {
        { IOVEC_MEM + 0x1000, sizeof(header), VRING_DESC_F_NEXT, 1 },
        { DATA_MEM, len, VRING_DESC_F_NEXT | (in_data ? VRING_DESC_F_WRITE : 0),
          2 },
        { IOVEC_MEM + 0x2000, 1, VRING_DESC_F_WRITE, 0 },
    };
    uint64_t avail = VQ_MEM(q) + 0x1000;
    uint16_t index = qtest_readw(rig.qts, avail + 2);

    if (!rig.jailed && rig.strange) {
        return;
    }
    if (!len) {
        chain[0].next = 2;
    }
    qtest_memwrite(rig.qts, IOVEC_MEM + 0x1000, &header, sizeof(header));
    qtest_memwrite(rig.qts, VQ_MEM(q), chain, sizeof(chain));
    qtest_writew(rig.qts, avail + 4 + index % QUEUE_SIZE * 2, 0);
    qtest_writew(rig.qts, avail + 2, index + 1);
    notify(q);
}

void do_notify(Input *in)
{
    notify(take_below(in, NUM_QUEUES + 1));
}

/* What any guest can do */

void do_select(Input *in)
{
    if (take(in, 1) & 1) {
        uring_set(window_select, take_value(in));
    } else {
        uring_set(queue_select, take_value(in));
    }
}

void do_uring_field(Input *in)
{
    static const struct {
        uint16_t offset, width;
    } fields[] = {
        { OFFSET(virtio_blk_uring_config, queue_vector),
          WIDTH(virtio_blk_uring_config, queue_vector) },
        { OFFSET(virtio_blk_uring_config, command),
          WIDTH(virtio_blk_uring_config, command) },
        { OFFSET(virtio_blk_uring_config, queue_ring),
          WIDTH(virtio_blk_uring_config, queue_ring) },
        { OFFSET(virtio_blk_uring_config, queue_sqes),
          WIDTH(virtio_blk_uring_config, queue_sqes) },
    };
    unsigned i = take_below(in, ARRAY_SIZE(fields));

    rig.strange = rig.strange || i >= 2;
    uring_write(fields[i].offset, fields[i].width, take_value(in));
}

void do_config_write(Input *in)
{
    unsigned at = take_below(in, VIRTIO_BLK_URING_CONFIG_OFFSET +
                             sizeof(rig.desc) + 16);
    unsigned width = take_width(in);

    rig.strange = rig.strange || at >= VIRTIO_BLK_URING_CONFIG_OFFSET;
    io_write(rig.pci->bar, rig.pci->device_cfg_offset + at, width,
             take_value(in));
}

void do_config_read(Input *in)
{
    unsigned at = take_below(in, VIRTIO_BLK_URING_CONFIG_OFFSET +
                             sizeof(rig.desc) + 16);

    io_read(rig.pci->bar, rig.pci->device_cfg_offset + at, take_width(in));
}

void do_common_write(Input *in)
{
    unsigned at = take_below(in, sizeof(struct virtio_pci_common_cfg) + 8);
    unsigned width = take_width(in);

    common_write(at, width, take_value(in));
}

/* Also the capability by which the BARs can be reached */
void do_pci_config(Input *in)
{
    unsigned at = take_below(in, 256);
    uint64_t value;

    rig.strange = true;
    switch (take_width(in)) {
    case 1:
        value = take(in, 1);
        qpci_config_writeb(rig.pci->pdev, at, value);
        break;
    case 2:
        value = take(in, 2);
        qpci_config_writew(rig.pci->pdev, at & ~1, value);
        break;
    default:
        value = take_value(in);
        qpci_config_writel(rig.pci->pdev, at & ~3, value);
    }
}

/* Bus mastering and memory decoding, of which the rings depend */
void do_pci_command(Input *in)
{
    qpci_config_writew(rig.pci->pdev, PCI_COMMAND,
                       take_below(in, 8) | (take(in, 1) & 1 ?
                                            PCI_COMMAND_INTX_DISABLE : 0));
}

void do_legacy(Input *in)
{
    unsigned at = take_below(in, 128);
    unsigned width = take_width(in);

    if (take(in, 1) & 1) {
        io_write(rig.legacy_bar, at, width, take_value(in));
    } else {
        io_read(rig.legacy_bar, at, width);
    }
}

void do_msix_table(Input *in)
{
    unsigned at = take_below(in, 256) * 4;

    io_write(rig.pci->pdev->msix_table_bar, at, 4, take_value(in));
}

/* What is RAM and what is not below 1 MiB: the host bridge's PAM and SMRAM */
void do_host_bridge(Input *in)
{
    static const uint8_t at[] = {
        0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x72
    };
    QPCIDevice bridge = { .bus = rig.pci->pdev->bus };

    qpci_config_writeb(&bridge, at[take_below(in, sizeof(at))], take(in, 1));
}

/* The rings and queues, behind the back of those who work on them */
void do_poke(Input *in)
{
    unsigned q = take_below(in, NUM_QUEUES);
    unsigned where = take_below(in, 4);
    uint64_t at;

    if (!rig.jailed && rig.strange) {
        return;
    }
    if (where == 0) {
        at = RING_MEM(q) + take_below(in, 64);
    } else if (where == 1 && rig.jailed) {
        at = SQES_MEM(q) + take_below(in, 2048);
    } else if (where == 2) {
        at = RING_MEM(q) + take_below(in, 2048);
    } else {
        at = VQ_MEM(q) + take_below(in, VQ_BYTES);
    }
    qtest_writel(rig.qts, at, take_value(in));
}
