/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-blk-uring: a guest that attacks its host through its rings
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/module.h"
#include "libqos/virtio-blk-uring-attack-siege.h"

/* That the kernel has taken as many SQEs as the test got answers to */
static void check_counter(QVBUSiege *s, uint64_t before, uint64_t taken)
{
    g_assert_cmpuint(qvbu_query_counter(s->u, 0, "submitted") - before, ==,
                     taken);
    g_test_message("attack: the kernel took %" PRIu64 " SQEs", taken);
}

/*
 * SQEs made by @make, @percent of all; @different of them are not the same, at
 * least.  Writes may change @writable bytes of the disk.
 */
static void attack_with(QVBUSiege *s, QVBUMakeSQE *make, unsigned percent,
                        uint64_t different, uint64_t writable)
{
    QVBUFastRing f;

    s->attacker.writable = writable;
    qvbu_fast_init(&f, &s->u->rings[0], s->ram);
    qvbu_attack(&s->attacker, &f, qvbu_siege_share(percent), different, make);
    qvbu_siege_check_alive(s);
    g_assert_cmpuint(qvbu_get(s->u, path_state), ==, VIRTIO_BLK_URING_RING);
}

/* Both devices' rings run.  Returns how many SQEs were taken so far. */
static uint64_t start(QVBUSiege *s, QVirtioBlkUring *u, unsigned queues)
{
    qvbu_siege_begin(s, u, queues);
    qvbu_siege_start_other(s);
    qvbu_siege_start_attacker(s);
    qvbu_siege_probe_drain(s);
    return qvbu_query_counter(u, 0, "submitted");
}

/* SQEs */

static void test_sqes(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVBUTally *forbidden = &s->attacker.tally[QVBU_CLASS_FORBIDDEN];
    uint64_t before = start(s, obj, 1);

    /* Each opcode with each byte of flags */
    attack_with(s, qvbu_make_opcode, 14, 256 * 256, QVBU_SIEGE_WRITABLE);
    attack_with(s, qvbu_make_field, 13, 0, QVBU_SIEGE_WRITABLE);
    attack_with(s, qvbu_make_random, 13, 0, QVBU_SIEGE_WRITABLE);
    qvbu_attacker_report(&s->attacker, "fields of SQEs");
    check_counter(s, before, s->attacker.taken);
    g_assert_cmpuint(forbidden->succeeded, ==, 0);
    g_assert_cmpuint(forbidden->refused, >, 256 * 256 / 2);
    qvbu_siege_check_guard(s);
    qvbu_siege_end(s, 1);
}

static void test_addresses(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    uint64_t before = start(s, obj, 1);

    attack_with(s, qvbu_make_address, 35, 0, QVBU_SIEGE_WRITABLE);
    qvbu_attacker_report(&s->attacker, "addresses");
    check_counter(s, before, s->attacker.taken);
    g_assert_cmpuint(s->attacker.tally[QVBU_CLASS_READV].failed, >, 0);
    g_assert_cmpuint(s->attacker.tally[QVBU_CLASS_WRITEV].failed, >, 0);
    qvbu_siege_check_guard(s);
    qvbu_siege_end(s, 1);
}

static void test_offsets(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    uint64_t before = start(s, obj, 1);

    attack_with(s, qvbu_make_offset, 15, 0, QVBU_DISK_BYTES);
    qvbu_attacker_report(&s->attacker, "offsets");
    check_counter(s, before, s->attacker.taken);
    qvbu_siege_end(s, 1);
}

static void test_doorbells(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVirtioBlkUring *u = obj;
    QVBUFastRing f[QVBU_MAX_QUEUES];
    QVBUAttacker *a = &s->attacker;
    uint64_t count = qvbu_siege_share(10), taken = 0, rung = 0;
    unsigned i, k;

    start(s, u, QVBU_MAX_QUEUES);
    a->writable = QVBU_SIEGE_WRITABLE;
    for (i = 0; i < u->nrings; i++) {
        qvbu_fast_init(&f[i], &u->rings[i], s->ram);
    }
    while (taken < count) {
        QVBUFastRing *now = &f[qvbu_random_below(&s->random, u->nrings)];

        for (k = qvbu_random_below(&s->random, 64); k; k--) {
            qvbu_fast_doorbell(&f[qvbu_random_below(&s->random, u->nrings)]);
            rung++;
        }
        taken += qvbu_attack(a, now, 512, 0, qvbu_make_field);
        if (rung % 4096 < 32) {
            g_test_message("%" PRIu64 " of %" PRIu64 " SQEs", taken, count);
        }
    }
    g_test_message("attack: %" PRIu64 " doorbells", rung);
    qvbu_attacker_report(a, "doorbells");
    qvbu_siege_check_guard(s);
    qvbu_siege_end(s, u->nrings);
}

/* Ring memory: no order is left in it, so that answers are not checked. */

