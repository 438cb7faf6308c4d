/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: a guest that attacks its device through the
 * descriptor and the states that it asks for
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "libqos/virtio-blk-uring-attack-siege.h"

static void write_config(QVirtioBlkUring *u, uint64_t offset, unsigned width,
                         uint64_t value)
{
    QPCIDevice *pdev = u->pci->pdev;
    uint64_t at = u->pci->device_cfg_offset + offset;

    switch (width) {
    case 1:
        qpci_io_writeb(pdev, u->pci->bar, at, value);
        qpci_io_readb(pdev, u->pci->bar, at);
        break;
    case 2:
        qpci_io_writew(pdev, u->pci->bar, at, value);
        qpci_io_readw(pdev, u->pci->bar, at);
        break;
    case 4:
        qpci_io_writel(pdev, u->pci->bar, at, value);
        qpci_io_readl(pdev, u->pci->bar, at);
        break;
    default:
        qpci_io_writeq(pdev, u->pci->bar, at, value);
        qpci_io_readq(pdev, u->pci->bar, at);
        break;
    }
}

/* For rings, good and bad */
static uint64_t ring_address(QVBUSiege *s)
{
    QVirtioBlkUring *u = s->u;
    QVBURandom *rnd = &s->random;
    QVBURing *r = &u->rings[qvbu_random_below(rnd, u->nrings)];
    const uint64_t addresses[] = {
        r->ring, r->sqes, r->ring, r->sqes,
        r->ring + u->desc.align / 2,
        r->ring + u->desc.align,
        r->vq->desc & -(uint64_t)u->desc.align,
        0,
        640 * KiB - u->desc.align,
        640 * KiB,
        QVBU_RAM_BYTES - u->desc.align,
        QVBU_RAM_BYTES,
        u->pci->bar.addr,
        1ull << 40,
        -(uint64_t)u->desc.align,
        qvbu_random_below(rnd, QVBU_RAM_BYTES) & -(uint64_t)u->desc.align,
        qvbu_random_edge(rnd, 64),
    };

    return addresses[qvbu_random_below(rnd, ARRAY_SIZE(addresses))];
}

static void disturb(QVBUSiege *s)
{
    static const unsigned fields[] = {
        QVBU_OFFSET(window_select), QVBU_OFFSET(queue_select),
        QVBU_OFFSET(queue_vector), QVBU_OFFSET(queue_ring),
        QVBU_OFFSET(queue_sqes), QVBU_OFFSET(command),
        QVBU_OFFSET(path_state), QVBU_OFFSET(magic),
    };
    QVirtioBlkUring *u = s->u;
    QVBURandom *rnd = &s->random;
    unsigned width = 1u << qvbu_random_below(rnd, 4);
    unsigned length = QVBU_OFFSET(magic) +
                      sizeof(struct virtio_blk_uring_config) + 16;

    switch (qvbu_random_below(rnd, 20)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        write_config(u, qvbu_random_below(rnd, length), width,
                     qvbu_random_edge(rnd, 64));
        break;
    case 5:
    case 6:
        write_config(u, fields[qvbu_random_below(rnd, ARRAY_SIZE(fields))] +
                     qvbu_random_below(rnd, 4), width,
                     qvbu_random_edge(rnd, 64));
        break;
    case 7:
    case 8:
    case 9:
        qvbu_set(u, queue_select, qvbu_random_below(rnd, u->nrings + 1));
        break;
    case 10:
    case 11:
        qvbu_set(u, queue_ring, ring_address(s));
        break;
    case 12:
    case 13:
        qvbu_set(u, queue_sqes, ring_address(s));
        break;
    case 14:
        if (qvbu_random_below(rnd, 2)) {
            qvbu_set(u, command, qvbu_random_below(rnd, 6));
        } else {
            /* And see where it leads, which may take a while. */
            qvbu_command(u, qvbu_random_below(rnd, 6));
        }
        break;
    case 15:
        qvbu_give_memory(u);
        qvbu_set(u, command, VIRTIO_BLK_URING_CMD_ACTIVATE);
        break;
    case 16:
        qvbu_doorbell(&u->rings[qvbu_random_below(rnd, u->nrings)]);
        break;
    case 17:
        qvbu_set_passthrough(u, qvbu_random_below(rnd, 2));
        break;
    case 18:
        qvbu_set(u, command, qvbu_random_edge(rnd, 32));
        break;
    case 19:
        if (!qvbu_random_below(rnd, 4)) {
            qvbu_renegotiate(u, u->nrings);
        }
        break;
    }
}

static void test_descriptor(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVirtioBlkUring *u = obj;
    unsigned steps = MIN(2000 + qvbu_siege_share(100) / 500, 50000), step;
    unsigned states[VIRTIO_BLK_URING_DEAD + 1] = { };
    gint64 spoke = g_get_monotonic_time();

    qvbu_siege_begin(s, u, 2);
    for (step = 0; step < steps; step++) {
        uint32_t state;

        disturb(s);
        state = qvbu_get(u, path_state);
        g_assert_cmpuint(state, <=, VIRTIO_BLK_URING_DEAD);
        states[state]++;
        if (step % 256 == 0) {
            qvbu_siege_check_alive(s);
        }
        if (g_get_monotonic_time() - spoke > 10 * G_USEC_PER_SEC) {
            spoke = g_get_monotonic_time();
            g_test_message("%u of %u steps", step, steps);
        }
    }
    g_test_message("attack: descriptor: %u steps; after each, state VIRTQUEUE "
                   "%u times, RING %u, SUSPENDING %u, DEAD %u", steps,
                   states[VIRTIO_BLK_URING_VIRTQUEUE],
                   states[VIRTIO_BLK_URING_RING],
                   states[VIRTIO_BLK_URING_SUSPENDING],
                   states[VIRTIO_BLK_URING_DEAD]);
    g_assert_cmpuint(states[VIRTIO_BLK_URING_RING], >, 0);
    g_assert_cmpuint(states[VIRTIO_BLK_URING_SUSPENDING], >, 0);
    g_assert_cmpuint(states[VIRTIO_BLK_URING_DEAD], >, 0);
    qvbu_set_passthrough(u, true);
    qvbu_siege_end(s, 2);
}

static void register_tests(void)
{
    qvbu_siege_add_test("descriptor", test_descriptor, "process",
                        "num-queues=2");
}

libqos_init(register_tests);