static void scribble(QVBUSiege *s, QVBUFastRing *f)
{
    QVBUAttacker *a = &s->attacker;
    QVBURandom *rnd = &s->random;
    QVBUDesc *desc = &s->u->desc;
    uint32_t entries = desc->sq_entries;
    unsigned slot = qvbu_random_below(rnd, entries), i;
    struct io_uring_sqe sqe;

    switch (qvbu_random_below(rnd, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        qvbu_make_address(a, slot, &f->sqes[slot], 0);
        break;
    case 4:
        qvbu_make_field(a, slot, &f->sqes[slot],
                        qvbu_random_below(rnd, 1000));
        break;
    case 5:
        /* Rings as the target of a read, by way of an SQE in ring memory */
        qvbu_make_honest(a, slot, &sqe, 0);
        sqe.opcode = IORING_OP_READV;
        sqe.addr = qvbu_translate(s->u, f->r->ring, 64);
        f->sqes[slot] = sqe;
        break;
    case 6:
        for (i = 0; i < 64; i++) {
            ((uint8_t *)f->sqes)[qvbu_random_below(rnd, desc->sqe_bytes)] =
                qvbu_random(rnd);
        }
        break;
    case 7:
    case 8:
        /* Any of the heads, tails, masks, flags and counters */
        qvbu_fast_write(f, qvbu_random_below(rnd, desc->cqes / 4) * 4,
                        qvbu_random_edge(rnd, 32));
        break;
    case 9:
        qvbu_fast_write(f, qvbu_random_below(rnd, desc->ring_bytes / 4) * 4,
                        qvbu_random(rnd));
        break;
    case 10:
        qvbu_fast_write(f, desc->sq_tail, qvbu_random_edge(rnd, 32));
        break;
    case 11:
    case 12:
    case 13:
        qvbu_fast_publish(f, qvbu_random_below(rnd, 4 * entries));
        break;
    default:
        qvbu_fast_doorbell(f);
        break;
    }
}

/* The ways in which rings end */
static void end_rings(QVBUSiege *s)
{
    QVirtioBlkUring *u = s->u;

    switch (qvbu_random_below(&s->random, 4)) {
    case 0:
        if (qvbu_command(u, VIRTIO_BLK_URING_CMD_GIVE_UP) ==
            VIRTIO_BLK_URING_DEAD) {
            qvbu_command(u, VIRTIO_BLK_URING_CMD_BURIED);
        }
        break;
    case 1:
        qvbu_set_passthrough(u, false);
        qvbu_command(u, VIRTIO_BLK_URING_CMD_SUSPENDED);
        qvbu_set_passthrough(u, true);
        break;
    case 2:
        qtest_qmp_assert_success(u->qts, "{ 'execute': 'stop' }");
        qtest_qmp_assert_success(u->qts, "{ 'execute': 'cont' }");
        break;
    default:
        break;
    }
    qvirtio_reset(&u->pci->vdev);
}

static void test_ring_memory(void *obj, void *data, QGuestAllocator *alloc)
{
    QVBUSiege *s = data;
    QVirtioBlkUring *u = obj;
    unsigned rounds = MIN(4 + qvbu_siege_share(100) / 75000, 200);
    unsigned round, step, i;
    const unsigned steps = 1000, queues = 3;
    gint64 spoke = g_get_monotonic_time();
    QVBUFastRing f[3];

    qvbu_siege_begin(s, u, queues);
    qvbu_siege_start_attacker(s);
    for (round = 0; round < rounds; round++) {
        gint64 deadline = g_get_monotonic_time() + G_USEC_PER_SEC / 4;

        if (g_get_monotonic_time() - spoke > 10 * G_USEC_PER_SEC) {
            spoke = g_get_monotonic_time();
            g_test_message("%u of %u rounds", round, rounds);
        }
        for (i = 0; i < queues; i++) {
            qvbu_fast_init(&f[i], &u->rings[i], s->ram);
        }
        for (step = 0; step < steps; step++) {
            scribble(s, &f[qvbu_random_below(&s->random, queues)]);
            if (g_get_monotonic_time() > deadline) {
                break;
            }
        }
        qvbu_siege_check_alive(s);
        end_rings(s);
        qvbu_renegotiate(u, queues);
        qvbu_await(qvbu_activatable(u));
        qvbu_check_activation(u, s->disk);
        qvbu_attacker_look(&s->attacker);
    }
    g_test_message("attack: ring memory: %u rounds", rounds);
    qvbu_siege_end(s, queues);
}

static void register_tests(void)
{
    qvbu_siege_add_test("sqes", test_sqes, "process", NULL);
    qvbu_siege_add_test("addresses", test_addresses, "process", NULL);
    qvbu_siege_add_test("offsets", test_offsets, "process", NULL);
    qvbu_siege_add_test("doorbells", test_doorbells, "process",
                        "num-queues=3,poll-queues=1");
    qvbu_siege_add_test("ring-memory", test_ring_memory, "process",
                        "num-queues=2,poll-queues=1");
}

libqos_init(register_tests);
